"""How well a real small model plans through our own prompt, constrained and free."""
