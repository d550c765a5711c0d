"""Model backends, one file per engine or service."""
