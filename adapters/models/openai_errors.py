"""What a server's refusal means: an error for the router, or a pause and another try."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from adapters.models.openai_wire import Refusal, parse_refusal
from agents.errors import BackendError, PromptTooLong, RouteRetired
from agents.ports import Capabilities

_MAX_REFUSAL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a refusal that may pass is tried again, and after how long."""

    tries: int = 3
    first_pause_s: float = 0.25
    jitter: Callable[[], float] = random.random  # 0 to 1: the part of a pause that varies

    def pause_s(self, refusal: Refusal, tried: int, left_s: float) -> float | None:
        """None: give up. The server's own wish counts if it fits into the time that is left."""
        if not refusal.is_passing or tried >= self.tries:
            return None
        pause_s = refusal.retry_after_s
        if pause_s is None:
            pause_s = self.first_pause_s * 2 ** (tried - 1) * (1 + self.jitter()) / 2
        return pause_s if pause_s < left_s else None


async def read_refusal(response: aiohttp.ClientResponse) -> Refusal:
    body = bytearray()
    async with response:
        while len(body) < _MAX_REFUSAL_BYTES and (data := await response.content.readany()):
            body += data
    refusal = parse_refusal(response.status, bytes(body))
    return replace(refusal, retry_after_s=retry_after_s(response.headers))


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """From Azure's `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110)."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("Retry-After", "")
    for text, unit_s in ((milliseconds, 0.001), (value, 1.0)):
        try:
            seconds = float(text) * unit_s
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - (now or datetime.now(UTC))).total_seconds(), 0.0)


def refused(
    backend: str, model: str, refusal: Refusal, capabilities: Capabilities, *, key: str | None
) -> BackendError:
    """What to tell the operator; what the server said may quote user text.

    `key` is what was sent to be let in ("API key", "Entra token"), None for nothing.
    """
    if refusal.is_unknown_model:
        return RouteRetired(backend, model, capabilities.replacement)
    if refusal.is_too_long:
        limit = refusal.context_tokens or capabilities.context_tokens
        return PromptTooLong(backend, refusal.prompt_tokens or limit + 1, limit)
    return BackendError(backend, _detail(refusal, key), retryable=True)


def _detail(refusal: Refusal, key: str | None) -> str:
    status, code = refusal.status, f", {refusal.code}" if refusal.code else ""
    if status in (401, 403):
        if key == "Entra token":
            return (
                f"the Entra token was refused ({status}{code}); give the identity the role "
                "Cognitive Services OpenAI User on the resource"
            )
        what = "the API key was refused" if key else "an API key is needed"
        return f"{what} ({status}{code}); check the route's api_key"
    if status == 404:
        return "nothing is served at this path (404); check the route's base_url"
    asked = refusal.retry_after_s
    later = "try later" if asked is None else f"it asks to wait {asked:g} s"
    if status == 429:
        return f"too many requests or no quota left (429{code}); {later}"
    if refusal.is_template_trap:
        return (
            "the model's chat template does not go with an answer in a schema (400, as with "
            'Phi-3.5): use backend = "llama_server" for this server, which sends the prompt '
            "ready-made, or start it with --chat-template phi3"
        )
    if status >= 500:
        return f"the server failed ({status}{code}); see the server's log"
    if 300 <= status < 400:
        return f"redirects ({status}); set base_url to its final address"
    return f"the request was refused ({status}{code}); check the route's settings"
