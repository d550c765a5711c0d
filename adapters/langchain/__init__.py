"""LangChain and LangGraph beside firstline: models, tools and checkpoints, both ways."""
