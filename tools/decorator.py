"""`@tool`: a typed function becomes a tool."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, create_model

from tools.contract import Effect, Idempotency, Labelled, Tool, ToolContext
from tools.schema import compile_schema

PEOPLE = frozenset({"operator", "member"})
PLACES = frozenset({"dm", "private", "public"})


def tool(
    *,
    effect: Effect,
    idempotency: Idempotency = "none",
    timeout_s: float = 30.0,
    example: tuple[str, Mapping[str, Any]] | None = None,
    principals: Sequence[str] | frozenset[str] = PEOPLE,
    places: Sequence[str] | frozenset[str] = PLACES,
    needs_images: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a `Tool` of a function, async or not.

    Its name and the first paragraph of its docstring are the tool's; its parameters become
    the schema (bound strings and numbers with `Annotated[..., Field(...)]`). A parameter of
    type `ToolContext` gets the context and is not shown to the model. Raises `SchemaError`
    for types that not every decoding engine can be held to.
    """

    def make(function: Callable[..., Any]) -> Tool:
        hints = get_type_hints(function, include_extras=True)
        hints.pop("return", None)
        context_name = next((name for name, kind in hints.items() if kind is ToolContext), None)
        if context_name:
            del hints[context_name]
        return Tool(
            name=function.__name__,
            description=_description(function),
            parameters=_parameters(function, hints),
            run=_runner(function, context_name),
            effect=effect,
            idempotency=idempotency,
            timeout_s=timeout_s,
            example=example,
            principals=frozenset(principals),
            places=frozenset(places),
            needs_images=needs_images,
        )

    return make


def _description(function: Callable[..., Any]) -> str:
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _parameters(function: Callable[..., Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in hints.items()}
    model = create_model(function.__name__, __config__=ConfigDict(title=None), **fields)
    return compile_schema(TypeAdapter(model).json_schema(), where=function.__name__)


def _runner(
    function: Callable[..., Any], context_name: str | None
) -> Callable[[ToolContext, Mapping[str, Any]], Any]:
    is_async = inspect.iscoroutinefunction(function)

    async def run(context: ToolContext, arguments: Mapping[str, Any]) -> str | Labelled:
        named = {**arguments, context_name: context} if context_name else arguments
        if is_async:
            result = await function(**named)
        else:  # a plain function may block: never in the event loop
            result = await asyncio.to_thread(function, **named)
        return result if isinstance(result, Labelled) else str(result)

    return run
