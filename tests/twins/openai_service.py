"""What the twins of OpenAI-compatible services share: keys, paths, faults and bound answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from aiohttp import web

from adapters.models import scripted_wire as wire
from adapters.models.scripted import Fail, Step
from adapters.models.scripted_server import Drop, HttpPolicy, HttpReply, Raw, ScriptedServer
from tools.contract import JsonSchema

Fault = tuple[int, Mapping[str, str], Mapping[str, Any]]  # status, headers, JSON body
_SCHEMA_FIELDS = ("response_format", "structured_outputs", "nvext", "guided_json")


class ServiceTwin(ScriptedServer):
    """A scripted model behind one service's path, key and schema form.

    `async with twin as url:` gives the service's base URL. `faults` are sent first, one for
    each chat request; `seen` keeps path and headers of everything that came. An answer in a
    schema is made of the schema, as decoding that is bound to it would.
    """

    prefix: ClassVar[str] = "/v1"
    tokenizes: ClassVar[bool] = False

    def __init__(
        self,
        replies: Sequence[HttpReply] | HttpPolicy,
        *,
        model: str = "scripted",
        api_key: str | None = None,
        faults: Sequence[Fault] = (),
        **more: Any,
    ) -> None:
        super().__init__(replies, model=model, **more)
        self.key = api_key
        self.faults = deque(faults)
        self.seen: deque[tuple[str, dict[str, str]]] = deque(maxlen=256)

    async def __aenter__(self) -> str:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post(f"{self.prefix}/chat/completions", self._chat)
        app.router.add_get(f"{self.prefix}/models", self._models)
        if self.tokenizes:
            app.router.add_post("/tokenize", self._tokenize)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}{self.prefix}"

    def stranger(self, headers: Mapping[str, str]) -> web.Response | None:
        """The refusal of a request without the right key."""
        if self.key is None or headers.get("Authorization") == f"Bearer {self.key}":
            return None
        return refusal(401, message="Unauthorized", type="Unauthorized", code=401)

    def schema_of(self, body: Mapping[str, Any]) -> JsonSchema | web.Response | None:
        """The schema that binds the answer, or a refusal of the way it was sent."""
        return None

    def serves(self, model: str) -> bool:
        return model == self._model

    def unknown_model(self, model: str) -> web.Response:
        said = f"The model `{model}` does not exist."
        return refusal(404, message=said, type="NotFoundError", param="model", code=404)

    def listed(self) -> list[dict[str, Any]]:
        return [{"id": self._model, "object": "model", "created": 0, "owned_by": "twin"}]

    async def _models(self, request: web.Request) -> web.Response:
        self.seen.append((request.path, dict(request.headers)))
        if denied := self.stranger(request.headers):
            return denied
        return web.json_response({"object": "list", "data": self.listed()})

    async def _tokenize(self, request: web.Request) -> web.Response:
        self.seen.append((request.path, dict(request.headers)))
        return await super()._tokenize(request)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.headers)))
        if self.faults:
            status, headers, said = self.faults.popleft()
            return web.json_response(said, status=status, headers=headers)
        if denied := self.stranger(request.headers):
            return denied
        raw = await request.read()
        self._bodies.append(raw)
        body = msgspec.json.decode(raw)
        schema = self.schema_of(body)
        if isinstance(schema, web.Response):
            return schema
        if not self.serves(body["model"]):
            return self.unknown_model(body["model"])
        plain = {key: value for key, value in body.items() if key not in _SCHEMA_FIELDS}
        chat = wire.read_chat(msgspec.json.encode({**plain, "model": self._model}))
        asked = msgspec.structs.replace(wire.to_model_request(chat), schema=schema)
        if unfit := self._unfit(chat, asked):
            return unfit
        reply = Step(sample(schema)) if schema is not None else self._policy(asked)
        assert not isinstance(reply, Drop | Raw | Fail), "faults have a list of their own"
        return await self._stream(request, chat, asked, reply)


def refusal(status: int, **error: Any) -> web.Response:
    return web.json_response({"error": error}, status=status)


def json_schema_of(body: Mapping[str, Any]) -> JsonSchema | None:
    """From `response_format`, as OpenAI has it."""
    form = body.get("response_format") or {}
    return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None


def sample(schema: Mapping[str, Any]) -> Any:
    """The shortest value of a schema in the subset that this project sends."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return sample(schema["anyOf"][-1])
    match schema["type"]:
        case "object":
            return {name: sample(each) for name, each in schema["properties"].items()}
        case "array":
            return [sample(schema["items"])] * schema.get("minItems", 0)
        case "string":
            return "x" * schema.get("minLength", 0)
        case "boolean":
            return False
        case _:
            return schema.get("minimum", 0)
