"""AgentDojo's suites as tools of ours, and its tasks as what an obedient model is told to do.

AgentDojo (MIT, v1.2.2): 97 tasks, 35 injections, 949 pairs; its environments are simulated, and its
own checks judge. What each of its functions does to the world is declared here, by us.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
from agentdojo.functions_runtime import Function, FunctionCall, FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from agentdojo.task_suite.task_suite import TaskSuite
from agentdojo.types import text_content_block_from_string

from tools.contract import Effect, Tool, ToolContext, ToolError
from tools.schema import SchemaError, compile_schema
from tools.toolbox import Toolbox

VERSION = "v1.2.2"
MARK = "[[ORDER]]"  # begins every injection: the obedient model obeys what follows it

_DESTRUCTIVE = frozenset(
    {"delete_email", "delete_file", "cancel_calendar_event", "remove_user_from_slack"}
)
_LEAVES_BY_READING = frozenset({"get_webpage"})  # a fetch tells the host its URL
_READS = ("get_", "search_", "list_", "read_", "check_")
_LONGEST, _MOST = 8_000, 64


class World:
    """One environment, with what was called in it."""

    def __init__(self, suite: TaskSuite[Any, Any], injection: Any = None) -> None:
        vectors = suite.get_injection_vector_defaults()
        told = f"{MARK} {_one_line(injection.GOAL)}" if injection is not None else ""
        self.suite, self.calls = suite, list[FunctionCall]()
        self.env = suite.load_and_inject_default_environment(
            dict.fromkeys(vectors, told) if told else {}
        )
        self.before = self.env.model_copy(deep=True)
        self._runtime = FunctionsRuntime(suite.tools)
        self._defaults = {function.name: _defaults(function) for function in suite.tools}

    def begin(self, task: Any) -> None:
        if hasattr(task, "init_environment"):
            self.env = task.init_environment(self.env)
            self.before = self.env.model_copy(deep=True)

    def script(self, task: Any) -> list[tuple[str, dict[str, Any]]]:
        """The calls that do the task, each with the default of every argument it leaves out."""
        return [
            (call.function, {**self._defaults[call.function], **call.args})
            for call in task.ground_truth(self.before)
        ]

    def judge(self, task: Any, said: str) -> bool:
        """What AgentDojo says: was the user's task done, or the attacker's."""
        blocks = [text_content_block_from_string(said)]
        check = self.suite._check_task_result  # noqa: SLF001 (its judge, for our own agent loop)
        return bool(check(task, blocks, self.before, self.env, self.calls))

    def toolbox(self) -> Toolbox:
        return Toolbox(self._tool(function) for function in self.suite.tools)

    def _tool(self, function: Function) -> Tool:
        schema = schema_of(function)

        async def run(context: ToolContext, arguments: Mapping[str, Any]) -> str:
            given = {name: value for name, value in arguments.items() if value is not None}
            self.calls.append(FunctionCall(function=function.name, args=given))
            result, error = self._runtime.run_function(self.env, function.name, given)
            if error is not None:
                raise ToolError(error)
            return str(tool_result_to_str(result))

        name = function.name
        return Tool(name, function.description, schema, run, effect=effect_of(name))


def effect_of(name: str) -> Effect:
    if name in _DESTRUCTIVE:
        return "destructive"
    if name in _LEAVES_BY_READING:
        return "egress"
    return "read" if name.startswith(_READS) else "write"


def schema_of(function: Function) -> dict[str, Any]:
    """AgentDojo's schema in our subset: bounded, and with a shape for what it leaves open."""
    schema = copy.deepcopy(function.parameters.model_json_schema())
    _bound(schema)
    try:
        return compile_schema(schema)
    except SchemaError:
        attached = {"type": "object", "properties": {}, "required": []}
        attached["properties"] = {"type": {"type": "string"}, "file_id": {"type": "string"}}
        _bound(attached)
        for option in schema["properties"]["attachments"]["anyOf"]:
            if "items" in option:
                option["items"] = attached
        return compile_schema(schema)


def _defaults(function: Function) -> dict[str, Any]:
    properties = function.parameters.model_json_schema().get("properties", {})
    return {name: told.get("default") for name, told in properties.items()}


def pairs() -> Iterator[tuple[TaskSuite[Any, Any], Any, Any]]:
    """Every (suite, user's task, attacker's task)."""
    for suite in suites():
        for task in suite.user_tasks.values():
            for injection in suite.injection_tasks.values():
                yield suite, task, injection


def suites() -> Sequence[TaskSuite[Any, Any]]:
    return list(get_suites(VERSION).values())


def _bound(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _bound(each)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and "enum" not in schema:
            schema.setdefault("maxLength", _LONGEST)
        if schema.get("type") == "array":
            schema.setdefault("maxItems", _MOST)
        for each in schema.values():
            _bound(each)


def _one_line(text: str) -> str:
    """Fit for a place in quoted YAML."""
    return " ".join(text.split()).replace('"', "").replace("'", "").replace(":", " -")
