"""Sites on this machine that stand for hosts of the internet, and a count of who connects."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from adapters.web.addresses import is_public
from adapters.web.client import Net, SafeClient

HERE = "127.0.0.1"


@dataclass
class Sites:
    """One server under many names; `asked` are the look-ups."""

    port: int = 0
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)  # answers, in order
    asked: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)

    async def resolve(self, host: str) -> Sequence[str]:
        """The next answer for this name; the last one stays."""
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise OSError("no such host")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def url(self, host: str, path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    def client(self, *, strict: bool = False, timeout_s: float = 5.0) -> SafeClient:
        """`strict` is as in production: this machine is no place of the internet."""
        public = is_public if strict else lambda address: address == HERE or is_public(address)
        net = Net(self.resolve, public, (80, 443, self.port))
        return SafeClient(("*",), net=net, timeout_s=timeout_s, max_bytes=100_000)


@asynccontextmanager
async def sites() -> AsyncIterator[Sites]:
    found = Sites()

    async def answer(request: web.Request) -> web.StreamResponse:
        found.requests.append((request.host, request.path, dict(request.headers)))
        match request.path:
            case "/to":
                raise web.HTTPFound(request.query["where"])
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/bomb":
                packed = gzip.compress(b"\0" * 50_000_000)
                headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
                return web.Response(body=packed, headers=headers)
            case "/packed":
                headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
                return web.Response(body=gzip.compress(b"hello"), headers=headers)
            case "/endless" | "/slow":
                return await _endless(request, pause_s=0.0 if request.path == "/endless" else 0.2)
            case "/picture":
                return web.Response(body=b"\x89PNG", content_type="image/png")
            case "/gone":
                raise web.HTTPNotFound
            case "/charset":
                return web.Response(body=b"x", headers={"Content-Type": "text/plain; charset=zz9"})
        return web.Response(text="<title>T</title><p>Hello</p>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HERE, 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


async def _endless(request: web.Request, *, pause_s: float) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    try:
        while True:
            await answer.write(b"x" * 10_000)
            await asyncio.sleep(pause_s)
    except (ConnectionError, asyncio.CancelledError):
        return answer
