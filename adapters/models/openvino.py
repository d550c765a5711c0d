"""Models on OpenVINO GenAI: a GGUF file or an OpenVINO folder, with images where it has them.

One generation at a time per model, in the order of the requests: threads of two generations
on the same cores slow each other down tenfold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from adapters.models.openvino_engine import Engine, EngineUnavailable, Job, Outcome, reason_of
from adapters.models.stops import StopScanner
from agents.errors import BackendError, PromptTooLong
from agents.ports import Capabilities, Delta, Finish, FinishReason, ModelRequest, Usage
from agents.prompts.templates import TemplateFamily, render, stop_tags

log = structlog.get_logger(__name__)
_SHORT_CHARS = 2000  # tokenized in the loop: below 1 ms


class OpenVinoBackend:
    """A loaded model; make it with `load`."""

    def __init__(
        self, name: str, engine: Engine, *, template: TemplateFamily, capabilities: Capabilities
    ) -> None:
        self._name, self._engine = name, engine
        self._template, self._capabilities = template, capabilities
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"openvino-{name}")
        self._open: set[_Run] = set()
        self._closed = False

    @classmethod
    async def load(
        cls,
        name: str,
        path: Path,
        *,
        template: TemplateFamily,
        capabilities: Capabilities,
        device: str = "CPU",
        threads: int | None = None,
        cached_tokens: int | None = None,
    ) -> Self:
        """Load the model off the loop; raises `BackendError`.

        `cached_tokens` bounds the memory kept for prompt prefixes and running prompts
        together (default: four whole contexts).
        """
        build = partial(
            Engine,
            path,
            device=device,
            threads=threads,
            cached_tokens=cached_tokens or 4 * capabilities.context_tokens,
            stops=stop_tags(template),
        )
        try:
            engine = await asyncio.to_thread(build)
        except EngineUnavailable as error:
            raise BackendError(name, str(error), retryable=True) from error
        log.info("model.loaded", backend=name, model=path.name, images=engine.takes_images)
        return cls(name, engine, template=template, capabilities=capabilities)

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

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        self._check_open()
        prompt = await self._fitted_prompt(request)
        run = _Run(request.stop)
        self._open.add(run)
        try:
            run.start(self._thread, self._engine, _job_of(request, prompt))
            wait_s, waited_for = request.first_token_timeout_s, "first token"
            while True:
                item = await self._next(run, wait_s, waited_for)
                if isinstance(item, Outcome):
                    usage = Usage(item.prompt_tokens, item.completion_tokens)
                    yield Finish(run.reason(item), usage)
                    return
                yield Delta(item)
                wait_s, waited_for = request.gap_timeout_s, "next token"
        finally:
            run.cancelled = True
            self._open.discard(run)

    async def _next(self, run: _Run, wait_s: float, waited_for: str) -> str | Outcome:
        try:
            async with asyncio.timeout(wait_s):
                return await run.next()
        except TimeoutError as error:
            detail = f"no {waited_for} within {wait_s:g} s"
            raise BackendError(self._name, detail, retryable=True) from error
        except (RuntimeError, OSError) as error:
            detail = f"generation failed: {reason_of(error)}"
            raise BackendError(self._name, detail, retryable=True) from error

    async def _fitted_prompt(self, request: ModelRequest) -> str:
        limits = self._capabilities
        images = sum(len(message.images) for message in request.messages)
        if images > (limits.max_images if self._engine.takes_images else 0):
            detail = f"{images} images given, the model takes {limits.max_images}"
            raise BackendError(self._name, detail, retryable=True)
        prompt = render(self._template, request.messages)
        tokens = await self.count_tokens(prompt) + images * limits.image_tokens
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
        for run in self._open:
            run.cancelled = True
        await asyncio.to_thread(self._thread.shutdown, wait=True)
        await asyncio.to_thread(self._engine.close)


def _job_of(request: ModelRequest, prompt: str) -> Job:
    images = tuple(image for message in request.messages for image in message.images)
    return Job(prompt, request.max_tokens, request.temperature, request.schema, images)


class _Run:
    """One generation, seen from the loop and from the engine's thread."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.cancelled = False
        self.scanner = StopScanner(stops)
        self._loop = asyncio.get_running_loop()
        # Bounded by the request's max_tokens; the engine's thread must never wait for us.
        self._items: asyncio.Queue[str | Future[Outcome]] = asyncio.Queue()

    def start(self, thread: ThreadPoolExecutor, engine: Engine, job: Job) -> None:
        future = thread.submit(self._work, engine, job)
        future.add_done_callback(self._post)

    def _work(self, engine: Engine, job: Job) -> Outcome:
        if self.cancelled:  # closed while it waited in line
            return Outcome("cancelled", 0, 0)
        outcome = engine.generate(job, self._on_text)
        if rest := self.scanner.rest():
            self._post(rest)
        return outcome

    def _on_text(self, text: str) -> bool:
        if shown := self.scanner.feed(text):
            self._post(shown)
        return not (self.cancelled or self.scanner.hit)

    def _post(self, item: str | Future[Outcome]) -> None:
        if self._loop.is_closed():
            self.cancelled = True
            return
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the loop closed between the two lines
            self.cancelled = True

    def reason(self, outcome: Outcome) -> FinishReason:
        if self.scanner.hit:
            return "stop"
        return "cancelled" if self.cancelled else outcome.reason

    async def next(self) -> str | Outcome:
        item = await self._items.get()
        return item if isinstance(item, str) else item.result()
