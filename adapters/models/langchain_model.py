"""Any LangChain chat model as a route.

Only text goes in and out: native tool calls and `with_structured_output` differ from model to
model, so a schema is told in words and the caller validates. Nothing is traced: a route that
stays local must not have its prompts copied to a tracing service.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from adapters.models.openai_wire import estimate_tokens
from adapters.models.stops import StopScanner
from agents.errors import BackendError, PromptTooLong
from agents.ports import (
    Capabilities,
    Delta,
    Finish,
    FinishReason,
    ImageData,
    ModelRequest,
    PromptMessage,
    Usage,
)
from agents.prompts.image_cost import images_cost

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk, BaseMessage

log = structlog.get_logger(__name__)

_CUT_SHORT = ("length", "max_tokens", "MAX_TOKENS")  # OpenAI and Ollama, Anthropic, Google
_REASON_KEYS = ("finish_reason", "stop_reason", "done_reason")
_INSTALL = "the extra is not installed; run: pip install 'firstline[langchain]'"


class LangChainBackend:
    """A `ModelBackend` over a `BaseChatModel`.

    Sampling is set where the model is made: LangChain has no common name for it. The answer is
    cut here at `max_tokens` and at stop strings. Tokens are the model's own count where it
    states usage, `custom_get_token_ids` where it is given, else an estimate that errs upwards;
    the model's other counters would fetch a tokenizer from the net.
    """

    def __init__(self, name: str, model: BaseChatModel, *, capabilities: Capabilities) -> None:
        self._name, self._model, self._capabilities = name, model, capabilities
        self._closed = False

    @classmethod
    async def load(cls, name: str, factory: str, *, capabilities: Capabilities) -> LangChainBackend:
        """Call the factory `package.module:function`; raises `BackendError`."""
        function = await asyncio.to_thread(_import, name, factory)  # imports take seconds
        try:
            made = await asyncio.to_thread(function)
            made = await made if inspect.isawaitable(made) else made
        except Exception as error:  # the operator's own code may raise anything
            raise _unusable(name, f"{factory!r} failed: {type(error).__name__}") from error
        from langchain_core.language_models import BaseChatModel

        if not isinstance(made, BaseChatModel):
            kind = type(made).__name__
            raise _unusable(name, f"{factory!r} returned a {kind}; it must return a BaseChatModel")
        return cls(name, made, capabilities=capabilities)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def count_tokens(self, text: str) -> int:
        if self._model.custom_get_token_ids is not None:
            return len(self._model.custom_get_token_ids(text))
        return estimate_tokens(text)

    async def aclose(self) -> None:
        """LangChain models have no common way to be closed; this one takes no more requests."""
        self._closed = True

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        prompt_tokens = await self._check(request)
        scanner, tally = StopScanner(request.stop), _Tally(prompt_tokens, request.max_tokens)
        async with aclosing(self._chunks(request)) as chunks:
            async for chunk in chunks:
                tally.note(chunk)
                text = scanner.feed(tally.fitting(str(chunk.text)))
                if text:
                    yield Delta(text)
                if scanner.hit or tally.full:
                    break
        if rest := scanner.rest():
            yield Delta(rest)
        yield tally.finish(stopped=scanner.hit)

    async def _check(self, request: ModelRequest) -> int:
        """Refuse what can't be served before it is sent; returns the prompt's tokens."""
        own = self._capabilities
        if self._closed:
            raise self._error("is closed; make a new one")
        images = sum(len(message.images) for message in request.messages)
        if images > own.max_images:
            limit = f"at most {own.max_images}" if own.max_images else "no"
            raise self._error(f"takes {limit} images; send them to a route of the vision role")
        tokens = len(request.messages) * own.message_overhead_tokens
        tokens += images_cost(request.messages, own)
        tokens += await self.count_tokens("\n".join(message.text for message in request.messages))
        limit_tokens = max(own.context_tokens - request.max_tokens, 0)
        if tokens > limit_tokens:
            raise PromptTooLong(self._name, tokens, limit_tokens)
        return tokens

    async def _chunks(self, request: ModelRequest) -> AsyncGenerator[AIMessageChunk, None]:
        """The model's chunks; every wait is bounded and every failure a `BackendError`."""
        from langsmith import tracing_context

        stream = self._model.astream(_messages(request), stop=list(request.stop) or None)
        limit_s, waited_for = request.first_token_timeout_s, "did not begin to answer"
        try:
            while True:
                # Set anew each time: a generator runs in the context of whoever asks it.
                with tracing_context(enabled=False):
                    try:
                        async with asyncio.timeout(limit_s) as limit:
                            chunk = await anext(stream)
                    except StopAsyncIteration:
                        return
                    except TimeoutError as error:
                        why = (
                            f"{waited_for} within {limit_s:g} s" if limit.expired() else "timed out"
                        )
                        raise self._error(why) from error
                    except Exception as error:  # each integration has its own
                        kind = type(error).__name__
                        log.warning("model.failed", backend=self._name, error=kind)
                        raise self._error(f"the LangChain model failed ({kind})") from error
                _stop_if_cancelled()
                if str(chunk.text):
                    limit_s, waited_for = request.gap_timeout_s, "sent nothing more"
                yield chunk
        finally:
            await _closed(stream)

    def _error(self, detail: str) -> BackendError:
        return BackendError(self._name, detail, retryable=True)


