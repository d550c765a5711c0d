"""The HTTP side of an OpenAI-compatible server: connections, keys and bearer tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, Protocol

import aiohttp
import msgspec
import yarl

from adapters.models.openai_errors import read_refusal
from adapters.models.openai_wire import Listed, Refusal, listing_decoder
from agents.errors import BackendError

_CONNECT_TIMEOUT_S = 10.0
_DROPPED = (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)


class TokenSource(Protocol):
    """Bearer tokens that expire; raises `BackendError` when there is none."""

    async def token(self) -> str: ...
    async def renew(self, refused: str) -> None: ...
    async def aclose(self) -> None: ...


class OpenAILink:
    """Requests to one server. `session` may be shared; one not given is made and closed here."""

    def __init__(
        self,
        backend: str,
        base_url: str,
        *,
        api_key: str | None = None,
        key_header: Literal["Authorization", "api-key"] = "Authorization",
        tokens: TokenSource | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._backend, self.base = backend, yarl.URL(base_url.rstrip("/"))
        self._headers = {"Content-Type": "application/json"}
        if api_key and tokens is None:
            bearer = key_header == "Authorization"
            self._headers[key_header] = f"Bearer {api_key}" if bearer else api_key
        self._tokens = tokens
        self._session, self._owns_session = session, session is None
        self._closed = False
        self.key: str | None = "API key" if api_key else None
        if tokens is not None:
            self.key = "Entra token"

    async def send(self, url: yarl.URL, body: bytes | None = None) -> aiohttp.ClientResponse:
        """POST of `body`, or GET. A bearer token that is refused is renewed once."""
        if self._tokens is None:
            return await self._send(url, body, self._headers)
        token = await self._tokens.token()
        response = await self._send(url, body, self._with(token))
        if response.status == 401:
            response.release()
            await self._tokens.renew(token)
            response = await self._send(url, body, self._with(await self._tokens.token()))
        return response

    async def models(self, *, timeout_s: float) -> list[Listed] | Refusal:
        """What `GET /models` tells; raises `BackendError`."""
        try:
            async with asyncio.timeout(timeout_s), await self.send(self.base / "models") as answer:
                if answer.status != 200:
                    return await read_refusal(answer)
                return listing_decoder.decode(await answer.read()).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.error("what answers there does not speak OpenAI's API") from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self.unreachable(error) from error

    async def aclose(self) -> None:
        self._closed = True
        if self._session is not None and self._owns_session:
            await self._session.close()
        if self._tokens is not None:
            await self._tokens.aclose()

    def error(self, detail: str) -> BackendError:
        return BackendError(self._backend, detail, retryable=True)

    def unreachable(self, error: Exception) -> BackendError:
        place = f"{self.base.host}:{self.base.port}"
        return self.error(
            f"no answer from {place} ({type(error).__name__}); is the server running?"
        )

    def _with(self, token: str) -> dict[str, str]:
        return {**self._headers, "Authorization": f"Bearer {token}"}

    def _sessions(self) -> aiohttp.ClientSession:
        if self._closed:
            raise self.error("is closed; make a new one")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def _send(
        self, url: yarl.URL, body: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """A kept-alive connection that the server had dropped is replaced once."""
        session, method = self._sessions(), "GET" if body is None else "POST"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
        for last_try in (False, True):
            try:
                return await session.request(
                    method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
                )
            except _DROPPED:
                if last_try:
                    raise
        raise AssertionError("unreachable")
