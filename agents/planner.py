"""The planner: one schema-bound step per model call, until there is an answer or a limit."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec
import structlog

from agents.acting import Acting, Grants, everyone
from agents.answer_stream import AnswerReader
from agents.budget import OVER_BUDGET
from agents.errors import BackendError, NoRouteError, PromptTooLong
from agents.events import (
    AnswerDelta,
    PlanEnded,
    PlanEvent,
    RouteSwitched,
    StepPlanned,
    Waiting,
)
from agents.plan_run import PlanLimits, PlanRun, PlanTask, Protocol
from agents.ports import Delta, Finish, ModelBackend, ModelRequest, PromptMessage, Queued
from agents.prompts.planner import prompt_head
from agents.routing import LOCAL_ONLY, Router, Serving
from agents.steps import Step, StepError, looks_like_a_call, parse_step, step_schema
from agents.turns import EndState
from agents.watch import Watch
from agents.window import Packer
from tools.contract import Tool, ToolCall
from tools.toolbox import Toolbox

__all__ = ["PlanLimits", "PlanTask", "Planner"]

log = structlog.get_logger(__name__)

NO_MODEL = "No model can answer just now; my operator can see the reason in the log."
NO_LOCAL = (
    "This conversation stays on this machine, and no model here can answer just now. Ask my "
    "operator for a local model; `/private` tells why it stays here and whether you can end that."
)
NO_ROOM = "This is more than my model can read at once. Please ask with less text."
NO_STEP = (
    "I could not work out a valid next step for this. Please put it another way, or ask for one "
    "thing at a time."
)
NOTHING_SAID = "The model gave an empty answer. Please put the question another way."
TOO_LONG = "This took longer than I may spend on one question, so I stopped."
BROKEN_OFF = "\n\n_(The answer breaks off here: the model failed.)_"
CUT_OFF = "\n\n_(cut here)_"
UNPLANNED = "answered without a plan"

_STEP_TOKENS = 256  # a thought and a few calls
_LEAST_WAIT_S = 1.0
_DEFAULT_LIMITS = PlanLimits()
_FINISH = PromptMessage("user", 'Use no more tools. Answer now, with the action "final".')


class Planner:
    """Plans and answers. Stateless between turns, so one serves all conversations."""

    def __init__(
        self,
        router: Router,
        toolbox: Toolbox,
        limits: PlanLimits = _DEFAULT_LIMITS,
        *,
        persona: str = "",
        grants: Grants = everyone,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router, self._toolbox, self._limits = router, toolbox, limits
        self._acting, self._grants = Acting(toolbox, grants), grants
        self._persona, self._clock = persona, clock
        self._packer = Packer()
        self._protocols: dict[tuple[str, ...], Protocol] = {}  # by persona and tools

    def has_effect(self, calls: Sequence[ToolCall]) -> bool:
        """Whether any call is more than a pure read; unknown tools count."""
        return self._acting.has_effect(calls)

    def is_foreign(self, tool: str) -> bool:
        """Whether what this tool returns is strangers' words."""
        return self._acting.is_foreign(tool)

    async def run(self, task: PlanTask) -> AsyncGenerator[PlanEvent, None]:
        """Events of the plan; `PlanEnded` is always the last."""
        turns = (task.question, *task.history)
        offered = self._toolbox.offered(
            task.principal,
            task.place,
            has_images=any(turn.images for turn in turns),
            has_documents=any(turn.documents for turn in turns),
        )
        tools = tuple(
            tool for tool in offered if self._grants(tool.name, task.principal, task.place)
        )
        run = PlanRun(
            task,
            self._protocol(tools, task.persona or self._persona),
            self._clock() + self._limits.max_seconds,
        )
        try:
            async with aclosing(self._steps(run)) as events:
                async for event in events:
                    yield event
        except NoRouteError as error:
            over = await _over_budget(error, task)
            state: EndState = "refused" if over else "failed"
            yield run.ended(state, over or _unserved(error), reason=str(error))
        except BackendError as error:
            log.warning("planner.broken_off", route=run.route, why=error.detail)
            text = run.shown + BROKEN_OFF if run.shown else NO_MODEL
            yield run.ended("failed", text, reason=str(error), cut=bool(run.shown))

    def _protocol(self, tools: tuple[Tool, ...], persona: str) -> Protocol:
        names = (persona, *(tool.name for tool in tools))
        known = self._protocols.get(names)
        if known is None:
            chars = self._limits.max_answer_chars
            known = self._protocols[names] = Protocol(
                tools,
                prompt_head(tools, persona=persona),
                step_schema(tools, max_answer_chars=chars),
                step_schema((), max_answer_chars=chars),
            )
        return known

    async def _steps(self, run: PlanRun) -> AsyncGenerator[PlanEvent, None]:
        async with aclosing(self._resumed(run)) as events:
            async for event in events:
                yield event
        if run.task.first and run.step == 0:
            run.step = 1
            planned = StepPlanned(1, "", run.task.first, "")
            yield planned
            yield await self._acting.run_calls(run, planned)
        while self._clock() <= run.deadline:
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
                yield _answered(run, step)
                return
            calls = tuple(
                ToolCall(f"{run.step}.{n}", call.name, call.arguments)
                for n, call in enumerate(step.calls, 1)
            )
            decisions = await self._acting.judge(run, calls)
            planned = StepPlanned(run.step, step.thought, calls, run.route, decisions)
            if any(decision.verdict == "press" for decision in decisions):
                yield run.waits_for(planned)
                return
            yield planned
            returned = await self._acting.run_calls(run, planned)
            yield returned
            if run.is_demonstration:
                yield AnswerDelta(run.state_results(returned))
                yield run.ended("answered", run.shown)
                return
        yield run.ended("failed", TOO_LONG, reason="time limit")

    async def _resumed(self, run: PlanRun) -> AsyncGenerator[PlanEvent, None]:
        """Take over the steps of a process that died, and those before a press: none is planned
        again. What was agreed to by a press comes next, if it was not begun."""
        waiting: StepPlanned | None = None
        pressed = run.task.pressed
        for event in run.task.resume:
            run.step = event.step
            if isinstance(event, StepPlanned):
                waiting = event
            elif waiting is not None:
                run.remember(waiting, event)
                waiting = None
        if waiting is not None:
            is_pressed = pressed is not None and waiting.calls == pressed.calls
            yield await self._acting.run_calls(run, waiting, again=True, pressed=is_pressed)
        if pressed is not None and run.step < pressed.step:
            run.step = pressed.step
            decisions = await self._acting.judge(run, pressed.calls, pressed=True)
            yield msgspec.structs.replace(pressed, decisions=decisions)
            yield await self._acting.run_calls(run, pressed, pressed=True)

    async def _next_step(
        self, run: PlanRun
    ) -> AsyncGenerator[AnswerDelta | RouteSwitched | Waiting | Step, None]:
        """One step, with one retry; yields no `Step` when the model can't give one."""
        tools = () if run.must_finish else run.protocol.tools
        correction: tuple[PromptMessage, ...] = ()
        for attempt in (1, 2):
            async with aclosing(self._generate(run, correction)) as events:
                async for event in events:
                    yield event
            try:
                step = parse_step(run.raw, tools, self._toolbox)
            except StepError as error:
                if run.shown:  # a person has seen the answer; it ends where it ended
                    if run.whole:
                        yield Step("", answer=run.shown)
                    return
                log.info("planner.invalid_step", route=run.route, attempt=attempt, why=str(error))
                if run.limit == "time":
                    return
                correction = (_correction(error),)
                continue
            run.limit = ""  # whatever ended it, the step is whole
            if step.answer and not run.shown:  # its keys came in another order
                run.shown = step.answer
                yield AnswerDelta(step.answer)
            yield step
            return
        prose = run.raw.strip()
        if prose and not looks_like_a_call(prose):
            run.note(UNPLANNED)
            run.shown = prose
            yield AnswerDelta(prose)

    async def _generate(
        self, run: PlanRun, correction: Sequence[PromptMessage]
    ) -> AsyncGenerator[AnswerDelta | RouteSwitched | Waiting, None]:
        """One model call; the answer is yielded as it is generated."""
        pieces: list[str] = []
        reader, watch = AnswerReader(), Watch()
        run.raw, run.limit = "", ""

        async def build(backend: ModelBackend) -> ModelRequest:
            return await self._request(run, backend, correction)

        stream = self._router.stream(
            "planner",
            build,
            pin=run.route or run.task.pin,  # a turn stays where it was served
            local_only=run.task.local_only,
            allowance=run.task.allowance,
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
                        run.limit = self._limit(run, watch, item.text)
                        if run.limit:
                            break
                    case Serving():
                        pieces, reader, watch = [], AnswerReader(), Watch()
                        run.route, run.capabilities = item.route, item.backend.capabilities
                    case Queued():
                        yield Waiting(item.position)
                    case RouteSwitched():
                        run.gave_up(item.from_route, item.reason)
                        yield item
                    case Finish():
                        run.limit = "length" if item.reason == "length" else ""
                        run.spent(item.usage)
        run.raw, run.whole = "".join(pieces), reader.ended

    def _limit(self, run: PlanRun, watch: Watch, text: str) -> str:
        if self._clock() > run.deadline:
            return "time"
        return "length" if watch.is_enough(text) else ""

    async def _request(
        self, run: PlanRun, backend: ModelBackend, correction: Sequence[PromptMessage]
    ) -> ModelRequest:
        limits, capabilities = self._limits, backend.capabilities
        max_tokens = min(limits.max_answer_tokens, capabilities.context_tokens // 4) + _STEP_TOKENS
        window = run.windows.get(backend.name)
        if window is None:
            window = run.windows[backend.name] = await self._packer.open(
                backend,
                head=run.protocol.head,
                summary=run.task.summary,
                about=run.task.about,
                history=run.task.history,
                question=run.task.question,
                place=run.task.place,
                answer_tokens=max_tokens,
            )
        told = (_FINISH,) if run.must_finish and not capabilities.constrained else ()
        packed = await window.pack(run.messages, (*told, *correction))
        for note in packed.notes:
            run.note(note)
        left_s = max(run.deadline - self._clock(), _LEAST_WAIT_S)
        return ModelRequest(
            messages=packed.messages,
            max_tokens=max_tokens,
            schema=run.protocol.final_schema if run.must_finish else run.protocol.schema,
            first_token_timeout_s=min(limits.first_token_timeout_s, left_s),
            gap_timeout_s=min(limits.gap_timeout_s, left_s),
        )


def _answered(run: PlanRun, step: Step | None) -> PlanEnded:
    answer = (step.answer if step and step.answer is not None else run.shown).strip()
    if run.limit == "time":
        text = f"{answer}\n\n{TOO_LONG}" if answer else TOO_LONG
        return run.ended("failed", text, reason="time limit", cut=bool(answer))
    if answer:
        cut = step is None and bool(run.limit)
        return run.ended("answered", answer + (CUT_OFF if cut else ""), cut=cut)
    if step is not None:
        return run.ended("failed", NOTHING_SAID, reason="empty answer")
    return run.ended("failed", NO_STEP, reason="no valid step after a retry")


async def _over_budget(error: NoRouteError, task: PlanTask) -> str:
    """The sentence for a person without a route that is left to pay for."""
    if task.allowance is None or OVER_BUDGET not in dict(error.tried).values():
        return ""
    kind = await task.allowance.used_up()
    return task.allowance.sentence(kind) if kind else ""


def _unserved(error: NoRouteError) -> str:
    if isinstance(error.__cause__, PromptTooLong):
        return NO_ROOM
    return NO_LOCAL if LOCAL_ONLY in dict(error.tried).values() else NO_MODEL


def _correction(error: StepError) -> PromptMessage:
    return PromptMessage(
        "user", f"That was not a valid step: {error}. Answer with one JSON object and nothing else."
    )
