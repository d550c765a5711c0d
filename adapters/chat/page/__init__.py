"""The local page: its files, its routes, and what guards them."""
