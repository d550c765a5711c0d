"""NVIDIA's NIM on the wire, self-hosted (1.x and 2.x) and hosted.

1.x binds an answer by `nvext.guided_json` (docs.nvidia.com/nim/large-language-models/1.5.0,
Structured Generation); 2.x has vLLM inside, took `nvext` away and binds by `response_format`
(its 1.x migration guide). Whether a 1.x heeds `response_format` differs: this one does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.twins.openai_service import ServiceTwin, json_schema_of
from tools.contract import JsonSchema


class NimTwin(ServiceTwin):
    def __init__(self, *args: Any, version: int = 2, **more: Any) -> None:
        super().__init__(*args, **more)
        self.version = version

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        if self.version >= 2:
            return json_schema_of(body)
        own: JsonSchema | None = (body.get("nvext") or {}).get("guided_json")
        return own


class NvidiaTwin(NimTwin):
    """integrate.api.nvidia.com: keys begin with `nvapi-`; a model at its end answers 410."""

    def __init__(self, *args: Any, ended: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.ended = ended

    def stranger(self, headers: Mapping[str, str]) -> web.Response | None:
        if headers.get("Authorization", "").startswith("Bearer nvapi-"):
            return super().stranger(headers)
        return web.json_response({"status": 401, "title": "Unauthorized"}, status=401)

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        if self.ended:
            said = f"The model '{body['model']}' has reached its end of life."
            fields = {"type": "about:blank", "title": "Gone", "status": 410, "detail": said}
            return web.json_response(fields, status=410)
        return super().schema_of(body)
