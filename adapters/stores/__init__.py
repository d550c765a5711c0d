"""Where state lives: Redis, and the embedded server behind it."""
