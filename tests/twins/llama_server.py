"""A llama-server on the wire: health, props, tokenize and completion, with a script inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from adapters.models.scripted import Fail, Policy, Reply, scripted_tokens
from agents.ports import FinishReason
from tests.twins.raw_speech import Script, Serving, asked_of, speak


class LlamaServerTwin(Serving):
    """`async with LlamaServerTwin(replies) as url:`; one model, no eyes, like most of them."""

    def __init__(
        self,
        replies: Sequence[Reply] | Policy,
        *,
        context_tokens: int = 4096,
        model_path: str = "/models/Phi-3.5-mini-instruct-Q4_K_M.gguf",
        api_key: str | None = None,
        is_loading: bool = False,
        refused_keyword: str = "patternProperties",
        counts: bool = True,
    ) -> None:
        self.script = Script(replies)
        self._context_tokens, self._model_path, self._api_key = context_tokens, model_path, api_key
        self._is_loading, self._refused_keyword, self._counts = is_loading, refused_keyword, counts
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_get("/props", self._props)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/completion", self._completion)
        super().__init__(app)

    async def _health(self, _: web.Request) -> web.Response:
        if self._is_loading:
            return _error(503, "Loading model", "unavailable_error")
        return web.json_response({"status": "ok"})

    async def _props(self, request: web.Request) -> web.Response:
        if self._is_stranger(request):
            return _error(401, "Invalid API Key", "authentication_error")
        return web.json_response(
            {
                "default_generation_settings": {"n_ctx": self._context_tokens, "params": {}},
                "total_slots": 1,
                "model_path": self._model_path,
                "modalities": {"vision": False, "audio": False},
                "build_info": "b9999-twin",
            }
        )

    async def _tokenize(self, request: web.Request) -> web.Response:
        if not self._counts:
            return _error(404, "File Not Found", "not_found_error")
        count = scripted_tokens(str((await request.json())["content"]))
        return web.json_response({"tokens": list(range(count))})

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        if self._is_stranger(request):
            return _error(401, "Invalid API Key", "authentication_error")
        body: dict[str, Any] = await request.json()
        self.script.requests.append(body)
        prompt = body["prompt"]
        if refusal := self._unfit(body, prompt):
            return refusal
        asked = asked_of(
            prompt,
            max_tokens=int(body.get("n_predict", 128)),
            stop=body.get("stop") or (),
            schema=body.get("json_schema"),
        )
        reply = self.script.reply(asked)
        if isinstance(reply, Fail):
            return _error(reply.status, reply.error.detail, "server_error")
        evaluated = max(scripted_tokens(prompt), 1)

        def event(**fields: Any) -> bytes:
            return b"data: " + msgspec.json.encode({"index": 0, "id_slot": 0, **fields}) + b"\n\n"

        def ending(text: str, reason: FinishReason) -> bytes:
            stop_type = "limit" if reason == "length" else "eos"
            predicted = scripted_tokens(text)
            timings = {"cache_n": 0, "prompt_n": evaluated, "predicted_n": predicted}
            return event(
                content="",
                stop=True,
                stop_type=stop_type,
                truncated=False,
                tokens_evaluated=evaluated,
                tokens_predicted=predicted,
                timings=timings,
            )

        return await speak(
            request,
            self.script,
            asked,
            reply,
            content_type="text/event-stream",
            piece=lambda text: event(content=text, stop=False),
            error=b'data: {"error":{"code":500,"message":"decode failed"}}\n\n',
            ending=ending,
        )

    def _is_stranger(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization")
        return self._api_key is not None and given != f"Bearer {self._api_key}"

    def _unfit(self, body: dict[str, Any], prompt: object) -> web.Response | None:
        """What a real llama-server refuses."""
        bad = "invalid_request_error"
        if not isinstance(prompt, str):
            return _error(400, "This server does not support multimodal prompts", bad)
        if self._refused_keyword in str(body.get("json_schema", "")):
            return _error(400, "Failed to initialize samplers: failed to parse grammar", bad)
        tokens, limit = scripted_tokens(prompt), self._context_tokens
        if tokens >= limit:
            said = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens)"
            sizes = {"n_prompt_tokens": tokens, "n_ctx": limit}
            return _error(400, said, "exceed_context_size_error", **sizes)
        return None


def _error(status: int, said: str, kind: str, **more: int) -> web.Response:
    error = {"code": status, "message": said, "type": kind, **more}
    return web.json_response({"error": error}, status=status)
