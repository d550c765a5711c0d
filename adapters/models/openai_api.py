"""Any OpenAI-compatible server: vLLM, llama-server, Ollama, NIM, Foundry, OpenAI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import structlog
import yarl

from adapters.models.openai_reading import AnswerReader, Watch
from adapters.models.openai_wire import (
    Dialect,
    Refusal,
    SchemaMode,
    encode_request,
    estimate_tokens,
    parse_refusal,
    simpler,
    tokenized_decoder,
)
from agents.errors import BackendError, PromptTooLong, RouteRetired
from agents.ports import Capabilities, Delta, Finish, ModelRequest
from agents.prompts.image_cost import images_cost

log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_TOKENIZE_TIMEOUT_S = 2.0
_DRAIN_TIMEOUT_S = 0.1
_MAX_REFUSAL_BYTES = 64 * 1024
_DROPPED = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)


class OpenAICompatible:
    """A `ModelBackend` over `POST {base_url}/chat/completions`.

    What the server turns out not to understand (JSON schemas, `max_tokens`) is remembered,
    and `capabilities.constrained` follows. Stop strings are the server's to honour. `session`
    may be shared; one that is not given is made on first use and closed by `aclose`.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        capabilities: Capabilities,
        headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        session: aiohttp.ClientSession | None = None,
        schema_mode: SchemaMode = "json_schema",
    ) -> None:
        self._name, self._model = name, model
        self._base = yarl.URL(base_url.rstrip("/"))
        self._url = self._base / "chat/completions"
        self._headers = {**(headers or {}), "Content-Type": "application/json"}
        self._has_key = bool(api_key)
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._extra = dict(extra_body or {})
        self._session, self._owns_session = session, session is None
        self._dialect = Dialect(schema_mode)
        self._capabilities = capabilities
        self._constrain(schema_mode)
        self._tokenizes: bool | None = None  # unknown until asked once
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        await self._check(request)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.first_token_timeout_s
        response = await self._open(request, deadline)
        answer = AnswerReader(self._name, max_tokens=request.max_tokens)
        watch = Watch(loop, response, deadline)
        try:
            while not answer.ended:
                try:
                    data = await response.content.readany()
                except (aiohttp.ClientError, OSError) as error:
                    self._lost(error, request, watch, answer)
                    break
                alive = answer.life
                text = answer.read(data)
                if text:
                    watch.pause()
                    yield Delta(text)
                if answer.life != alive:
                    watch.arm(loop.time() + request.gap_timeout_s)
            watch.pause()
            finish = answer.finish()
            await self._drain(response)
            yield finish
        finally:
            watch.stop()
            response.close()  # a no-op when the answer was read to its end

    async def count_tokens(self, text: str) -> int:
        """The server's own count where it has `POST /tokenize`, else `estimate_tokens`."""
        if self._tokenizes is not False:
            count = await self._tokenize(text)
            if count is not None:
                return count
        return estimate_tokens(text)

    async def aclose(self) -> None:
        self._closed = True
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _sessions(self) -> aiohttp.ClientSession:
        if self._closed:
            raise self._error("is closed; make a new one")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def _check(self, request: ModelRequest) -> None:
        """Refuse what can't be served, before it is sent."""
        own = self._capabilities
        images = sum(len(message.images) for message in request.messages)
        if images > own.max_images:
            limit = f"at most {own.max_images}" if own.max_images else "no"
            raise self._error(f"takes {limit} images; send them to a route of the vision role")
        fixed = len(request.messages) * own.message_overhead_tokens
        fixed += images_cost(request.messages, own)
        limit_tokens = max(own.context_tokens - request.max_tokens, 0)
        text = "\n".join(message.text for message in request.messages)
        tokens = fixed + estimate_tokens(text)
        if tokens > limit_tokens:  # the estimate errs upwards: ask who knows
            tokens = fixed + await self.count_tokens(text)
        if tokens > limit_tokens:
            raise PromptTooLong(self._name, tokens, limit_tokens)

    async def _open(self, request: ModelRequest, deadline: float) -> aiohttp.ClientResponse:
        """Send the request, in simpler words where the server asks for it."""
        dialect = self._dialect
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    body = encode_request(
                        request, model=self._model, dialect=dialect, extra=self._extra
                    )
                    response = await self._post(self._url, body)
                    if response.status == 200:
                        self._learn(dialect)
                        return response
                    refusal = await _read_refusal(response)
                    next_dialect = simpler(dialect, refusal, with_schema=request.schema is not None)
                    if next_dialect is None:
                        raise self._refused(refusal)
                    dialect = next_dialect
        except aiohttp.ClientError as error:  # first: a connect timeout is a TimeoutError too
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise self._silent(request) from error
        except OSError as error:
            raise self._unreachable(error) from error

    async def _post(self, url: yarl.URL, body: bytes) -> aiohttp.ClientResponse:
        """One POST; a kept-alive connection that the server had dropped is replaced once."""
        session = self._sessions()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
        for last_try in (False, True):
            try:
                return await session.post(
                    url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
                )
            except _DROPPED:
                if last_try:
                    raise
        raise AssertionError("unreachable")

    def _learn(self, dialect: Dialect) -> None:
        if dialect == self._dialect:
            return
        log.info("model.dialect", backend=self._name, schema_mode=dialect.schema_mode)
        self._dialect = dialect
        self._constrain(dialect.schema_mode)

    def _constrain(self, mode: SchemaMode) -> None:
        if mode != "json_schema":
            self._capabilities = replace(self._capabilities, constrained=False)

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Read the few bytes after the end, so that the connection can be used again."""
        if response.content.at_eof():
            return
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await response.content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError):
            return

    async def _tokenize(self, text: str) -> int | None:
        root = self._base.parent if self._base.name == "v1" else self._base
        fields = {"model": self._model, "prompt": text, "content": text}
        body = msgspec.json.encode({**fields, "add_special_tokens": False})
        try:
            async with (
                asyncio.timeout(_TOKENIZE_TIMEOUT_S),
                await self._post(root / "tokenize", body) as response,
            ):
                if response.status != 200:
                    self._tokenizes = None if response.status >= 500 else False
                    return None
                found = tokenized_decoder.decode(await response.read())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._tokenizes = False
            return None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None  # may be there next time
        self._tokenizes = True
        return len(found.tokens) if found.count is None else found.count

    def _lost(
        self, error: Exception, request: ModelRequest, watch: Watch, answer: AnswerReader
    ) -> None:
        """The connection broke: fatal, unless the text was already whole."""
        if watch.fired:
            raise self._silent(request, begun=bool(answer.life)) from error
        if not answer.is_whole:
            raise self._error("the connection broke before the answer was whole") from error

    def _silent(self, request: ModelRequest, *, begun: bool = False) -> BackendError:
        if begun:
            return self._error(f"sent nothing more within {request.gap_timeout_s:g} s")
        return self._error(f"did not begin to answer within {request.first_token_timeout_s:g} s")

    def _unreachable(self, error: Exception) -> BackendError:
        place = f"{self._base.host}:{self._base.port}"
        return self._error(
            f"no answer from {place} ({type(error).__name__}); is the server running?"
        )

    def _error(self, detail: str) -> BackendError:
        return BackendError(self._name, detail, retryable=True)

    def _refused(self, refusal: Refusal) -> BackendError:
        status, code = refusal.status, f", {refusal.code}" if refusal.code else ""
        if refusal.is_unknown_model:
            return RouteRetired(self._name, self._model, self._capabilities.replacement)
        if refusal.is_too_long:
            limit = refusal.context_tokens or self._capabilities.context_tokens
            return PromptTooLong(self._name, refusal.prompt_tokens or limit + 1, limit)
        if status in (401, 403):
            what = "the API key was refused" if self._has_key else "an API key is needed"
            return self._error(f"{what} ({status}{code}); check the route's api_key")
        if status == 404:
            return self._error("nothing is served at this path (404); check the route's base_url")
        if status == 429:
            return self._error(f"too many requests or no quota left (429{code}); try later")
        if status >= 500:
            return self._error(f"the server failed ({status}{code}); see the server's log")
        if 300 <= status < 400:
            return self._error(f"redirects ({status}); set base_url to its final address")
        return self._error(f"the request was refused ({status}{code}); check the route's settings")


async def _read_refusal(response: aiohttp.ClientResponse) -> Refusal:
    body = bytearray()
    async with response:
        while len(body) < _MAX_REFUSAL_BYTES and (data := await response.content.readany()):
            body += data
    return parse_refusal(response.status, bytes(body))
