"""An Ollama on the wire: version, tags, show, ps, raw generate and pull, with a script inside."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from adapters.models.scripted import Fail, Policy, Reply, scripted_tokens
from agents.ports import FinishReason
from tests.twins.raw_speech import Script, Serving, asked_of, speak

_NDJSON = "application/x-ndjson"
_STAMP = "2026-11-23T09:00:00.000000Z"


@dataclass(slots=True)
class OllamaModel:
    """A model of the twin; `room_tokens` is the largest window it has memory for."""

    name: str
    capabilities: tuple[str, ...] = ("completion",)
    trained_tokens: int = 131_072
    room_tokens: int = 131_072
    remote_host: str = ""
    loaded_tokens: int | None = None


@dataclass(slots=True)
class Pull:
    """What `/api/pull` reports: layers of these sizes, then success or an error."""

    layers: Sequence[int] = (700, 300)
    error: str = ""
    stalls: bool = False


class OllamaTwin(Serving):
    """`async with OllamaTwin(replies) as url:`; `script.requests` keeps the generate bodies."""

    def __init__(
        self,
        replies: Sequence[Reply] | Policy,
        *,
        models: Sequence[OllamaModel] = (OllamaModel("phi3.5:latest"),),
        version: str = "0.40.12",
        pull: Pull | None = None,
        refuses_schema: str = "",
    ) -> None:
        self.script = Script(replies)
        self.models = {_full(model.name): model for model in models}
        self._version, self._pull_plan = version, pull or Pull()
        self._refuses_schema = refuses_schema
        self.pulled: list[str] = []
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/api/version", self._about)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/pull", self._pull)
        super().__init__(app)

    async def _about(self, _: web.Request) -> web.Response:
        return web.json_response({"version": self._version})

    async def _tags(self, _: web.Request) -> web.Response:
        rows = [{"name": name, "model": name} for name in self.models]
        return web.json_response({"models": rows})

    async def _ps(self, _: web.Request) -> web.Response:
        loaded = {name: m.loaded_tokens for name, m in self.models.items() if m.loaded_tokens}
        rows = [{"name": n, "model": n, "context_length": size} for n, size in loaded.items()]
        return web.json_response({"models": rows})

    async def _show(self, request: web.Request) -> web.Response:
        name = str((await request.json()).get("model", ""))
        model = self.models.get(_full(name))
        if model is None:
            return _error(404, f"model '{name}' not found")
        shown: dict[str, Any] = {
            "capabilities": list(model.capabilities),
            "model_info": {
                "general.architecture": "phi3",
                "phi3.context_length": model.trained_tokens,
            },
        }
        if model.remote_host:
            shown["remote_host"] = model.remote_host
        return web.json_response(shown)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        model = self.models.get(_full(str(body.get("model", ""))))
        if model is None:
            return _error(404, f"model '{body.get('model')}' not found")
        options = body.get("options") or {}
        model.loaded_tokens = min(int(options.get("num_ctx", 4096)), model.room_tokens)
        prompt = str(body.get("prompt", ""))
        if not prompt:
            return web.json_response({"model": model.name, "done": True, "done_reason": "load"})
        self.script.requests.append(body)
        if refusal := self._unfit(body, prompt, model):
            return refusal
        schema = body.get("format")
        asked = asked_of(
            prompt,
            max_tokens=int(options.get("num_predict", 128)),
            stop=options.get("stop") or (),
            schema=schema if isinstance(schema, dict) else None,
        )
        reply = self.script.reply(asked)
        if isinstance(reply, Fail):
            return _error(reply.status, reply.error.detail)

        def line(**fields: Any) -> bytes:
            row = {"model": model.name, "created_at": _STAMP, **fields}
            return msgspec.json.encode(row) + b"\n"

        def ending(text: str, reason: FinishReason) -> bytes:
            counts = {
                "prompt_eval_count": max(scripted_tokens(prompt), 1),
                "eval_count": scripted_tokens(text),
            }
            return line(response="", done=True, done_reason=reason, **counts)

        return await speak(
            request,
            self.script,
            asked,
            reply,
            content_type=_NDJSON,
            piece=lambda text: line(response=text, done=False),
            error=b'{"error":"llama runner process has terminated"}\n',
            ending=ending,
        )

    def _unfit(self, body: dict[str, Any], prompt: str, model: OllamaModel) -> web.Response | None:
        """What a real Ollama refuses."""
        if body.get("raw") and (body.get("template") or body.get("system")):
            return _error(400, "raw mode does not support template, system, or context")
        if isinstance(body.get("format"), dict):
            if self._version.startswith("0.4."):
                wrong = "json: cannot unmarshal object into Go struct field GenerateRequest.format"
                return _error(400, f"{wrong} of type string")
            if self._refuses_schema:
                return _error(500, self._refuses_schema)
        images = body.get("images") or []
        try:
            for number, image in enumerate(images):
                base64.b64decode(image, validate=True)
                if f"[img-{number}]" not in prompt:
                    return _error(400, f"invalid image index: {number}")
        except binascii.Error:
            return _error(400, "illegal base64 data")
        if images and "vision" not in model.capabilities:
            return _error(400, "this model is missing data required for image input")
        return None

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, plan = str(body.get("model") or body.get("name")), self._pull_plan
        answer = web.StreamResponse(headers={"Content-Type": _NDJSON})
        await answer.prepare(request)

        async def say(**fields: Any) -> None:
            await answer.write(msgspec.json.encode(fields) + b"\n")

        await say(status="pulling manifest")
        for number, size in enumerate(plan.layers):
            digest = f"sha256:{number:064x}"
            for done in (0, size // 2, size):
                await say(
                    status=f"pulling {number:012x}", digest=digest, total=size, completed=done
                )
        if plan.stalls:
            await asyncio.Event().wait()
        if plan.error:
            await say(error=plan.error)
            return answer
        await say(status="verifying sha256 digest")
        await say(status="success")
        self.pulled.append(name)
        return answer


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _error(status: int, said: str) -> web.Response:
    return web.json_response({"error": said}, status=status)
