"""Ollama's own API: our prompt as it is, a schema, and a context window that is asked for.

Its OpenAI-compatible side can't be told the window and cuts longer prompts without a word.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any, ClassVar, Self

import msgspec
import structlog

from adapters.models.openai_wire import Refusal
from adapters.models.raw_server import RawServerBackend, chosen_family, refused
from adapters.models.server_link import RefusedError, ServerLink
from agents.errors import BackendError, RouteRetired
from agents.ports import Capabilities, Finish, FinishReason, ModelRequest, PromptMessage, Usage
from agents.prompts.image_cost import max_image_tokens

log = structlog.get_logger(__name__)

OLLAMA_URL = "http://127.0.0.1:11434"
KEEP_ALIVE = "30m"  # Ollama's own 5 minutes make the first answer after a pause slow
_ASK_TIMEOUT_S = 10.0
_LOAD_TIMEOUT_S = 300.0  # weights from a slow disk
_SCHEMAS_SINCE = (0, 5)  # structured outputs, 2024-12
_IMAGE_TOKENS = max_image_tokens(
    16
)  # nothing tells what an image costs: Phi's largest, to err upwards
_IMAGE_TAG = re.compile(r"\[(?=img-\d+\])")
_SCHEMA_REFUSED = re.compile(r"format|schema|grammar|sampler", re.I)


class _Version(msgspec.Struct):
    version: str = ""


class _Shown(msgspec.Struct):
    capabilities: list[str] = []
    model_info: dict[str, Any] = {}
    remote_host: str = ""

    @property
    def trained_tokens(self) -> int | None:
        sizes = (n for key, n in self.model_info.items() if key.endswith(".context_length"))
        return next((size for size in sizes if isinstance(size, int)), None)


class _Running(msgspec.Struct):
    name: str = ""
    model: str = ""
    context_length: int | None = None


class _Processes(msgspec.Struct):
    models: list[_Running] = []


class _Chunk(msgspec.Struct, gc=False):
    response: str = ""
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_chunks = msgspec.json.Decoder(_Chunk)


class _Missing(RouteRetired):
    """The model is not in this Ollama, and how to bring it there."""

    def __init__(self, backend: str, model: str) -> None:
        super().__init__(backend, model, None)
        self.detail = f"model {model!r} is not in this Ollama; run: ollama pull {model}"
        self.args = (f"backend {backend!r}: {self.detail}",)


class OllamaBackend(RawServerBackend):
    """A model in an Ollama; make it with `load`. Ollama can't count tokens: an estimate does."""

    _path: ClassVar[str] = "api/generate"
    _as_lines: ClassVar[bool] = True
    _probe_path: ClassVar[str] = "api/version"
    _version: str = ""

    @classmethod
    async def load(
        cls,
        name: str,
        *,
        model: str,
        base_url: str = OLLAMA_URL,
        context_tokens: int = 4096,
        max_images: int | None = None,
        template: str | None = None,
        api_key: str | None = None,
    ) -> Self:
        """Have the model loaded with this window and read the window back.

        Raises `BackendError`; a model the server lacks names the command that fetches it.
        """
        family = chosen_family(name, model, template)
        link = ServerLink(name, base_url, api_key=api_key)
        asked = Capabilities(context_tokens, max_images=max_images or 0, constrained=True)
        backend = cls(name, link, model=model, template=family, capabilities=asked)
        try:
            await backend._prepare(eyes_wanted=max_images != 0)
        except BaseException:
            await link.aclose()
            raise
        return backend

    async def _prepare(self, *, eyes_wanted: bool) -> None:
        try:
            await self._learn_version()
            await self._learn_model(eyes_wanted=eyes_wanted)
            await self._load_model()
        except RefusedError as error:
            raise self._explained(error.refusal) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            place = self._link.place
            raise self._error(f"what answers at {place} does not speak Ollama's API") from error

    async def _learn_version(self) -> None:
        answer = await self._link.fetch("api/version", timeout_s=_ASK_TIMEOUT_S)
        self._version = msgspec.json.decode(answer, type=_Version).version
        numbers = re.match(r"v?(\d+)\.(\d+)", self._version)
        if numbers and (0, 0) < (int(numbers[1]), int(numbers[2])) < _SCHEMAS_SINCE:
            self._capabilities = replace(self._capabilities, constrained=False)
            log.warning("ollama.too_old_for_schemas", backend=self._name, version=self._version)

    async def _learn_model(self, *, eyes_wanted: bool) -> None:
        answer = await self._link.fetch(
            "api/show", {"model": self._model}, timeout_s=_ASK_TIMEOUT_S
        )
        shown = msgspec.json.decode(answer, type=_Shown)
        if shown.remote_host:
            raise self._error(
                f"model {self._model!r} is computed elsewhere, not by this Ollama, and can't be "
                "held to a schema; choose a local model"
            )
        own = self._capabilities
        images = (own.max_images or 1) if eyes_wanted and "vision" in shown.capabilities else 0
        self._capabilities = replace(
            own, max_images=images, image_tokens=_IMAGE_TOKENS if images else 0
        )
        if shown.trained_tokens:
            self._narrow(shown.trained_tokens, "the model was trained for no more")

    async def _load_model(self) -> None:
        """Load the weights with our window; Ollama may have room for a smaller one only."""
        wanted = {
            "model": self._model,
            "keep_alive": KEEP_ALIVE,
            "stream": False,
            "options": {"num_ctx": self._capabilities.context_tokens},
        }
        await self._link.fetch(self._path, wanted, timeout_s=_LOAD_TIMEOUT_S)
        answer = await self._link.fetch("api/ps", timeout_s=_ASK_TIMEOUT_S)
        running = msgspec.json.decode(answer, type=_Processes).models
        names = (self._model, f"{self._model}:latest")
        mine = next((each for each in running if {each.name, each.model} & {*names}), None)
        if mine is not None and mine.context_length:
            self._narrow(mine.context_length, "Ollama loaded the model with no more")
        log.info(
            "ollama.loaded",
            backend=self._name,
            model=self._model,
            version=self._version,
            context_tokens=self._capabilities.context_tokens,
            confirmed=mine is not None and mine.context_length is not None,
        )

    def _narrow(self, found_tokens: int, why: str) -> None:
        asked = self._capabilities.context_tokens
        if found_tokens < asked:
            log.warning(
                "ollama.smaller_context",
                backend=self._name,
                asked_tokens=asked,
                context_tokens=found_tokens,
                why=why,
            )
            self._capabilities = replace(self._capabilities, context_tokens=found_tokens)

    def _prepared(self, message: PromptMessage, first_image: int) -> PromptMessage:
        """Images become Ollama's own tags; such tags in the text are broken."""
        numbers = range(first_image, first_image + len(message.images))
        tags = "".join(f"[img-{number}]" for number in numbers)
        return PromptMessage(message.role, tags + _IMAGE_TAG.sub("[ ", message.text))

    def _fields(self, request: ModelRequest, prompt: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self._model,
            "prompt": prompt,
            "raw": True,
            "stream": True,
            "keep_alive": KEEP_ALIVE,
            "options": {
                "num_ctx": self._capabilities.context_tokens,
                "num_predict": request.max_tokens,
                "temperature": request.temperature,
                "stop": self._stops(request),
            },
        }
        if request.schema is not None:
            if not self._capabilities.constrained:
                raise self._too_old()
            fields["format"] = request.schema
        images = [image.data for message in request.messages for image in message.images]
        if images:
            fields["images"] = [base64.b64encode(each).decode() for each in images]
        return fields

    def _read(self, event: bytes, request: ModelRequest) -> tuple[str, Finish | None]:
        chunk = _chunks.decode(event)
        if chunk.error:
            raise self._error("the server reported an error in mid-stream; see its log")
        if not chunk.done:
            return chunk.response, None
        usage = Usage(chunk.prompt_eval_count or 0, chunk.eval_count or 0)
        return chunk.response, Finish(self._reason(chunk, request), usage)

    def _reason(self, chunk: _Chunk, request: ModelRequest) -> FinishReason:
        if chunk.done_reason in ("stop", "length"):
            return "length" if chunk.done_reason == "length" else "stop"
        if chunk.done_reason:
            raise self._error("the answer was ended by the server, for its own reason")
        return "length" if (chunk.eval_count or 0) >= request.max_tokens else "stop"

    def _refused(self, refusal: Refusal, request: ModelRequest) -> BackendError:
        about_schema = request.schema is not None and _SCHEMA_REFUSED.search(refusal.said)
        if refusal.status in (400, 500) and about_schema and not refusal.is_too_long:
            if "unmarshal" in refusal.said:  # a server from before schemas, of unknown version
                return self._too_old()
            return self._error(
                f"could not take the answer's schema ({refusal.status}); see its log"
            )
        return self._explained(refusal)

    def _explained(self, refusal: Refusal) -> BackendError:
        if refusal.status == 404 and "model" in refusal.said.lower():
            return _Missing(self._name, self._model)
        return refused(self._name, refusal, self._capabilities)

    def _too_old(self) -> BackendError:
        return self._error(
            f"Ollama {self._version or '(version unknown)'} can't hold an answer to a schema; "
            "update it to 0.5 or newer"
        )
