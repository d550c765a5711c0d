"""LangChain chat models made for the tests, as an operator would write one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langsmith.utils import tracing_is_enabled
from pydantic import ConfigDict, Field


class Parrot(BaseChatModel):
    """Streams `pieces`, `delay_s` apart; remembers what it was asked."""

    pieces: tuple[str, ...] = ("Good ", "day")
    delay_s: float = 0.0
    fails: Exception | None = None
    finish_reason: str = "stop"
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    traced: list[bool] = Field(default_factory=list)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = AIMessage("".join(self.pieces))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.seen.append(messages)
        self.traced.append(tracing_is_enabled() is True)
        for piece in self.pieces:
            await asyncio.sleep(self.delay_s)
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        if self.fails is not None:
            raise self.fails
        told = {"finish_reason": self.finish_reason}
        usage: UsageMetadata = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", response_metadata=told, usage_metadata=usage)
        )


class Blocking(BaseChatModel):
    """A model with nothing but the blocking call, as the simplest integrations are."""

    @property
    def _llm_type(self) -> str:
        return "blocking"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = AIMessage(f"You said: {messages[-1].text}")
        return ChatResult(generations=[ChatGeneration(message=message)])


def parrot() -> Parrot:
    return Parrot()


async def slow_parrot() -> Parrot:
    await asyncio.sleep(0)
    return Parrot(pieces=("made ", "later"))


def no_model() -> str:
    return "a string"


def broken() -> Parrot:
    raise ValueError("secret-key-123")


not_a_function = 3


class Deaf(Parrot):
    """Swallows a cancellation, as network libraries do at times while they connect."""

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        yield ChatGenerationChunk(message=AIMessageChunk(content="too late"))
