"""Chat platforms, and what they share: pacing, splitting, the values of `types`."""
