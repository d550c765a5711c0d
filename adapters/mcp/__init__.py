"""Servers of the Model Context Protocol: their tools in our toolbox, each pinned by its hash."""
