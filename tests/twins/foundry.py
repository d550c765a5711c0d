"""Azure AI Foundry's OpenAI v1 endpoint on the wire.

Keys go in `api-key`, Entra tokens in `Authorization: Bearer`; `model` is a deployment's name,
which `/models` does not list; strict schemas take no bounds, and every field is required
(learn.microsoft.com/azure/ai-services/openai/how-to/structured-outputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from adapters.models.openai_schema import STRICT_REFUSES
from tests.twins.openai_service import ServiceTwin, json_schema_of, refusal
from tools.contract import JsonSchema


class FoundryTwin(ServiceTwin):
    """`tokens` are the bearer tokens let in; `schemas=False` is a model without them."""

    prefix: ClassVar[str] = "/openai/v1"

    def __init__(self, *args: Any, schemas: bool = True, **more: Any) -> None:
        super().__init__(*args, **more)
        self.tokens: set[str] = set()
        self.schemas = schemas

    def stranger(self, headers: Mapping[str, str]) -> web.Response | None:
        kind, _, token = headers.get("Authorization", "").partition(" ")
        by_key = self.key is not None and headers.get("api-key") == self.key
        if by_key or (kind == "Bearer" and token in self.tokens):
            return None
        said = "Access denied due to invalid subscription key or wrong API endpoint."
        return refusal(401, code="401", message=said)

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        schema = json_schema_of(body)
        if schema is None:
            return None
        if not self.schemas:
            said = "Invalid parameter: 'response_format' of type 'json_schema' is not supported."
            return refusal(400, message=said, type="invalid_request_error", code=None)
        if wrong := next(faults_of(schema), ""):
            said = f"Invalid schema for response_format 'step': {wrong}"
            return refusal(400, message=said, type="invalid_request_error", param="response_format")
        return schema

    def unknown_model(self, model: str) -> web.Response:
        said = "The API deployment for this resource does not exist."
        return refusal(404, code="DeploymentNotFound", message=said)

    def listed(self) -> list[dict[str, Any]]:
        """Base models, not deployments."""
        return [{"id": "phi-4-mini-instruct-1", "object": "model", "status": "succeeded"}]


def faults_of(schema: Mapping[str, Any], place: str = "()") -> Iterator[str]:
    """What strict mode finds wrong."""
    if refused := STRICT_REFUSES & set(schema):
        yield f"In context={place}, {sorted(refused)} is not permitted."
    if "anyOf" not in schema and "type" not in schema:
        yield f"In context={place}, schema must have a 'type' key."
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            yield f"In context={place}, 'additionalProperties' is required to be false."
        if set(schema.get("required", ())) != set(schema["properties"]):
            yield f"In context={place}, 'required' must include every key in properties."
    for name, each in schema.get("properties", {}).items():
        yield from faults_of(each, f"{place}.{name}")
    for each in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from faults_of(each, f"{place}[]")
