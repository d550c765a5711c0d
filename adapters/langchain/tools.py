"""Tools across the border: LangChain's in our toolbox, ours in a LangChain agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from langsmith import tracing_context

from adapters.langchain.schemas import Parameters
from tools.contract import (
    Effect,
    Found,
    Idempotency,
    JsonSchema,
    Seen,
    Tool,
    ToolCall,
    ToolContext,
    ToolError,
)
from tools.decorator import PEOPLE, PLACES
from tools.identity import ConversationKey, Place, Principal, tenant_of
from tools.schema import SchemaError
from tools.toolbox import Toolbox

ContextFor = Callable[[ToolCall], ToolContext]


def tool_from_langchain(
    tool: BaseTool,
    *,
    effect: Effect = "destructive",
    idempotency: Idempotency = "none",
    timeout_s: float = 30.0,
    example: tuple[str, Mapping[str, Any]] | None = None,
    principals: Sequence[str] | frozenset[str] = PEOPLE,
    places: Sequence[str] | frozenset[str] = PLACES,
) -> Tool:
    """A LangChain tool for our toolbox; declare its effect, else it counts as destructive.

    An argument with a default may be left to the tool. What the tool returns is untrusted
    text. Raises `SchemaError` for arguments that not every decoding engine knows, and for
    those that only a LangGraph run could inject.
    """
    spec = convert_to_openai_tool(tool)["function"]
    if injected := _injected(tool):
        names = ", ".join(sorted(injected))
        raise SchemaError(f"{tool.name}: {names} is injected by LangGraph, which does not run here")
    parameters = Parameters.compile(spec.get("parameters") or {}, where=tool.name)
    description = " ".join(str(spec.get("description", "")).split())
    if not description:
        raise SchemaError(f"{tool.name}: write a description; it tells the model what it does")

    async def run(context: ToolContext, arguments: Mapping[str, Any]) -> str:
        call = {
            "name": tool.name,
            "args": parameters.given(arguments),
            "id": context.call_key,
            "type": "tool_call",
        }
        with tracing_context(enabled=False):  # arguments stay where the conversation stays
            try:
                returned = await tool.ainvoke(call)
            except ToolException as error:
                raise ToolError(str(error)) from error
        return _text_of(returned)

    return Tool(
        name=tool.name,
        description=description,
        parameters=parameters.schema,
        run=run,
        effect=effect,
        idempotency=idempotency,
        timeout_s=timeout_s,
        example=example,
        principals=frozenset(principals),
        places=frozenset(places),
    )


def tool_to_langchain(tool: Tool, context_for: ContextFor | None = None) -> BaseTool:
    """One of our tools for a LangChain agent; async only.

    It runs as in our toolbox: grants, schema, time limit and size limit hold, and a failure is
    an error message the model can read. `context_for` says for whom it runs; without it the
    caller is a member in a direct message of no platform.
    """
    toolbox, context = Toolbox([tool]), context_for or standalone_context()

    async def run(**arguments: Any) -> str:
        call = ToolCall(uuid4().hex, tool.name, arguments)
        [result] = await toolbox.run_calls([call], context)
        if result.is_error:
            raise ToolException(result.text)
        return result.text

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=_plain(tool.parameters),
        coroutine=run,
        handle_tool_error=True,
        metadata={"effect": tool.effect, **({"example": tool.example} if tool.example else {})},
    )


def approvals(tools: Iterable[Tool]) -> dict[str, bool]:
    """Which calls a person must approve: `interrupt_on` of `HumanInTheLoopMiddleware`."""
    return {tool.name: tool.effect != "read" for tool in tools}


def standalone_context(*, tenant: str = "", user_id: str = "user") -> ContextFor:
    """Contexts outside of any chat: a member in a direct message, without a memory."""
    tenant = tenant or tenant_of("langchain", "local")
    place = Place(tenant, "dm", user_id)

    def context(call: ToolCall) -> ToolContext:
        return ToolContext(
            principal=Principal(tenant, user_id, "member"),
            place=place,
            conversation=ConversationKey(tenant, "dm", user_id),
            call_key=call.call_id,
            now=lambda: datetime.now(UTC),
            search=_no_memory,
            look=_no_images,
        )

    return context


async def _no_memory(query: str, limit: int) -> list[Found]:
    return []


async def _no_images(image: int, question: str) -> Seen:
    raise ToolError("there are no images here")


def _injected(tool: BaseTool) -> set[str]:
    """Arguments that neither a model nor a plain call can give."""
    injected = set(tool._injected_args_keys)  # noqa: SLF001 (it has no public name)
    if not isinstance(tool.args_schema, dict):
        injected |= _fields(tool.get_input_schema()) - _fields(tool.tool_call_schema)
    return injected - {"tool_call_id"}


def _fields(model: object) -> set[str]:
    return set(getattr(model, "model_fields", ()))


def _text_of(returned: object) -> str:
    if not isinstance(returned, ToolMessage):
        raise ToolError(f"the tool returned a {type(returned).__name__}, which is no text")
    if returned.status == "error":
        raise ToolError(returned.text)
    return returned.text


def _plain(schema: JsonSchema) -> dict[str, Any]:
    return dict(schema)
