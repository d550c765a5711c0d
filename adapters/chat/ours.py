"""Is the reply still ours? Asked again right before a request's bytes go out (row A5).

A process may be frozen at any instant: in a rate limit's wait, or while a connection is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from adapters.chat.types import DeliveryError, MayShow, NotOurs

if TYPE_CHECKING:
    import aiohttp


class _Guard:
    def __init__(self, may_show: MayShow) -> None:
        self.may_show, self.has_refused = may_show, False


_guard: ContextVar[_Guard | None] = ContextVar("the reply that is being sent", default=None)


@contextmanager
def only_while(may_show: MayShow, adapter: str) -> Iterator[None]:
    """Requests made inside, in a session with `request_tracing`, go out only while `may_show`
    says yes; else `NotOurs`."""
    if not may_show():
        raise NotOurs(adapter)
    guard = _Guard(may_show)
    outer = _guard.set(guard)
    try:
        yield
    except DeliveryError as error:
        if guard.has_refused:
            raise NotOurs(adapter) from error
        raise
    finally:
        _guard.reset(outer)


def request_tracing() -> aiohttp.TraceConfig:
    """For an `aiohttp.ClientSession`: looks before each chunk of a body is written.

    aiohttp keeps the headers back until then and closes the connection after a refusal, so a
    platform never gets the whole of a refused request.
    """
    import aiohttp

    async def look(*_: object) -> None:
        guard = _guard.get()
        if guard is not None and not guard.may_show():
            guard.has_refused = True
            raise aiohttp.ClientConnectionError("the reply may be another process' now")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_chunk_sent.append(look)
    return tracing
