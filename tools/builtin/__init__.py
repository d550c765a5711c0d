"""Tools that come with firstline."""
