"""What the agent layer needs from the outside world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol, runtime_checkable

import msgspec

from tools.contract import JsonSchema

FinishReason = Literal["stop", "length", "cancelled"]
Placement = Literal["local", "self_hosted", "cloud"]
Role = Literal["planner", "vision", "small", "embed"]


class ImageData(msgspec.Struct, frozen=True, gc=False):
    """Pixels for a vision route, already decoded, shrunk and re-encoded by us."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]


class PromptMessage(msgspec.Struct, frozen=True, gc=False):
    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[ImageData, ...] = ()


class ModelRequest(msgspec.Struct, frozen=True):
    """One call. With `schema` the text is one JSON value of that schema.

    A backend that cannot constrain its decoding sends the schema as best it can and says
    `constrained=False`; callers validate again in every case.
    """

    messages: tuple[PromptMessage, ...]
    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    schema: JsonSchema | None = None
    first_token_timeout_s: float = 30.0
    gap_timeout_s: float = 20.0


class Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, taken from an earlier prompt's state

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


class Queued(msgspec.Struct, frozen=True, gc=False):
    """The engine is busy: `position` others of this line go first (0: this one is next).

    After one of these, -1 says that the wait is over.
    """

    position: int


class Delta(msgspec.Struct, frozen=True, gc=False):
    text: str


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Always the last item of a stream that did not raise."""

    reason: FinishReason
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend with its model can do, as data."""

    context_tokens: int
    max_images: int = 0
    image_tokens: int = 0  # upper bound of one image's cost
    num_crops: int | None = None  # Phi-3-vision's: an image costs what its size says
    message_overhead_tokens: int = 8  # template tokens around one message
    constrained: bool = False
    exact_counts: bool = False  # `count_tokens` is the model's own, not an estimate
    streaming: bool = True
    native_tools: bool = False
    reads_text_only: bool = False  # an OCR route: it reads letters and sees nothing else
    demonstration: bool = False  # too small for users; every session says so
    retired_on: date | None = None
    replacement: str | None = None


class ModelBackend(Protocol):
    """A model behind an engine or a service.

    `stream` yields `Delta`s and ends with one `Finish`; a busy engine may yield `Queued`
    before the first delta, again whenever the line moves. It raises `BackendError` only.
    Closing the generator stops the generation within 200 ms. Not re-entrant limits are the
    backend's own business: callers may run several streams at once.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish | Queued, None]: ...

    async def count_tokens(self, text: str) -> int: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Probed(Protocol):
    """What a backend of a server also has: a cheap question whether it is there."""

    async def probe(self) -> object:
        """Return if the server answers; raises `BackendError`. Sends nobody's text."""
        ...


async def complete(backend: ModelBackend, request: ModelRequest) -> tuple[str, Finish]:
    """Run a stream to its end; returns the whole text and the finish."""
    text: list[str] = []
    finish = Finish("stop")
    async with aclosing(backend.stream(request)) as stream:
        async for item in stream:
            if isinstance(item, Delta):
                text.append(item.text)
            elif isinstance(item, Finish):
                finish = item
    return "".join(text), finish


Kind = Literal["query", "passage"]


class Embedder(Protocol):
    """Texts as vectors whose dot product says how near they are. Raises `BackendError`."""

    @property
    def name(self) -> str:
        """Tells models apart: vectors of two names can't be compared."""
        ...

    async def embed(self, texts: Sequence[str], kind: Kind) -> Sequence[Sequence[float]]:
        """One normalised vector for each text, in their order."""
        ...

    def count_tokens(self, text: str) -> int:
        """By its own tokenizer, or an estimate that is rather too high."""
        ...

    async def aclose(self) -> None: ...