def _stop_if_cancelled() -> None:
    """Raises the cancellation that a layer below has swallowed, as happens while connecting."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Tally:
    """Counts what was said, cuts it at the limit and knows why it ended."""

    def __init__(self, prompt_tokens: int, max_tokens: int) -> None:
        self._usage = Usage(prompt_tokens)
        self._stated = False
        self._max_tokens, self._said = max_tokens, 0
        self._reason: FinishReason = "stop"
        self.full = False

    def note(self, chunk: AIMessageChunk) -> None:
        if usage := chunk.usage_metadata:
            before = self._usage if self._stated else Usage()
            self._usage = Usage(
                before.prompt_tokens + usage["input_tokens"],
                before.completion_tokens + usage["output_tokens"],
            )
            self._stated = True
        told = chunk.response_metadata or {}
        if any(told.get(key) in _CUT_SHORT for key in _REASON_KEYS):
            self._reason = "length"

    def fitting(self, text: str) -> str:
        """What of the text is within `max_tokens`; four characters are a token here."""
        left = self._max_tokens * 4 - self._said
        self._said += len(text)
        if len(text) > left:
            self.full, self._reason = True, "length"
        return text[: max(left, 0)]

    def finish(self, *, stopped: bool) -> Finish:
        usage = self._usage
        if not self._stated:
            usage = msgspec.structs.replace(usage, completion_tokens=-(-self._said // 4))
        return Finish("stop" if stopped else self._reason, usage)


async def _closed(stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def _import(name: str, factory: str) -> Callable[[], Any]:
    try:
        importlib.import_module("langchain_core")
    except ImportError as error:
        raise _unusable(name, _INSTALL) from error
    module_name, _, attribute = factory.partition(":")
    try:
        function: object = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        detail = f"there is no module {missing!r}; install it beside firstline ({factory!r})"
        raise _unusable(name, detail) from error
    except AttributeError as error:
        raise _unusable(name, f"{module_name!r} has no {attribute!r}") from error
    except Exception as error:  # the operator's own code may raise anything
        raise _unusable(name, f"{module_name!r} failed to load: {type(error).__name__}") from error
    if not callable(function):
        raise _unusable(name, f"{factory!r} is not a function")
    return function


def _unusable(name: str, detail: str) -> BackendError:
    return BackendError(name, detail, retryable=True)


def _messages(request: ModelRequest) -> list[BaseMessage]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    kinds: Mapping[str, Any] = {"system": SystemMessage, "assistant": AIMessage}
    *earlier, last = request.messages or (PromptMessage("user", ""),)
    if request.schema is not None:  # behind everything: the front stays the same for caches
        told = f"{last.text}\n\n{_schema_in_words(request.schema)}"
        last = msgspec.structs.replace(last, text=told)
    return [
        kinds.get(message.role, HumanMessage)(content=_content(message))
        for message in (*earlier, last)
    ]


def _schema_in_words(schema: Mapping[str, Any]) -> str:
    shape = msgspec.json.encode(schema).decode()
    return f"Answer with one JSON value that fits this JSON schema, and nothing else:\n{shape}"


def _content(message: PromptMessage) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.text
    return [{"type": "text", "text": message.text}, *map(_image_part, message.images)]


def _image_part(image: ImageData) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode()
    return {"type": "image", "base64": data, "mime_type": image.media_type}
