"""The client for addresses that a model chose: nothing in the house can be reached through it.

A host is looked up once, every address it has must be public, and the connection goes to exactly
those: what a second lookup would say does not matter. Redirects are followed by hand, each under
the same rules; nothing is carried from one to the next.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.web.addresses import is_public
from adapters.web.errors import WebFailed, WebRefused
from adapters.web.urls import PORTS, WebUrl, is_allowed, read_url

log = structlog.get_logger(__name__)

MAX_BYTES = 5 * 1024 * 1024  # decoded (reliability row F12)
TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
_MAX_RATIO = 100  # of decoded to sent
_READ_AT_ONCE = 32 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": "firstline", "Accept-Encoding": "gzip", "Accept": "text/*, */*;q=0.1"}
TEXTS = frozenset(
    {
        *("text/html", "text/plain", "text/markdown", "text/csv", "application/xhtml+xml"),
        *("application/json", "application/xml", "text/xml"),
    }
)

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def resolve_host(host: str) -> Sequence[str]:
    """Every address of a host; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True)
class Net:
    """The network as the client sees it; tests put servers of their own in the internet's place."""

    resolve: Resolve = resolve_host
    is_public: Callable[[str], bool] = is_public
    ports: Collection[int] = field(default=(80, 443))


class Page(NamedTuple):
    """What an address gave: decoded text, at the address where the redirects ended."""

    url: str
    status: int
    media_type: str
    text: str


class SafeClient:
    """`hosts`: what may be opened, see `is_allowed`; empty is nothing."""

    def __init__(
        self,
        hosts: Collection[str],
        *,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
        net: Net | None = None,
    ) -> None:
        self._hosts, self._max_bytes, self._timeout_s = tuple(hosts), max_bytes, timeout_s
        self._net = net or Net()

    async def get(self, url: str, *, headers: dict[str, str] | None = None) -> Page:
        """Raises `WebRefused` and `WebFailed`; `headers` go to the first host alone."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url, headers or {})
        except TimeoutError:
            raise WebFailed(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, zlib.error, ValueError, LookupError) as error:
            raise WebFailed(f"it can't be read ({type(error).__name__})") from error

    async def _follow(self, url: str, headers: dict[str, str]) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            at = read_url(url, ports=self._net.ports)
            addresses = await self._checked(at)
            found = await self._one(at, addresses, headers)
            if isinstance(found, Page):
                return found
            url, headers = urljoin(str(at), found), {}
        raise WebRefused(f"more than {MAX_REDIRECTS} redirects")

    async def _checked(self, at: WebUrl) -> Sequence[str]:
        """The addresses to connect to, looked up once."""
        if not is_allowed(at.host, self._hosts):
            raise WebRefused("its host is not on the operator's list")
        try:
            addresses = await self._net.resolve(at.host)
        except OSError:
            raise WebFailed("there is no such host") from None
        if not addresses or not all(map(self._net.is_public, addresses)):
            raise WebRefused("its host lies in the house")
        return addresses

    async def _one(
        self, at: WebUrl, addresses: Sequence[str], headers: dict[str, str]
    ) -> Page | str:
        """The page, or where it redirects to."""
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(at.host, addresses), use_dns_cache=False, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**_HEADERS, **headers},
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.get(str(at), allow_redirects=False) as answer,
        ):
            if answer.status in _REDIRECTS:
                return answer.headers.get("Location", "")
            if answer.status >= 400:
                raise WebFailed(f"the site answered {answer.status}")
            media_type = answer.content_type.lower()
            if media_type not in TEXTS:
                raise WebFailed(f"it is {media_type}, which is not read from the web")
            raw = await self._body(answer)
            text = raw.decode(answer.charset or "utf-8", errors="replace")
            return Page(str(at), answer.status, media_type, text)

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        """Decoded, with every cap looked at while it comes."""
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise WebFailed("it is packed in a way that is not read")
        unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
        body, sent = bytearray(), 0
        async for chunk in answer.content.iter_chunked(_READ_AT_ONCE):
            sent += len(chunk)
            room = self._max_bytes + 1 - len(body)
            body += unpack.decompress(chunk, room) if unpack else chunk[:room]
            if len(body) > self._max_bytes or (unpack and unpack.unconsumed_tail):
                raise WebFailed(f"it is larger than {self._max_bytes:,} bytes")
            if unpack and len(body) > _MAX_RATIO * max(sent, 1024):
                raise WebFailed("it unpacks to far more than was sent")
        return bytes(body)


class TrustedClient(SafeClient):
    """For the one service an operator named; it may lie in the house. It redirects nowhere."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__((), timeout_s=timeout_s)

    async def _follow(self, url: str, headers: dict[str, str]) -> Page:
        parts = urlsplit(url)
        host, target = parts.hostname or "", f"{parts.path or '/'}?{parts.query}"
        at = WebUrl(parts.scheme, host, parts.port or PORTS[parts.scheme], target)
        found = await self._one(at, await self._net.resolve(host), headers)
        if isinstance(found, Page):
            return found
        raise WebFailed("the service redirects")


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, and nothing for any other host."""

    def __init__(self, host: str, addresses: Sequence[str]) -> None:
        self._host, self._addresses = host, addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError(f"{host} was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
