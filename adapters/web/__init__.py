"""The web as a model may see it: addresses that somebody else chose, opened with care."""
