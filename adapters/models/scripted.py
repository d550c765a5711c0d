"""The scripted model: plays replies instead of thinking; demo backend and the tests' fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from adapters.models.scripted_demo import demo_policy
from adapters.models.scripted_replies import (
    Cut,
    Fail,
    FailMidStream,
    Garble,
    Policy,
    Reply,
    Say,
    Stall,
    Step,
    spoken,
)
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, Delta, Finish, FinishReason, ModelRequest, Usage
from agents.prompts.image_cost import images_cost

__all__ = [
    "DEFAULT_CAPABILITIES",
    "Cut",
    "Fail",
    "FailMidStream",
    "Garble",
    "Policy",
    "Reply",
    "Say",
    "ScriptedBackend",
    "Stall",
    "Step",
    "demo_policy",
]

DEFAULT_CAPABILITIES = Capabilities(
    context_tokens=8192, max_images=4, image_tokens=300, constrained=True
)


class ScriptedBackend:
    """A `ModelBackend` that plays a script.

    A sequence of replies is played once, in order, and running out of it is an error; a
    policy is asked for each request. `requests` keeps what came in. A token is a word of up
    to four characters, so prompts can be made too long on purpose.
    """

    def __init__(
        self,
        name: str,
        replies: Sequence[Reply] | Policy,
        *,
        capabilities: Capabilities = DEFAULT_CAPABILITIES,
    ) -> None:
        self._name, self._capabilities = name, capabilities
        self.policy: Policy = replies if callable(replies) else _played(name, tuple(replies))
        self._closed = False
        self.requests: list[ModelRequest] = []
        self.cancelled = 0  # streams closed before their end

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def count_tokens(self, text: str) -> int:
        return scripted_tokens(text)

    async def aclose(self) -> None:
        self._closed = True

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        prompt_tokens = self._check(request)
        self.requests.append(request)
        reply = self.policy(request)
        if isinstance(reply, Fail):
            raise reply.error
        text, reason = limited(reply.text, request)
        sent = 0
        try:
            for piece in spoken(reply, text):
                if reply.delay_s:
                    await asyncio.sleep(reply.delay_s)
                yield Delta(piece)
                sent += 1
            if isinstance(reply, Stall):
                await self._stall(request, begun=sent > 0)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        if isinstance(reply, FailMidStream):
            raise reply.error
        if isinstance(reply, Cut):
            detail = "the connection broke before the answer was whole"
            raise BackendError(self._name, detail, retryable=True)
        yield Finish(reason, Usage(prompt_tokens, scripted_tokens(text)))

    def _check(self, request: ModelRequest) -> int:
        """Refuse what a real backend refuses; returns the prompt's tokens."""
        if self._closed:
            raise BackendError(self._name, "is closed; make a new one", retryable=True)
        images = sum(len(message.images) for message in request.messages)
        if images > self._capabilities.max_images:
            raise BackendError(self._name, images_refused(self._capabilities), retryable=True)
        tokens = prompt_tokens(request, self._capabilities)
        limit = self._capabilities.context_tokens - request.max_tokens
        if tokens > limit:
            raise PromptTooLong(self._name, tokens, max(limit, 0))
        return tokens

    async def _stall(self, request: ModelRequest, *, begun: bool) -> None:
        limit = request.gap_timeout_s if begun else request.first_token_timeout_s
        await asyncio.sleep(limit)
        what = "sent nothing more" if begun else "did not begin to answer"
        raise BackendError(self._name, f"{what} within {limit:g} s", retryable=True)


def _played(name: str, replies: Sequence[Reply]) -> Policy:
    rest = iter(replies)

    def play(request: ModelRequest) -> Reply:
        try:
            return next(rest)
        except StopIteration:
            detail = f"the script of {len(replies)} replies is over; give it more"
            return Fail(BackendError(name, detail, retryable=True))

    return play


def images_refused(capabilities: Capabilities) -> str:
    """Why a request with too many images was refused."""
    if not capabilities.max_images:
        return "takes no images; send them to a route of the vision role"
    return f"takes at most {capabilities.max_images} images in one request; send fewer"


def scripted_tokens(text: str) -> int:
    return sum((len(word) + 3) // 4 for word in text.split())


def prompt_tokens(request: ModelRequest, capabilities: Capabilities) -> int:
    return sum(
        scripted_tokens(message.text)
        + capabilities.message_overhead_tokens
        + images_cost((message,), capabilities)
        for message in request.messages
    )


def limited(text: str, request: ModelRequest) -> tuple[str, FinishReason]:
    """`text` up to the first stop string or to `max_tokens`, and why it ended there."""
    for stop in request.stop:
        text = text.partition(stop)[0]
    left = request.max_tokens
    words = text.split(" ")
    for at, word in enumerate(words):
        left -= scripted_tokens(word)
        if left < 0:
            return " ".join(words[:at]), "length"
    return text, "stop"
