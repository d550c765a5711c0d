"""The agent layer: planning, vision, routing, prompts, and the ports they need."""
