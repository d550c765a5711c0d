"""What the servers share that take our own rendered prompt and stream a raw completion."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, get_args

import msgspec

from adapters.models.openai_wire import Refusal, estimate_tokens
from adapters.models.server_link import RefusedError, ServerLink
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, Delta, Finish, ModelRequest, PromptMessage
from agents.prompts.image_cost import images_cost
from agents.prompts.templates import TemplateFamily, render, stop_tags

_MAX_CHARS_PER_TOKEN = 256  # far above any vocabulary's; only stops a server gone mad
_BEGINNING_TOKENS = 1  # the tag some models want before the prompt; the server adds it
_PROBE_TIMEOUT_S = 5.0
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# The first that fits counts: `phi4-mini` is no `phi4`. A Phi-3-mini is taken for the revision
# of June 2024, which knows a system role; older weights need `template = "phi3_old"`.
_FAMILY_OF_NAME: tuple[tuple[re.Pattern[str], TemplateFamily], ...] = (
    (re.compile(r"phi-?4(mm|.*multimodal)", re.I), "phi4_multimodal"),
    (re.compile(r"phi-?4.*mini", re.I), "phi4_mini"),
    (re.compile(r"phi-?4", re.I), "phi4"),
    (re.compile(r"phi-?3.*vision", re.I), "phi3_vision"),
    (re.compile(r"phi-?3.*small", re.I), "phi3_small"),
    (re.compile(r"phi-?3.*(medium|14b)", re.I), "phi3_old"),
    (re.compile(r"phi-?3.*moe|phi-?moe", re.I), "phi3_moe"),
    (re.compile(r"phi-?3", re.I), "phi3"),
    (re.compile(r"qwen|smollm|hermes|chatml", re.I), "chatml"),
)


def family_of(model: str) -> TemplateFamily | None:
    """The template a model was trained with, as its name tells."""
    return next((family for shape, family in _FAMILY_OF_NAME if shape.search(model)), None)


def chosen_family(backend: str, model: str, template: str | None) -> TemplateFamily:
    """The given family or the name's own; raises `BackendError` where neither is known."""
    known: tuple[TemplateFamily, ...] = get_args(TemplateFamily)
    family = next((each for each in known if each == template), None)
    if family := family if template else family_of(model):
        return family
    what = f"template {template!r} is not known" if template else f"model {model!r} tells none"
    detail = f"{what}; set the route's template to one of {', '.join(known)}"
    raise BackendError(backend, detail, retryable=True)


class RawServerBackend(ABC):
    """A `ModelBackend` over one streaming POST; a subclass speaks its server's words."""

    _path: ClassVar[str]
    _as_lines: ClassVar[bool]
    _probe_path: ClassVar[str]

    def __init__(
        self,
        name: str,
        link: ServerLink,
        *,
        model: str,
        template: TemplateFamily,
        capabilities: Capabilities,
    ) -> None:
        self._name, self._link, self._model = name, link, model
        self._template, self._capabilities = template, capabilities

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def aclose(self) -> None:
        await self._link.aclose()

    async def count_tokens(self, text: str) -> int:
        return estimate_tokens(text)

    async def probe(self) -> None:
        """A cheap question whether the server is there; raises `BackendError`."""
        try:
            await self._link.fetch(self._probe_path, timeout_s=_PROBE_TIMEOUT_S)
        except RefusedError as error:
            raise refused(self._name, error.refusal, self._capabilities) from error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        fields = self._fields(request, await self._fitted_prompt(request))
        chars_left = request.max_tokens * _MAX_CHARS_PER_TOKEN
        batches = self._link.events(self._path, fields, request, as_lines=self._as_lines)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    text, finish = self._read_all(batch, request)
                    chars_left -= len(text)
                    if chars_left < 0:
                        raise self._error("sent far more text than max_tokens allows")
                    if text:
                        yield Delta(text)
                    if finish:
                        yield finish
                        return
        except RefusedError as error:
            raise self._refused(error.refusal, request) from error
        raise self._error("the stream ended before the answer was whole")

    @abstractmethod
    def _fields(self, request: ModelRequest, prompt: str) -> dict[str, Any]:
        """The body of the POST."""

    @abstractmethod
    def _read(self, event: bytes, request: ModelRequest) -> tuple[str, Finish | None]:
        """One event's text, and the finish in the last one."""

    def _prepared(self, message: PromptMessage, first_image: int) -> PromptMessage:
        """The message as the renderer shall see it."""
        return message

    def _refused(self, refusal: Refusal, request: ModelRequest) -> BackendError:
        return refused(self._name, refusal, self._capabilities)

    def _error(self, detail: str) -> BackendError:
        return self._link.error(detail)

    def _stops(self, request: ModelRequest) -> list[str]:
        """With a schema the grammar ends the answer, and a string in it may hold any tag."""
        tags = () if request.schema is not None else stop_tags(self._template)
        return [*request.stop, *tags]

    def _read_all(self, batch: Sequence[bytes], request: ModelRequest) -> tuple[str, Finish | None]:
        texts: list[str] = []
        for event in batch:
            try:
                text, finish = self._read(event, request)
            except _UNREADABLE as error:
                raise self._error("sent what is not a stream of completion chunks") from error
            texts.append(text)
            if finish:
                return "".join(texts), finish
        return "".join(texts), None

    async def _fitted_prompt(self, request: ModelRequest) -> str:
        """Rendered, and refused when it can't be served, before anything is sent."""
        own, images = self._capabilities, 0
        prepared: list[PromptMessage] = []
        for message in request.messages:
            prepared.append(self._prepared(message, images))
            images += len(message.images)
        if images > own.max_images:
            limit = f"at most {own.max_images}" if own.max_images else "no"
            raise self._error(f"takes {limit} images; send them to a route of the vision role")
        prompt = render(self._template, prepared)
        fixed = images_cost(request.messages, own) + _BEGINNING_TOKENS
        room = max(own.context_tokens - request.max_tokens, 0)
        tokens = fixed + estimate_tokens(prompt)
        if tokens > room:  # the estimate errs upwards: ask who knows
            tokens = fixed + await self.count_tokens(prompt)
        if tokens > room:
            raise PromptTooLong(self._name, tokens, room)
        return prompt


def refused(name: str, refusal: Refusal, capabilities: Capabilities) -> BackendError:
    """What a server's refusal means to the operator; what it said may quote user text."""
    status, code = refusal.status, f", {refusal.code}" if refusal.code else ""
    if refusal.is_too_long:
        limit = refusal.context_tokens or capabilities.context_tokens
        return PromptTooLong(name, refusal.prompt_tokens or limit + 1, limit)
    if status in (401, 403):
        detail = f"an API key is needed or was refused ({status}); check the route's api_key"
    elif status == 404:
        detail = "nothing is served at this path (404); check the route's base_url and the server"
    elif status == 503:
        detail = "the server is loading its model or busy (503); try later"
    elif status >= 500:
        detail = f"the server failed ({status}{code}); see the server's log"
    elif 300 <= status < 400:
        detail = f"redirects ({status}); set base_url to its final address"
    else:
        detail = f"the request was refused ({status}{code}); see the server's log"
    return BackendError(name, detail, retryable=True)
