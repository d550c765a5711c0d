"""What a scripted model can do: speak, send a step, garble, fail, break off, stall."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agents.errors import BackendError
from agents.ports import ModelRequest


@dataclass(frozen=True, slots=True)
class Say:
    """Stream `text` in pieces of `chunk` characters (0: all at once), `delay_s` apart."""

    text: str
    chunk: int = 8
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """Send a value as JSON, the way a constrained model would."""

    value: Mapping[str, Any]
    chunk: int = 16
    delay_s: float = 0.0

    @property
    def text(self) -> str:
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Garble:
    """Answer with text that fits no schema, however the request asked."""

    text: str = '{"thought": "half a thou\ufffd'
    chunk: int = 8
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fail:
    """Raise before the first delta. `status` is what the HTTP server answers with."""

    error: BackendError
    status: int = 503


@dataclass(frozen=True, slots=True)
class FailMidStream:
    """Send `after_chunks` deltas of `text`, then raise."""

    text: str
    error: BackendError
    after_chunks: int = 1
    chunk: int = 8
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stall:
    """Send `after_chunks` deltas of `text`, then nothing more until a timeout or a cancel."""

    after_chunks: int = 0
    text: str = "The answer to this is "
    chunk: int = 8
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """Send `after_chunks` deltas of `text`, then lose the connection."""

    text: str
    after_chunks: int = 1
    chunk: int = 8
    delay_s: float = 0.0


Spoken = Say | Step | Garble | FailMidStream | Stall | Cut
Reply = Spoken | Fail
Policy = Callable[[ModelRequest], Reply]


def spoken(reply: Spoken, text: str) -> Iterator[str]:
    """The pieces that reach the listener before the reply ends, breaks or stalls."""
    step = reply.chunk or max(len(text), 1)
    cut = (text[at : at + step] for at in range(0, len(text), step))
    return (
        islice(cut, reply.after_chunks) if isinstance(reply, FailMidStream | Stall | Cut) else cut
    )
