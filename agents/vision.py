"""Vision: a role of its own; what it says is data of the lowest trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from agents.budget import Allowance
from agents.ports import Delta, ImageData, ModelBackend, ModelRequest, PromptMessage, Queued
from agents.prompts.image_cost import images_cost
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
_FRAMES = "These {count} images are frames of one recording, in order."


class Eyes:
    """Asks the vision role about one image at a time."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def describe(
        self,
        image: ImageData,
        *,
        question: str | None,
        more: Sequence[ImageData] = (),
        pin: str | None = None,
        local_only: bool = False,
        allowance: Allowance | None = None,
        waiting: Callable[[int], None] = lambda position: None,
    ) -> Seen:
        """What the first vision route that can serve says, at most 4,000 characters.

        `more` are later frames of the same picture; a route sees as many as it takes at once.
        `waiting` hears of the place in a busy engine's line, and of -1 when the wait is over.

        One that breaks off halfway is replaced, since nobody has seen its text. Raises
        `NoRouteError` when none can, and `BackendError` where another would fail as well.
        """
        reads_text_only = False

        async def build(backend: ModelBackend) -> ModelRequest:
            asked = question or _DESCRIBE
            message = await _fitting(asked, (image, *more), backend)
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


async def _fitting(asked: str, frames: Sequence[ImageData], backend: ModelBackend) -> PromptMessage:
    """The question over as many frames as the model takes and its window holds; one at least."""
    capabilities = backend.capabilities
    for most in range(min(len(frames), capabilities.max_images), 1, -1):
        text = f"{_FRAMES.format(count=most)} {asked}"
        message = PromptMessage("user", text, _spread(frames, most))
        cost = images_cost((message,), capabilities) + capabilities.message_overhead_tokens
        if cost + await backend.count_tokens(text) + _MAX_TOKENS <= capabilities.context_tokens:
            return message
    return PromptMessage("user", asked, (frames[0],))


def _spread(frames: Sequence[ImageData], most: int) -> tuple[ImageData, ...]:
    """At most `most` of them, the first and the last among them."""
    return tuple(frames[round(at * (len(frames) - 1) / (most - 1))] for at in range(most))
