"""Crash drills with real processes: a short size in `make test`, the full one in `make drill`."""
