"""The planner: one schema-bound step per model call, until there is an answer or a limit."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from agents.answer_stream import AnswerReader
from agents.errors import BackendError, NoRouteError
from agents.events import (
    AnswerDelta,
    CallsReturned,
    PlanEnded,
    PlanEvent,
    RouteSwitched,
    StepPlanned,
)
from agents.ports import (
    Capabilities,
    Delta,
    Finish,
    ModelBackend,
    ModelRequest,
    PromptMessage,
    Usage,
)
from agents.prompts.planner import step_text, system_text
from agents.routing import Router, Serving
from agents.steps import Step, StepError, looks_like_a_call, parse_step, step_schema
from agents.turns import Called, EndState, Returned, Text, Turn
from agents.vision import TEXT_ONLY_MARK
from agents.window import Packer, cut_middle, result_message
from tools.contract import JsonSchema, Tool, ToolCall, ToolContext, ToolResult
from tools.identity import ConversationKey, Place, Principal
from tools.labels import Integrity, Label, join_labels
from tools.toolbox import Toolbox

log = structlog.get_logger(__name__)

NO_MODEL = "No model can answer just now; my operator can see the reason in the log."
NO_STEP = (
    "I could not work out a valid next step for this. Please put it another way, or ask for one "
    "thing at a time."
)
NOTHING_SAID = "The model gave an empty answer. Please put the question another way."
TOO_LONG = "This took longer than I may spend on one question, so I stopped."
BROKEN_OFF = "\n\n_(The answer breaks off here: the model failed.)_"
CUT_OFF = "\n\n_(cut here)_"

_STEP_TOKENS = 256  # a thought and a few calls
_MAX_ANSWER_CHARS = 64 * 1024  # reliability row E3, like the two lines below
_REPEAT_WINDOW = 2048
_REPEAT_RATIO = 0.1
_RESULT_SHARE = 0.2  # of the context window, for one tool result
_CHARS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class PlanLimits:
    max_steps: int = 8
    max_seconds: float = 180.0
    max_answer_tokens: int = 1024
    max_answer_chars: int = 6000
    first_token_timeout_s: float = 30.0
    gap_timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class PlanTask:
    """One question, with all it may be answered from."""

    conversation: ConversationKey
    principal: Principal
    place: Place
    history: tuple[Turn, ...]
    question: Turn
    turn_id: str
    now: datetime
    context_for: Callable[[ToolCall], ToolContext]
    pin: str | None = None
    local_only: bool = False
    summary: str = ""
    resume: tuple[StepPlanned | CallsReturned, ...] = ()


@dataclass(frozen=True, slots=True)
class _Protocol:
    """What the model is told and held to, made once for a set of tools."""

    tools: tuple[Tool, ...]
    system: str
    schema: JsonSchema
    final_schema: JsonSchema


@dataclass(slots=True)
class _Run:
    """The state of one plan."""

    task: PlanTask
    protocol: _Protocol
    deadline: float
    step: int = 0
    messages: list[PromptMessage] = field(default_factory=list)  # after the question
    turns: list[Turn] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made: dict[str, ToolResult] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    route: str = ""
    capabilities: Capabilities | None = None
    must_finish: bool = False
    raw: str = ""
    shown: str = ""
    reason: str = "stop"
    limit: str = ""


class Planner:
    """Plans and answers. Stateless between turns, so one serves all conversations."""

    def __init__(
        self,
        router: Router,
        toolbox: Toolbox,
        limits: PlanLimits = PlanLimits(),
        *,
        persona: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router, self._toolbox, self._limits = router, toolbox, limits
        self._persona, self._clock = persona, clock
        self._packer = Packer()
        self._protocols: dict[tuple[str, ...], _Protocol] = {}

    def has_effect(self, calls: Sequence[ToolCall]) -> bool:
        """Whether any call is more than a pure read; unknown tools count."""
        tools = [self._toolbox.get(call.name) for call in calls]
        return any(tool is None or tool.effect != "read" for tool in tools)

    async def run(self, task: PlanTask) -> AsyncGenerator[PlanEvent, None]:
        """Events of the plan; `PlanEnded` is always the last."""
        run = self._begin(task)
        try:
            async with aclosing(self._steps(run)) as events:
                async for event in events:
                    yield event
        except NoRouteError as error:
            yield self._ended(run, "failed", NO_MODEL, reason=str(error))
        except BackendError as error:
            yield self._broken_off(run, error)

    def _begin(self, task: PlanTask) -> _Run:
        has_images = bool(task.question.images) or any(turn.images for turn in task.history)
        tools = self._toolbox.offered(task.principal, task.place, has_images=has_images)
        run = _Run(task, self._protocol(tools), self._clock() + self._limits.max_seconds)
        run.labels = [task.question.label, *(turn.label for turn in task.history)]
        if any(not image.seen for image in task.question.images):
            run.notes.append("no vision model could look at the picture")
        elif any(image.seen.startswith(TEXT_ONLY_MARK) for image in task.question.images):
            run.notes.append("only the text in the picture was read; no vision model is set up")
        return run

    def _protocol(self, tools: tuple[Tool, ...]) -> _Protocol:
        names = tuple(tool.name for tool in tools)
        known = self._protocols.get(names)
        if known is None:
            chars = self._limits.max_answer_chars
            known = self._protocols[names] = _Protocol(
                tools,
                system_text(tools, persona=self._persona),
                step_schema(tools, max_answer_chars=chars),
                step_schema((), max_answer_chars=chars),
            )
        return known

    async def _steps(self, run: _Run) -> AsyncGenerator[PlanEvent, None]:
        async with aclosing(self._resumed(run)) as events:
            async for event in events:
                yield event
        while True:
            run.step += 1
            run.must_finish = run.must_finish or run.step >= self._limits.max_steps
            step: Step | None = None
            async with aclosing(self._next_step(run)) as items:
                async for item in items:
                    if isinstance(item, Step):
                        step = item
                    else:
                        yield item
            if step is None or step.answer is not None:
                yield self._answered(run, step)
                return
            calls = tuple(
                ToolCall(f"{run.step}.{n}", call.name, call.arguments)
                for n, call in enumerate(step.calls, 1)
            )
            planned = StepPlanned(run.step, step.thought, calls, run.route)
            yield planned
            yield await self._run_calls(run, planned)

    async def _resumed(self, run: _Run) -> AsyncGenerator[PlanEvent, None]:
        """Take over the steps of a process that died: none is planned again."""
        waiting: StepPlanned | None = None
        for event in run.task.resume:
            run.step = event.step
            if isinstance(event, StepPlanned):
                waiting = event
            elif waiting is not None:
                self._remember(run, waiting, event)
                waiting = None
        if waiting is not None:
            yield await self._run_calls(run, waiting, again=True)

    async def _run_calls(
        self, run: _Run, planned: StepPlanned, *, again: bool = False
    ) -> CallsReturned:
        fresh = [
            call
            for call in planned.calls
            if _identity(call) not in run.made and not (again and self._only_once(call))
        ]
        ran = await self._toolbox.run_calls(fresh, run.task.context_for)
        by_id = {result.call_id: result for result in ran}
        results = []
        for call in planned.calls:
            result = by_id.get(call.call_id) or self._not_run(run, call)
            run.made.setdefault(_identity(call), result)
            results.append(result)
        returned = CallsReturned(planned.step, tuple(results))
        self._remember(run, planned, returned)
        # Asked for what it already has: from here on only an answer is left to give.
        run.must_finish = run.must_finish or not fresh
        return returned

    def _only_once(self, call: ToolCall) -> bool:
        tool = self._toolbox.get(call.name)
        return tool is None or (tool.effect != "read" and tool.idempotency == "none")

    def _not_run(self, run: _Run, call: ToolCall) -> ToolResult:
        made = run.made.get(_identity(call))
        if made is not None:
            return ToolResult(call.call_id, call.name, made.text, made.is_error, made.label)
        text = (
            "Error: a restart came between; it may or may not have been done. Do not repeat it: "
            "tell the person and ask."
        )
        return ToolResult(call.call_id, call.name, text, True, Label(Integrity.OPERATOR))

    def _remember(self, run: _Run, planned: StepPlanned, returned: CallsReturned) -> None:
        """Add a step and its results to the prompt, to memory and to the labels."""
        said_at = run.task.now.timestamp()
        label = join_labels([*run.labels, *(result.label for result in returned.results)])
        run.labels.append(label)
        calls = [(call.name, call.arguments) for call in planned.calls]
        run.messages.append(PromptMessage("assistant", step_text(calls)))
        for result in returned.results:
            run.made.setdefault(_identity_of(planned, result), result)
            run.messages.append(result_message(result.name, result.call_id, result.text))
        turn_id = run.task.turn_id
        called = tuple(Called(call) for call in planned.calls)
        given = tuple(Returned(result) for result in returned.results)
        run.turns.append(Turn("assistant", called, label, said_at, turn_id))
        run.turns.append(Turn("tool", given, label, said_at, turn_id))

    async def _next_step(
        self, run: _Run
    ) -> AsyncGenerator[AnswerDelta | RouteSwitched | Step, None]:
        """One step, with one retry; yields no `Step` when the model can't give one."""
        tools = () if run.must_finish else run.protocol.tools
        correction: list[PromptMessage] = []
        for attempt in (1, 2):
            async with aclosing(self._generate(run, correction)) as events:
                async for event in events:
                    yield event
            try:
                step = parse_step(run.raw, tools, self._toolbox)
            except StepError as error:
                if run.shown:  # a person has seen the answer; it ends where it ended
                    run.limit = run.limit or "length"
                    return
                log.info("planner.invalid_step", route=run.route, attempt=attempt, why=str(error))
                correction = [_correction(error)]
                continue
            if step.answer and not run.shown:  # its keys came in another order
                run.shown = step.answer
                yield AnswerDelta(step.answer)
            yield step
            return
        prose = run.raw.strip()
        if prose and not looks_like_a_call(prose):
            run.notes.append("answered without a plan")
            run.shown = prose
            yield AnswerDelta(prose)

    async def _generate(
        self, run: _Run, correction: list[PromptMessage]
    ) -> AsyncGenerator[AnswerDelta | RouteSwitched, None]:
        """One model call; the answer is yielded as it is generated."""
        pieces: list[str] = []
        reader = AnswerReader()
        run.raw = ""

        async def build(backend: ModelBackend) -> ModelRequest:
            return await self._request(run, backend, correction)

        stream = self._router.stream(
            "planner",
            build,
            pin=run.task.pin,
            local_only=run.task.local_only,
            shown=lambda: bool(run.shown),
        )
        async with aclosing(stream) as items:
            async for item in items:
                match item:
                    case Delta():
                        pieces.append(item.text)
                        if text := reader.feed(item.text):
                            run.shown += text
                            yield AnswerDelta(text)
                        if self._is_enough(run):
                            break
                    case Serving():
                        pieces, reader = [], AnswerReader()
                        run.route, run.capabilities = item.route, item.backend.capabilities
                    case RouteSwitched():
                        run.notes.append(f"`{item.from_route}` could not serve: {item.reason}")
                        yield item
                    case Finish():
                        run.reason = item.reason
                        run.usage = _sum(run.usage, item.usage)
        run.raw = "".join(pieces)
        if run.reason == "length":
            run.limit = run.limit or "length"

    def _is_enough(self, run: _Run) -> bool:
        if self._clock() > run.deadline:
            run.limit = "time"
        elif len(run.shown) > _MAX_ANSWER_CHARS or _repeats(run.shown):
            run.limit = "length"
        return bool(run.limit)

    async def _request(
        self, run: _Run, backend: ModelBackend, correction: list[PromptMessage]
    ) -> ModelRequest:
        limits, capabilities = self._limits, backend.capabilities
        answer_tokens = min(limits.max_answer_tokens, capabilities.context_tokens // 4)
        steps = _fitted(run.messages, capabilities)
        reserve = answer_tokens + _STEP_TOKENS
        for message in (*steps, *correction):
            reserve += await backend.count_tokens(message.text)
            reserve += capabilities.message_overhead_tokens
        packed = await self._packer.pack(
            backend,
            system=run.protocol.system,
            summary=run.task.summary,
            history=run.task.history,
            question=run.task.question,
            place=run.task.place,
            reserve_tokens=reserve,
        )
        run.notes += [note for note in packed.notes if note not in run.notes]
        return ModelRequest(
            messages=(*packed.messages, *steps, *correction),
            max_tokens=answer_tokens + _STEP_TOKENS,
            schema=run.protocol.final_schema if run.must_finish else run.protocol.schema,
            first_token_timeout_s=limits.first_token_timeout_s,
            gap_timeout_s=limits.gap_timeout_s,
        )

    def _answered(self, run: _Run, step: Step | None) -> PlanEnded:
        answer = (step.answer if step and step.answer is not None else run.shown).strip()
        if run.limit == "time":
            return self._ended(run, "failed", _joined(answer, TOO_LONG), reason="time limit")
        if answer:
            cut = run.limit == "length"
            return self._ended(run, "answered", answer + (CUT_OFF if cut else ""), cut=cut)
        if step is not None:
            return self._ended(run, "failed", NOTHING_SAID, reason="empty answer")
        return self._ended(run, "failed", NO_STEP, reason="no valid step after a retry")

    def _broken_off(self, run: _Run, error: BackendError) -> PlanEnded:
        log.warning("planner.broken_off", route=run.route, why=error.detail)
        text = run.shown + BROKEN_OFF if run.shown else NO_MODEL
        return self._ended(run, "failed", text, reason=str(error), cut=bool(run.shown))

    def _ended(
        self, run: _Run, state: EndState, text: str, *, reason: str = "", cut: bool = False
    ) -> PlanEnded:
        label = join_labels(run.labels).lowered_to(Integrity.USER)
        said_at, turn_id = run.task.now.timestamp(), run.task.turn_id
        answer = Turn("assistant", (Text(text),), label, said_at, turn_id)
        notes = _named(run.notes, run.route)
        if run.capabilities is not None and run.capabilities.demonstration:
            notes.append("from the demonstration model")
        return PlanEnded(
            state,
            text,
            (*run.turns, answer),
            reason=reason,
            notes=tuple(notes),
            cut=cut,
            usage=run.usage,
            route=run.route,
        )


def _named(notes: list[str], route: str) -> list[str]:
    """After a switch, the footer says who answered instead."""
    switched = any("could not serve" in note for note in notes)
    return [*notes, f"answered by `{route}`"] if switched and route else [*notes]


def _fitted(messages: Sequence[PromptMessage], capabilities: Capabilities) -> list[PromptMessage]:
    """Steps of this turn, each result cut to its share of the window."""
    chars = int(capabilities.context_tokens * _RESULT_SHARE * _CHARS_PER_TOKEN)
    return [
        message
        if len(message.text) <= chars
        else PromptMessage(message.role, cut_middle(message.text, chars))
        for message in messages
    ]


def _correction(error: StepError) -> PromptMessage:
    return PromptMessage(
        "user", f"That was not a valid step: {error}. Answer with one JSON object and nothing else."
    )


def _repeats(text: str) -> bool:
    """Whether the newest 2 KiB say one thing over and over; looked at every 512 characters."""
    if len(text) < _REPEAT_WINDOW or len(text) % 512 > 16:
        return False
    newest = text[-_REPEAT_WINDOW:].encode()
    return len(zlib.compress(newest, 1)) < _REPEAT_RATIO * len(newest)


def _identity(call: ToolCall) -> str:
    return f"{call.name}:{sorted(call.arguments.items())!r}"


def _identity_of(planned: StepPlanned, result: ToolResult) -> str:
    calls = [call for call in planned.calls if call.call_id == result.call_id]
    return _identity(calls[0]) if calls else result.call_id


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens, one.completion_tokens + other.completion_tokens
    )


def _joined(answer: str, sentence: str) -> str:
    return f"{answer}\n\n{sentence}" if answer else sentence
