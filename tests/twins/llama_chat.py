"""llama-server's chat endpoint on the wire (its own `/completion` is in `llama_server.py`).

With the template of Phi-3.5 any answer in a schema is HTTP 400 "Failed to initialize samplers"
(facts: phi.md 3.2; ggml-org/llama.cpp#23775 is the same with another template).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.twins.openai_service import ServiceTwin, json_schema_of, refusal
from tools.contract import JsonSchema


class LlamaChatTwin(ServiceTwin):
    """It serves its one model whatever name is asked for."""

    tokenizes: ClassVar[bool] = True

    def __init__(self, *args: Any, phi_template: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.phi_template = phi_template

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        if self.phi_template and body.get("response_format"):
            said = "Failed to initialize samplers: std::exception"
            return refusal(400, code=400, message=said, type="invalid_request_error")
        return json_schema_of(body)

    def listed(self) -> list[dict[str, Any]]:
        return [{"id": "/models/any.gguf", "object": "model", "owned_by": "llamacpp"}]

    def serves(self, model: str) -> bool:
        return True
