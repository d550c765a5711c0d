"""llama.cpp's llama-server by its own `/completion`: no chat template in the way of a schema.

The real Phi-3.5 template makes its `/v1/chat/completions` refuse schemas with HTTP 400.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, ClassVar, Self

import msgspec
import structlog

from adapters.models.openai_wire import Refusal, estimate_tokens
from adapters.models.raw_server import RawServerBackend, chosen_family, refused
from adapters.models.server_link import RefusedError, ServerLink
from agents.errors import BackendError, RouteRetired
from agents.ports import Capabilities, Finish, FinishReason, ModelRequest, Usage

log = structlog.get_logger(__name__)

LLAMA_SERVER_URL = "http://127.0.0.1:8080"
_ASK_TIMEOUT_S = 10.0
_TOKENIZE_TIMEOUT_S = 5.0
_SCHEMA_REFUSALS = ("sampler", "grammar", "json_schema", "schema")
_REASONS: dict[str, FinishReason] = {"eos": "stop", "word": "stop", "limit": "length"}


class _Settings(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    default_generation_settings: _Settings
    model_path: str = ""
    model_alias: str = ""


class _Tokens(msgspec.Struct):
    tokens: list[Any]


class _Chunk(msgspec.Struct, gc=False):
    content: str = ""
    stop: bool = False
    stop_type: str = ""
    stopped_limit: bool = False  # of servers before stop_type
    truncated: bool = False
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    error: Any = None


_chunks = msgspec.json.Decoder(_Chunk)


class LlamaServerBackend(RawServerBackend):
    """The model of a llama-server; make it with `load`. It takes no images."""

    _path: ClassVar[str] = "completion"
    _as_lines: ClassVar[bool] = False
    _probe_path: ClassVar[str] = "health"

    @classmethod
    async def load(
        cls,
        name: str,
        *,
        base_url: str = LLAMA_SERVER_URL,
        model: str = "",
        context_tokens: int | None = None,
        template: str | None = None,
        api_key: str | None = None,
    ) -> Self:
        """Ask the server for its window; `context_tokens` can only narrow it.

        `model` is for servers that have several, and names the template where `template`
        does not; else the server's own file name does. Raises `BackendError`.
        """
        link = ServerLink(name, base_url, api_key=api_key)
        try:
            props = await _props(name, link)
            shown = model or props.model_alias or PurePosixPath(props.model_path).name
            family = chosen_family(name, shown, template)
        except BaseException:
            await link.aclose()
            raise
        has_tokens = props.default_generation_settings.n_ctx  # of one slot
        if context_tokens and context_tokens > has_tokens:
            log.warning(
                "llama_server.smaller_context",
                backend=name,
                asked_tokens=context_tokens,
                context_tokens=has_tokens,
            )
        window = min(context_tokens or has_tokens, has_tokens)
        log.info("llama_server.ready", backend=name, model=shown, context_tokens=window)
        own = Capabilities(window, constrained=True)
        return cls(name, link, model=model, template=family, capabilities=own)

    async def count_tokens(self, text: str) -> int:
        """The server's own count; an estimate while it can't be asked."""
        fields = {"content": text, "add_special": False, "parse_special": True}
        if self._model:
            fields["model"] = self._model
        try:
            answer = await self._link.fetch("tokenize", fields, timeout_s=_TOKENIZE_TIMEOUT_S)
            return len(msgspec.json.decode(answer, type=_Tokens).tokens)
        except (RefusedError, BackendError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.info("llama_server.count_estimated", backend=self._name, why=type(error).__name__)
            return estimate_tokens(text)

    def _fields(self, request: ModelRequest, prompt: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "prompt": prompt,
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "stop": self._stops(request),
            "stream": True,
            "cache_prompt": True,
        }
        if request.schema is not None:
            fields["json_schema"] = request.schema
        if self._model:
            fields["model"] = self._model
        return fields

    def _read(self, event: bytes, request: ModelRequest) -> tuple[str, Finish | None]:
        if event == b"[DONE]":
            return "", None
        chunk = _chunks.decode(event)
        if chunk.error:
            raise self._error("the server reported an error in mid-stream; see its log")
        if not chunk.stop:
            return chunk.content, None
        reason = _REASONS.get(chunk.stop_type or ("limit" if chunk.stopped_limit else "eos"))
        if reason is None:
            raise self._error("the answer was ended by the server, for its own reason")
        if chunk.truncated and reason != "length":  # at the window's end it only means the end
            raise self._error("cut the prompt to its window; start it with a larger --ctx-size")
        usage = Usage(chunk.tokens_evaluated, chunk.tokens_predicted)
        return chunk.content, Finish(reason, usage)

    def _refused(self, refusal: Refusal, request: ModelRequest) -> BackendError:
        said = refusal.said.lower()
        about_schema = request.schema is not None and any(word in said for word in _SCHEMA_REFUSALS)
        if refusal.status in (400, 500) and about_schema and not refusal.is_too_long:
            return self._error(
                f"could not make a grammar of the answer's schema ({refusal.status}); the "
                "server's log names the keyword"
            )
        if self._model and refusal.status in (400, 404) and "model" in said:
            return RouteRetired(self._name, self._model, None)
        return refused(self._name, refusal, self._capabilities)


async def _props(name: str, link: ServerLink) -> _Props:
    try:
        await link.fetch("health", timeout_s=_ASK_TIMEOUT_S)
        answer = await link.fetch("props", timeout_s=_ASK_TIMEOUT_S)
        return msgspec.json.decode(answer, type=_Props)
    except RefusedError as error:
        raise refused(name, error.refusal, Capabilities(0)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise link.error(
            f"what answers at {link.place} does not speak llama-server's API"
        ) from error
