"""How many prompt injections succeed when the model obeys every one of them."""
