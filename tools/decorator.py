"""`@tool`: a typed function becomes a tool."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema

from tools.contract import Effect, Idempotency, JsonSchema, Labelled, Tool, ToolContext, ToolError
from tools.schema import SchemaError, compile_schema

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
    needs_documents: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a `Tool` of a function, async or not.

    Its name and the first paragraph of its docstring are the tool's; its parameters become
    the schema (bound strings and numbers with `Annotated[..., Field(...)]`). A parameter with
    a default may be null, which means the default. A parameter of type `ToolContext` gets the
    context and is not shown to the model. Raises `SchemaError` for what a model can't be
    held to: no docstring, no type, a type that not every decoding engine knows.
    """

    def make(function: Callable[..., Any]) -> Tool:
        parameters = _parameters(function)
        return Tool(
            name=function.__name__,
            description=_description(function),
            parameters=parameters.schema,
            run=_runner(function, parameters),
            effect=effect,
            idempotency=idempotency,
            timeout_s=timeout_s,
            example=example,
            principals=frozenset(principals),
            places=frozenset(places),
            needs_images=needs_images,
            needs_documents=needs_documents,
        )

    return make


@dataclass(frozen=True, slots=True)
class _Parameters:
    """What a function takes, apart from the context."""

    context: str | None
    defaulted: frozenset[str]
    model: type[BaseModel] | None
    schema: JsonSchema

    def convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values as the types the function declares; raises `ToolError`."""
        if self.model is None:
            return {}
        try:
            valid = self.model.model_validate(arguments)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "arguments"
            raise ToolError(f"{place}: {first['msg']}") from None
        named = {name: getattr(valid, _field(name)) for name in self.schema["properties"]}
        return {
            name: value
            for name, value in named.items()
            if not (value is None and name in self.defaulted)
        }


def _description(function: Callable[..., Any]) -> str:
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    if not paragraph:
        raise SchemaError(
            f"{function.__name__}: write a docstring; it tells the model what it does"
        )
    return " ".join(paragraph.split())


def _parameters(function: Callable[..., Any]) -> _Parameters:
    hints = get_type_hints(function, include_extras=True)
    context: str | None = None
    defaulted: set[str] = set()
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        where = f"{function.__name__}.{name}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SchemaError(f"{where}: a tool is called by names; make it an ordinary parameter")
        if name not in hints:
            raise SchemaError(f"{where}: give it a type")
        if hints[name] is ToolContext:
            context = name
            continue
        kind = hints[name]
        if parameter.default is not parameter.empty:
            defaulted.add(name)
            kind = kind | None
        fields[_field(name)] = (Annotated[kind, Field(alias=name)], ...)
    if not fields:
        return _Parameters(context, frozenset(), None, compile_schema({"type": "object"}))
    model = create_model(function.__name__, __config__=ConfigDict(title=None), **fields)
    try:
        described = model.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise SchemaError(f"{function.__name__}: a type has no JSON schema: {error}") from error
    schema = compile_schema(described, where=function.__name__)
    return _Parameters(context, frozenset(defaulted), model, schema)


def _field(name: str) -> str:
    """A field's name that no attribute of pydantic's models can have."""
    return f"p_{name}"


def _runner(
    function: Callable[..., Any], parameters: _Parameters
) -> Callable[[ToolContext, Mapping[str, Any]], Any]:
    is_async = inspect.iscoroutinefunction(function)

    async def run(context: ToolContext, arguments: Mapping[str, Any]) -> str | Labelled:
        named = parameters.convert(arguments)
        if parameters.context:
            named[parameters.context] = context
        if is_async:
            result = await function(**named)
        else:  # a plain function may block: never in the event loop
            result = await asyncio.to_thread(function, **named)
        return result if isinstance(result, Labelled) else str(result)

    return run
