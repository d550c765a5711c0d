"""vLLM's OpenAI-compatible server on the wire.

`response_format` json_schema and `structured_outputs` bind an answer, `guided_json` is gone
since 0.12 (docs.vllm.ai, Structured Outputs); `POST /tokenize` lies at the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from adapters.models.scripted import scripted_tokens
from tests.twins.openai_service import ServiceTwin, json_schema_of
from tools.contract import JsonSchema


class VllmTwin(ServiceTwin):
    tokenizes: ClassVar[bool] = True

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        own: JsonSchema | None = (body.get("structured_outputs") or {}).get("json")
        return json_schema_of(body) or own

    def listed(self) -> list[dict[str, Any]]:
        window = self._capabilities.context_tokens
        return [{**each, "max_model_len": window, "root": each["id"]} for each in super().listed()]

    async def _tokenize(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["model"] == self._model
        count = scripted_tokens(asked["prompt"])
        window = self._capabilities.context_tokens
        fields = {"count": count, "max_model_len": window, "tokens": list(range(count))}
        return web.json_response(fields)
