"""The committed questions over Django's own documentation (`make eval`)."""
