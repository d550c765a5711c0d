"""From planned calls to their results: the rules are asked before, and once more at the act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.events import CallsReturned, StepPlanned
from agents.plan_run import PlanRun
from tools.contract import ToolCall, ToolResult
from tools.identity import Place, Principal
from tools.labels import Label, audience_of
from tools.rules import Asked, Decision, decide
from tools.toolbox import Toolbox

WITHHELD = (
    "Error: what it found may not be shown here: not everyone here may read it. Tell the person "
    "to ask in a direct message."
)


class Grants(Protocol):
    """The operator's grants as they are now, beside what a tool declares itself."""

    def __call__(self, tool: str, principal: Principal, place: Place) -> bool: ...


def everyone(tool: str, principal: Principal, place: Place) -> bool:
    """The grants of an operator who set none: what the tools declare holds."""
    return True


class Acting:
    """Runs calls under the rules; stateless between turns."""

    def __init__(self, toolbox: Toolbox, grants: Grants = everyone) -> None:
        self._toolbox, self._grants = toolbox, grants

    def has_effect(self, calls: Sequence[ToolCall]) -> bool:
        """Whether any call is more than a pure read; unknown tools count."""
        tools = [self._toolbox.get(call.name) for call in calls]
        return any(tool is None or tool.effect != "read" for tool in tools)

    def is_foreign(self, name: str) -> bool:
        """Whether a tool returns strangers' words: from the web, or from another's server."""
        tool = self._toolbox.get(name)
        return tool is not None and (tool.effect == "egress" or tool.is_foreign)

    async def judge(
        self, run: PlanRun, calls: Sequence[ToolCall], *, pressed: bool = False
    ) -> tuple[Decision, ...]:
        """What each call may do, as the turn stands."""
        budget_left = not self.has_effect(calls) or await _has_budget(run)
        fresh = {call.call_id for call in run.fresh(calls)}
        return tuple(
            self._judged(run, call, pressed=pressed, budget_left=budget_left)
            if call.call_id in fresh
            else Decision("allow", reason="made already")
            for call in calls
        )

    async def run_calls(
        self, run: PlanRun, planned: StepPlanned, *, again: bool = False, pressed: bool = False
    ) -> CallsReturned:
        """All results of the step. `again` is after a crash: what must not be repeated is not."""
        fresh = run.fresh(planned.calls)
        # Asked for what it already has: from here on only an answer is left to give.
        run.must_finish = run.must_finish or not fresh
        decisions = await self.judge(run, fresh, pressed=pressed)
        denied = [
            _denied(call, decision)
            for call, decision in zip(fresh, decisions, strict=True)
            if decision.verdict != "allow"
        ]
        kept_back = {result.call_id for result in denied}
        allowed = [
            call
            for call in fresh
            if call.call_id not in kept_back and not (again and self._only_once(call))
        ]
        ran = await self._toolbox.run_calls(allowed, run.task.context_for)
        shown = [_for_readers(result, run) for result in ran]
        return run.collect(planned, [*denied, *shown])

    def _judged(
        self, run: PlanRun, call: ToolCall, *, pressed: bool, budget_left: bool
    ) -> Decision:
        tool, task = self._toolbox.get(call.name), run.task
        return decide(
            Asked(
                tool,
                task.principal,
                task.place,
                run.label,
                misfit=self._toolbox.check(call.name, call.arguments) if tool else None,
                granted=self._grants(call.name, task.principal, task.place),
                pressed=pressed,
                budget_left=budget_left,
            )
        )

    def _only_once(self, call: ToolCall) -> bool:
        tool = self._toolbox.get(call.name)
        return tool is None or (tool.effect != "read" and tool.idempotency == "none")


async def _has_budget(run: PlanRun) -> bool:
    return run.task.allowance is None or await run.task.allowance.used_up() is None


def _denied(call: ToolCall, decision: Decision) -> ToolResult:
    text = f"Error: the rules refuse this call: {decision.reason}. Do not try it again."
    return ToolResult(call.call_id, call.name, text, True)


def _for_readers(result: ToolResult, run: PlanRun) -> ToolResult:
    """The result, unless the reply would show it to people who may not read it (rule 3)."""
    if result.label.may_flow_to(audience_of(run.task.place, run.task.principal)):
        return result
    return ToolResult(result.call_id, result.name, WITHHELD, True, Label(result.label.integrity))
