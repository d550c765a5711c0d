"""Our models as a LangChain chat model that calls tools."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Container,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import uuid4

import structlog
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import SkipValidation

from adapters.langchain.offer import Offer, ToolChoice, tool_spec
from adapters.langchain.prompts import calls_done, plain_prompt, planned_prompt
from adapters.langchain.schemas import planned_tool
from agents.answer_stream import AnswerReader
from agents.errors import BackendError
from agents.ports import Delta, Finish, FinishReason, ModelBackend, ModelRequest, PromptMessage
from agents.steps import PlannedCall, StepError, looks_like_a_call

log = structlog.get_logger(__name__)

_STEP_TOKENS = 256  # a thought and a few calls
_NO_SYNC = "FirstlineChatModel is async only; use ainvoke, astream or an agent's ainvoke"
_FINISH = PromptMessage("user", 'Use no more tools. Answer now, with the action "final".')
_NO_STEP = "gave no valid step, nor after it was told what was wrong"

Chunks = AsyncGenerator[AIMessageChunk, None]


@dataclass(slots=True)
class _Heard:
    """One generation so far: its text, and what of its answer was shown."""

    text: str = ""
    shown: bool = False
    reason: FinishReason = "stop"
    answer: AnswerReader = field(default_factory=AnswerReader)


class FirstlineChatModel(BaseChatModel):
    """A `ModelBackend` as a LangChain chat model; async only.

    With tools bound, a call is one step of our planner: bound to a schema, checked again,
    retried once, and returned as an `AIMessage` with tool calls or with the answer, which
    streams. The backend's own tool calling is never used. Without tools it just talks.
    Raises `BackendError`; closing the backend stays with its owner.
    """

    backend: Annotated[ModelBackend, SkipValidation]
    max_answer_tokens: int = 1024
    max_answer_chars: int = 6000
    first_token_timeout_s: float = 30.0
    gap_timeout_s: float = 20.0

    @property
    def _llm_type(self) -> str:
        return "firstline"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"backend": self.backend.name, "max_answer_tokens": self.max_answer_tokens}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: ToolChoice = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with these tools. `tool_choice`: "auto", "any", "none" or a tool's name.

        Raises `SchemaError` for arguments that not every decoding engine knows.
        """
        specs = [tool_spec(each) for each in tools]
        for spec in specs:
            planned_tool(spec)  # refuse now, not in the middle of a conversation
        return self.bind(tools=specs, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError(_NO_SYNC)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        raise NotImplementedError(_NO_SYNC)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: ToolChoice = None,
        parallel_tool_calls: bool = True,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if kwargs:
            raise TypeError(f"FirstlineChatModel does not know {', '.join(sorted(kwargs))}")
        if not tools or tool_choice == "none":
            chunks = self._talk(plain_prompt(messages), tuple(stop or ()))
        elif stop:
            raise ValueError("stop strings would cut a step's JSON; give none with tools")
        else:
            chars, one_call = self.max_answer_chars, not parallel_tool_calls
            offer = Offer(tools, tool_choice, max_answer_chars=chars, one_call=one_call)
            done = calls_done(messages)
            chunks = self._plan(planned_prompt(messages, offer.tools), offer, done)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield ChatGenerationChunk(message=chunk)

    async def _talk(self, prompt: tuple[PromptMessage, ...], stop: tuple[str, ...]) -> Chunks:
        request = self._request(prompt, max_tokens=self.max_answer_tokens, stop=stop)
        async with aclosing(self.backend.stream(request)) as items:
            async for item in items:
                if isinstance(item, Delta):
                    yield AIMessageChunk(content=item.text)
                elif isinstance(item, Finish):
                    yield _spent(item)
                    yield self._ended(item.reason)

    async def _plan(
        self, prompt: tuple[PromptMessage, ...], offer: Offer, done: Container[str]
    ) -> Chunks:
        """One step, with one retry; what was shown of an answer stays.

        Asked again for nothing but what it already has, the model is held to an answer.
        """
        heard, correction = _Heard(), tuple[PromptMessage, ...]()
        for attempt in (1, 2):
            request = self._request(
                (*prompt, *correction),
                max_tokens=self.max_answer_tokens + _STEP_TOKENS,
                schema=offer.schema,
            )
            heard = _Heard()
            async with aclosing(self._listen(request, heard, shows=not offer.must_call)) as chunks:
                async for chunk in chunks:
                    yield chunk
            try:
                step = offer.parse(heard.text)
            except StepError as error:
                if heard.shown:  # a person has seen the answer; it ends where it ended
                    yield self._ended("stop" if heard.answer.ended else heard.reason)
                    return
                log.info("langchain.invalid_step", attempt=attempt, why=str(error))
                correction = (_correction(error),)
                continue
            if offer.repeats(step, done):
                again = self._plan((*prompt, _FINISH), offer.without_tools(), ())
                async with aclosing(again) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            if step.answer is None:
                yield _calling(step.calls, offer)
            elif not heard.shown:  # its keys came in another order
                yield AIMessageChunk(content=step.answer)
            yield self._ended("tool_calls" if step.calls else "stop")
            return
        prose = heard.text.strip()
        if not prose or offer.must_call or looks_like_a_call(prose):
            raise BackendError(self.backend.name, _NO_STEP, retryable=True)
        yield AIMessageChunk(content=prose)
        yield self._ended(heard.reason)

    async def _listen(self, request: ModelRequest, heard: _Heard, *, shows: bool) -> Chunks:
        async with aclosing(self.backend.stream(request)) as items:
            async for item in items:
                if isinstance(item, Finish):
                    heard.reason = item.reason
                    yield _spent(item)
                if not isinstance(item, Delta):
                    continue
                heard.text += item.text
                if shows and (text := heard.answer.feed(item.text)):
                    heard.shown = True
                    yield AIMessageChunk(content=text)

    def _request(
        self, prompt: tuple[PromptMessage, ...], *, max_tokens: int, **options: Any
    ) -> ModelRequest:
        return ModelRequest(
            prompt,
            max_tokens=min(max_tokens, self.backend.capabilities.context_tokens // 2),
            first_token_timeout_s=self.first_token_timeout_s,
            gap_timeout_s=self.gap_timeout_s,
            **options,
        )

    def _ended(self, reason: str) -> AIMessageChunk:
        told = {"finish_reason": reason, "model_name": self.backend.name}
        return AIMessageChunk(content="", response_metadata=told, chunk_position="last")


def _spent(finish: Finish) -> AIMessageChunk:
    prompt, completion = finish.usage.prompt_tokens, finish.usage.completion_tokens
    return AIMessageChunk(
        content="",
        usage_metadata={
            "input_tokens": prompt,
            "output_tokens": completion,
            "total_tokens": prompt + completion,
        },
    )


def _calling(calls: Sequence[PlannedCall], offer: Offer) -> AIMessageChunk:
    chunks = [
        ToolCallChunk(
            name=call.name,
            args=json.dumps(offer.given(call.name, call.arguments), ensure_ascii=False),
            id=f"call_{uuid4().hex}",
            index=index,
            type="tool_call_chunk",
        )
        for index, call in enumerate(calls)
    ]
    return AIMessageChunk(content="", tool_call_chunks=chunks)


def _correction(error: StepError) -> PromptMessage:
    return PromptMessage(
        "user", f"That was not a valid step: {error}. Answer with one JSON object and nothing else."
    )
