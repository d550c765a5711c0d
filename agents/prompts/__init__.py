"""Prompts: the planner's system text, and one renderer per template family."""
