"""Tiny models with Phi's real special tokens, made on first use and kept between runs.

Their weights are random but seeded: what is right in their answers is our doing.
"""
