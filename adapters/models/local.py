"""A model in this process as a `ModelBackend`, over any `Engine`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog

from adapters.models.engine import (
    Engine,
    EngineMaker,
    EngineOptions,
    EngineUnavailable,
    Job,
    Outcome,
    reason_of,
)
from adapters.models.line import Item, Line, Run, Started
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, Delta, Finish, ModelRequest, Queued, Usage
from agents.prompts.image_cost import images_cost
from agents.prompts.templates import TemplateFamily, render, stop_tags

log = structlog.get_logger(__name__)
_SHORT_CHARS = 2000  # tokenized in the loop: below 1 ms
_LINE_TIMEOUT_S = 150.0  # below a turn's own time, so that another route may still answer


class LocalBackend:
    """A loaded model; make it with `load`."""

    def __init__(
        self,
        name: str,
        engine: Engine[Any],
        *,
        template: TemplateFamily,
        capabilities: Capabilities,
        line: Line | None = None,
    ) -> None:
        self._name, self._engine = name, engine
        self._template, self._capabilities = template, capabilities
        self._line = line or Line(lambda: engine, name=f"engine-{name}")
        self._closed = False

    @classmethod
    async def load(
        cls,
        name: str,
        make: EngineMaker,
        path: Path,
        *,
        template: TemplateFamily,
        capabilities: Capabilities,
        options: EngineOptions,
    ) -> Self:
        """Make the engine by the thread that will run it; raises `BackendError`."""
        build = partial(
            make,
            path,
            options=options,
            context_tokens=capabilities.context_tokens,
            stops=stop_tags(template),
        )
        line = Line(build, name=f"engine-{name}")
        try:
            engine = await asyncio.wrap_future(line.engine)
        except EngineUnavailable as error:
            raise BackendError(name, str(error), retryable=True) from error
        except asyncio.CancelledError:
            line.abandon()
            raise
        except Exception as error:  # libraries raise bare Exception at damaged files
            detail = f"can't load {path.name!r}: {reason_of(error)}"
            raise BackendError(name, detail, retryable=True) from error
        log.info("model.loaded", backend=name, images=engine.takes_images, slots=engine.slots)
        return cls(name, engine, template=template, capabilities=capabilities, line=line)

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def count_tokens(self, text: str) -> int:
        self._check_open()
        if len(text) <= _SHORT_CHARS:
            return self._engine.count(text)
        return await asyncio.to_thread(self._engine.count, text)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish | Queued, None]:
        self._check_open()
        prompt = await self._fitted_prompt(request)
        run = Run(_job_of(request, prompt), request.stop)
        try:
            self._line.join(run)
            wait_s, waited_for, waited = _LINE_TIMEOUT_S, "turn in line", False
            while True:
                match await self._next(run, wait_s, waited_for):
                    case Outcome() as outcome:
                        yield _finish(run, outcome)
                        return
                    case str() as text:
                        yield Delta(text)
                        wait_s, waited_for = request.gap_timeout_s, "next token"
                    case Queued() as place:
                        waited = True
                        yield place
                    case Started():
                        if waited:
                            yield Queued(-1)
                        wait_s, waited_for = request.first_token_timeout_s, "first token"
                    case Exception() as error:
                        detail = f"generation failed: {reason_of(error)}"
                        raise BackendError(self._name, detail, retryable=True) from error
        finally:
            run.cancelled = True

    async def _next(self, run: Run, wait_s: float, waited_for: str) -> Item:
        try:
            async with asyncio.timeout(wait_s):
                return await run.next()
        except TimeoutError as error:
            detail = f"no {waited_for} within {wait_s:g} s"
            raise BackendError(self._name, detail, retryable=True) from error

    async def _fitted_prompt(self, request: ModelRequest) -> str:
        limits = self._capabilities
        images = sum(len(message.images) for message in request.messages)
        if images > (limits.max_images if self._engine.takes_images else 0):
            detail = f"{images} images given, the model takes {limits.max_images}"
            raise BackendError(self._name, detail, retryable=True)
        try:
            prompt = render(self._template, request.messages)
        except ValueError as error:
            detail = f"{error}; set the route's template to one that has them"
            raise BackendError(self._name, detail, retryable=True) from error
        tokens = await self.count_tokens(prompt) + images_cost(request.messages, limits)
        room = limits.context_tokens - request.max_tokens
        if tokens > room:
            raise PromptTooLong(self._name, tokens, max(room, 0))
        return prompt

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError(self._name, "the model was closed", retryable=True)

    async def aclose(self) -> None:
        """Stop every generation and give the memory back."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._line.close)


def _job_of(request: ModelRequest, prompt: str) -> Job:
    images = tuple(image for message in request.messages for image in message.images)
    return Job(prompt, request.max_tokens, request.temperature, request.schema, images)


def _finish(run: Run, outcome: Outcome) -> Finish:
    usage = Usage(outcome.prompt_tokens, outcome.completion_tokens, outcome.cached_tokens)
    return Finish(run.reason(outcome), usage)
