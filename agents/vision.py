"""Vision: a role of its own; what it says is data of the lowest trust."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from agents.budget import Allowance
from agents.ports import Delta, ImageData, ModelBackend, ModelRequest, PromptMessage, Queued
from agents.routing import Router, Serving
from tools.contract import Seen
from tools.labels import Integrity, Label

MAX_CHARS = 4000
TEXT_ONLY_MARK = "Text read from the image"
_MAX_TOKENS = 512
_DESCRIBE = (
    "Describe this image for someone who can't see it. First say what it shows, then copy every "
    "word and number in it exactly. Say only what is there."
)


class Eyes:
    """Asks the vision role about one image at a time."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def describe(
        self,
        image: ImageData,
        *,
        question: str | None,
        pin: str | None = None,
        local_only: bool = False,
        allowance: Allowance | None = None,
        waiting: Callable[[int], None] = lambda position: None,
    ) -> Seen:
        """What the first vision route that can serve says, at most 4,000 characters.

        `waiting` hears of the place in a busy engine's line, and of -1 when the wait is over.

        One that breaks off halfway is replaced, since nobody has seen its text. Raises
        `NoRouteError` when none can, and `BackendError` where another would fail as well.
        """
        reads_text_only = False

        async def build(backend: ModelBackend) -> ModelRequest:
            asked = question or _DESCRIBE
            message = PromptMessage("user", asked, (image,))
            return ModelRequest((message,), max_tokens=_MAX_TOKENS)

        route, text = "", list[str]()
        stream = self._router.stream(
            "vision",
            build,
            pin=pin,
            local_only=local_only,
            allowance=allowance,
            shown=lambda: False,
        )
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Serving):
                    route, text = item.route, []
                    reads_text_only = item.backend.capabilities.reads_text_only
                elif isinstance(item, Queued):
                    waiting(item.position)
                elif isinstance(item, Delta):
                    text.append(item.text)
        said = "".join(text).strip()[:MAX_CHARS] or "(the vision model said nothing)"
        if reads_text_only:
            said = f"{TEXT_ONLY_MARK}: {said}"
        return Seen(said, route, Label(Integrity.UNTRUSTED))
