"""Any OpenAI-compatible server: vLLM, llama-server, Ollama, NIM, Foundry, OpenAI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import aiohttp
import msgspec
import structlog

from adapters.models.openai_errors import Backoff, read_refusal, refused
from adapters.models.openai_link import OpenAILink, TokenSource
from adapters.models.openai_reading import AnswerReader, Watch
from adapters.models.openai_schema import SCHEMA_PROBE, shows_enforcement
from adapters.models.openai_wire import (
    Dialect,
    Listed,
    Refusal,
    encode_request,
    estimate_tokens,
    simpler,
    tokenized_decoder,
)
from adapters.models.presets import ANY_SERVER, Preset
from agents.errors import BackendError, PromptTooLong, RouteRetired
from agents.ports import Capabilities, Delta, Finish, ModelRequest, complete
from agents.prompts.image_cost import images_cost

log = structlog.get_logger(__name__)

_PROBE_TIMEOUT_S = 10.0
_TOKENIZE_TIMEOUT_S = 2.0
_DRAIN_TIMEOUT_S = 0.1
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class OpenAICompatible:
    """A `ModelBackend` over `POST {base_url}/chat/completions`.

    What the server turns out not to understand (JSON schemas, `max_tokens`) is remembered,
    and `capabilities` follows. Stop strings are the server's to honour. A refusal that may
    pass (429, 5xx) is tried again within the request's own time to its first token.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        capabilities: Capabilities,
        preset: Preset = ANY_SERVER,
        tokens: TokenSource | None = None,
        session: aiohttp.ClientSession | None = None,
        backoff: Backoff = Backoff(),  # noqa: B008 (frozen)
    ) -> None:
        self._name, self._model, self._preset = name, model, preset
        self._link = OpenAILink(
            name,
            base_url,
            api_key=api_key,
            key_header=preset.key_header,
            tokens=tokens,
            session=session,
        )
        self._url = self._link.base / "chat/completions"
        self._backoff = backoff
        self._dialect = Dialect(preset.schema_modes, preset.max_tokens_field)
        self._capabilities = capabilities
        # None: unknown until asked
        self._tokenizes: bool | None = None if preset.counts else preset.counts

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def prepare(self) -> None:
        """Ask the service, before its first use, what its preset leaves open.

        Whether it has the model, whether it counts tokens, and whether it enforces a schema;
        what it answers holds for this backend's life. Raises `BackendError`.
        """
        if self._preset.lists_models:
            listed = await self._listing(_PROBE_TIMEOUT_S)
            self._check_listed(listed)
            self._narrow(listed)
        if self._tokenizes is not False and await self._tokenize("one two") is None:
            log.info("model.counts_estimated", backend=self._name, why="no POST /tokenize")
        if self._preset.probes_schema:
            await self._probe_schema()

    async def probe(self, *, timeout_s: float = _PROBE_TIMEOUT_S) -> tuple[str, ...]:
        """The ids that `GET /models` tells; a cheap sign of life.

        Raises `BackendError`, and `RouteRetired` when the service lists models and not this.
        """
        listed = await self._listing(timeout_s)
        self._check_listed(listed)
        return tuple(each.id for each in listed)

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
        await self._link.aclose()

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
        dialect, tried = self._dialect, 0
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    body = encode_request(request, model=self._model, dialect=dialect)
                    response = await self._link.send(self._url, body)
                    if response.status == 200:
                        self._learn(dialect)
                        return response
                    refusal = await read_refusal(response)
                    with_schema, probing = request.schema is not None, request is SCHEMA_PROBE
                    easier = simpler(dialect, refusal, with_schema=with_schema, probing=probing)
                    if easier is None:
                        tried += 1
                        await self._pause(refusal, tried, deadline)
                    dialect = easier or dialect
        except aiohttp.ClientError as error:  # first: a connect timeout is a TimeoutError too
            raise self._link.unreachable(error) from error
        except TimeoutError as error:
            raise self._silent(request) from error
        except OSError as error:
            raise self._link.unreachable(error) from error

    async def _pause(self, refusal: Refusal, tried: int, deadline: float) -> None:
        """Wait where another try may help, else raise."""
        left_s = deadline - asyncio.get_running_loop().time()
        pause_s = self._backoff.pause_s(refusal, tried, left_s)
        if pause_s is None:
            raise self._refused(refusal)
        log.info("model.retry", backend=self._name, status=refusal.status, in_s=round(pause_s, 3))
        await asyncio.sleep(pause_s)

    async def _listing(self, timeout_s: float) -> list[Listed]:
        found = await self._link.models(timeout_s=timeout_s)
        if not isinstance(found, Refusal):
            return found
        if self._preset is ANY_SERVER and found.status in (404, 405, 501):
            return []  # it answers, and lists nothing
        raise self._refused(found)

    def _check_listed(self, listed: list[Listed]) -> None:
        ids = [each.id for each in listed]
        if self._preset.lists_models and ids and self._model not in ids:
            only = ids[0] if len(ids) == 1 else None
            raise RouteRetired(self._name, self._model, self._capabilities.replacement or only)

    def _narrow(self, listed: list[Listed]) -> None:
        """The server's own window wins where it is smaller."""
        has_tokens = next((each.max_model_len for each in listed if each.id == self._model), None)
        if has_tokens and has_tokens < self._capabilities.context_tokens:
            log.warning("model.smaller_context", backend=self._name, context_tokens=has_tokens)
            self._capabilities = replace(self._capabilities, context_tokens=has_tokens)

    async def _probe_schema(self) -> None:
        """One tiny answer in a schema; a mode accepted and not heeded counts as refused."""
        while self._dialect.enforces:
            text, _ = await complete(self, SCHEMA_PROBE)
            if self._dialect.enforces and shows_enforcement(text):
                log.info("model.schema", backend=self._name, sent_as=self._dialect.schema_mode)
                return
            if self._dialect.enforces:
                self._learn(self._dialect.without_mode())
        log.warning(
            "model.schema_not_enforced",
            backend=self._name,
            sent_as=self._dialect.schema_mode,
            instead="every answer is checked, and asked for once more when it does not fit",
        )

    def _learn(self, dialect: Dialect) -> None:
        if dialect == self._dialect:
            return
        log.info("model.dialect", backend=self._name, schema_mode=dialect.schema_mode)
        self._dialect = dialect
        if not dialect.enforces:
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
        base = self._link.base
        root = base.parent if base.name == "v1" else base
        fields = {"model": self._model, "prompt": text, "content": text}
        body = msgspec.json.encode({**fields, "add_special_tokens": False})
        try:
            async with (
                asyncio.timeout(_TOKENIZE_TIMEOUT_S),
                await self._link.send(root / "tokenize", body) as response,
            ):
                if response.status != 200:
                    self._tokenizes = None if response.status >= 500 else False
                    return None
                found = tokenized_decoder.decode(await response.read())
        except _UNREADABLE:
            self._tokenizes = False
            return None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None  # may be there next time
        if not self._tokenizes:
            self._tokenizes = True
            self._capabilities = replace(self._capabilities, exact_counts=True)
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
        limit_s = request.gap_timeout_s if begun else request.first_token_timeout_s
        what = "sent nothing more" if begun else "did not begin to answer"
        return self._error(f"{what} within {limit_s:g} s")

    def _refused(self, refusal: Refusal) -> BackendError:
        return refused(self._name, self._model, refusal, self._capabilities, key=self._link.key)

    def _error(self, detail: str) -> BackendError:
        return self._link.error(detail)
