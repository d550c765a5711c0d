"""The outside world, one file per system, no policy."""
