"""LangChain and LangGraph beside firstline: models, tools and checkpoints, both ways.

Needs the extra `langchain`; nothing else in firstline imports this package.
"""

from adapters.langchain.chat_model import FirstlineChatModel
from adapters.langchain.checkpoints import RedisSaver
from adapters.langchain.tools import (
    approvals,
    standalone_context,
    tool_from_langchain,
    tool_to_langchain,
)

__all__ = [
    "FirstlineChatModel",
    "RedisSaver",
    "approvals",
    "standalone_context",
    "tool_from_langchain",
    "tool_to_langchain",
]
