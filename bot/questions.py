"""Whether somebody asks something: the only thing that is heard of what is said to nobody."""

from __future__ import annotations

import re

_QUESTION = re.compile(
    r"[?？]|^\s*(how|what|why|where|when|which|who|can|could|does|do|is|are|should"
    r"|wie|was|warum|wo|wann|welche\w*|wer|kann|gibt"
    r"|comment|pourquoi|où|quand|quel\w*|qui|est-ce|peut"
    r"|cómo|qué|por qué|dónde|cuándo|cuál|quién|puedo|hay"
    r"|como|por que|onde|quando|qual|quem|posso|há)\b",
    re.IGNORECASE,
)


def is_question(text: str) -> bool:
    """Whether somebody asks something, in any of the languages the bot speaks."""
    return bool(_QUESTION.search(text))
