"""The toolbox: what is offered to whom, and how calls run.

ToolboxError      the tools can't be loaded; names the tool or the file and the remedy
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from tools.contract import Labelled, Tool, ToolCall, ToolContext, ToolError, ToolResult
from tools.identity import Place, Principal
from tools.labels import Integrity, Label
from tools.schema import checker

log = structlog.get_logger(__name__)

MAX_RESULT_BYTES = 32 * 1024  # reliability row G8
RESERVED = frozenset({"final"})  # the planner's own action
OPTIONAL = ("convert_units", "set_reminder")  # off by default: each tool makes prompts longer
_UNTRUSTED = Label(Integrity.UNTRUSTED)


class ToolboxError(Exception):
    """Tools can't be loaded."""


class Toolbox:
    """Tools by name. A duplicate name refuses to load."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for each in sorted(tools, key=lambda tool: tool.name):
            if each.name in self._tools:
                raise ToolboxError(f"two tools are named {each.name!r}; rename one")
            if each.name in RESERVED:
                raise ToolboxError(f"a tool can't be named {each.name!r}; rename it")
            self._tools[each.name] = each
        self._checks = {name: checker(tool.parameters) for name, tool in self._tools.items()}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Every tool, whoever may use it."""
        return tuple(self._tools.values())

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def offered(
        self,
        principal: Principal,
        place: Place,
        *,
        has_images: bool,
        has_documents: bool = False,
    ) -> tuple[Tool, ...]:
        """Tools granted here, by name: the same people see the same bytes in the prompt."""
        return tuple(
            tool
            for tool in self._tools.values()
            if _granted(tool, principal, place)
            and (has_images or not tool.needs_images)
            and (has_documents or not tool.needs_documents)
        )

    def check(self, name: str, arguments: object) -> str | None:
        """None when the arguments fit the tool's schema, else a short reason."""
        return self._checks[name](arguments)

    async def run_calls(
        self, calls: Sequence[ToolCall], context_for: Callable[[ToolCall], ToolContext]
    ) -> tuple[ToolResult, ...]:
        """Run the calls together; results keep the order of `calls`.

        Whatever a call does, its siblings finish: it becomes an error result.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._run_one(call, context_for(call)), name=f"tool.{call.name}")
                for call in calls
            ]
        return tuple(
            # A tool may cancel itself; when we are cancelled, the group raises instead.
            _error(call, "the tool was cancelled") if task.cancelled() else task.result()
            for call, task in zip(calls, tasks, strict=True)
        )

    async def _run_one(self, call: ToolCall, context: ToolContext) -> ToolResult:
        tool = self._tools.get(call.name)
        if tool is None or not _granted(tool, context.principal, context.place):
            return _error(call, f"there is no tool {call.name!r} here")
        if reason := self.check(call.name, call.arguments):
            return _error(call, reason)
        try:
            async with asyncio.timeout(tool.timeout_s) as limit:
                returned = await tool.run(context, call.arguments)
        except ToolError as error:
            return _error(call, str(error))
        except (Exception, SystemExit) as error:  # the border of one tool call
            if limit.expired() and isinstance(error, TimeoutError):
                return _error(call, f"no answer in {tool.timeout_s:g} s")
            log.exception("tool.crashed", tool=call.name, error=type(error).__name__)
            return _error(call, f"the tool failed ({type(error).__name__})")
        text, label = returned, _UNTRUSTED
        if isinstance(returned, Labelled):
            text, label = returned.text, returned.label
        return ToolResult(call.call_id, call.name, _cut(str(text)), label=label)


def load_tools(path: Path) -> list[Tool]:
    """The tools of a user's own Python file; raises `ToolboxError`."""
    if not path.is_file():
        raise ToolboxError(f"tools.file: there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(f"firstline_user_tools_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ToolboxError(f"tools.file: {str(path)!r} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise ToolboxError(
            f"tools.file: {str(path)!r} failed to load: {type(error).__name__}: {error}"
        ) from error
    found = [value for value in vars(module).values() if isinstance(value, Tool)]
    if not found:
        raise ToolboxError(f"tools.file: {str(path)!r} defines no tool; decorate one with @tool")
    return found


def optional_tools(names: Iterable[str]) -> tuple[Tool, ...]:
    """Those of `OPTIONAL`, and those that other settings bring, by their names; raises
    `ToolboxError`."""
    from tools.builtin import hand_over, knowledge, reminders, units

    known = (
        hand_over.hand_over,
        knowledge.search_knowledge,
        reminders.set_reminder,
        units.convert_units,
    )
    found = {tool.name: tool for tool in known}
    wanted = list(names)
    for name in wanted:
        if name not in found:
            raise ToolboxError(f"there is no tool {name!r} to switch on")
    return tuple(found[name] for name in dict.fromkeys(wanted))


def built_in_tools() -> tuple[Tool, ...]:
    """The tools that come with firstline."""
    from tools.builtin import arithmetic, clock, conversation_search, look, tables

    return (
        arithmetic.calculate,
        clock.current_time,
        conversation_search.search_conversation,
        look.look,
        tables.inspect_table,
    )


def _granted(tool: Tool, principal: Principal, place: Place) -> bool:
    return principal.kind in tool.principals and place.kind in tool.places


def _error(call: ToolCall, reason: str) -> ToolResult:
    return ToolResult(call.call_id, call.name, _cut(f"Error: {reason}"), True, _UNTRUSTED)


def _cut(text: str) -> str:
    raw = text.encode(errors="replace")
    if len(raw) <= MAX_RESULT_BYTES:
        return raw.decode()
    kept = raw[:MAX_RESULT_BYTES].decode(errors="ignore")
    return f"{kept}\n[cut: {len(raw):,} bytes, the first {MAX_RESULT_BYTES:,} are shown]"
