"""A follow-up as a question that can be understood alone, by the small model.

The task comes first and never changes, so its tokens are read once; what was said comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import structlog

from agents.budget import Allowance
from agents.errors import BackendError, NoRouteError
from agents.ports import Delta, ModelBackend, ModelRequest, PromptMessage
from agents.routing import BuildRequest, Router, Serving
from agents.turns import Turn

log = structlog.get_logger(__name__)

MAX_CHARS = 300
_MAX_TOKENS = 64
_WAIT_S = 5.0  # a search that waits longer goes without
_TURNS_SHOWN, _TURN_CHARS = 4, 300
_TASK = PromptMessage(
    "system",
    "You rewrite the last question of a conversation so that it can be understood without the "
    "conversation. Keep its language and its meaning; add only what it refers to. Answer with the "
    "one question and nothing else. If it can be understood alone, repeat it unchanged.",
)


class Rewriter:
    """Asks the role `small`. Stateless, so one serves all conversations."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def stand_alone(
        self,
        question: str,
        before: Sequence[Turn],
        *,
        local_only: bool = False,
        allowance: Allowance | None = None,
    ) -> str:
        """The question, or nothing where no model could give it; never raises for a model."""
        told = [
            f"{'Person' if turn.role == 'user' else 'Assistant'}: {_short(turn.text)}"
            for turn in before
            if turn.role in ("user", "assistant") and turn.text.strip()
        ][-_TURNS_SHOWN:]
        asked = PromptMessage(
            "user", "\n".join((*told, f"Last question: {_short(question)}", "Rewritten:"))
        )

        async def build(backend: ModelBackend) -> ModelRequest:
            return ModelRequest(
                messages=(_TASK, asked),
                max_tokens=_MAX_TOKENS,
                first_token_timeout_s=_WAIT_S,
                gap_timeout_s=_WAIT_S,
            )

        try:
            text = await self._asked(build, local_only, allowance)
        except (NoRouteError, BackendError) as error:
            log.info("rewriting.failed", why=type(error).__name__)
            return ""
        line = next((each.strip() for each in text.splitlines() if each.strip()), "")
        line = line.strip("\"'“”„ ")
        return line if 0 < len(line) <= MAX_CHARS else ""

    async def _asked(
        self, build: BuildRequest, local_only: bool, allowance: Allowance | None
    ) -> str:
        pieces: list[str] = []
        stream = self._router.stream(
            "small", build, local_only=local_only, allowance=allowance, shown=lambda: False
        )
        async with aclosing(stream) as items:
            async for item in items:
                match item:
                    case Serving():
                        if item.backend.capabilities.demonstration:
                            return ""  # it would only mislead the search
                        pieces.clear()
                    case Delta():
                        pieces.append(item.text)
        return "".join(pieces)


def _short(text: str) -> str:
    return " ".join(text.split())[:_TURN_CHARS]
