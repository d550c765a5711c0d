"""What every embedder promises: the packaged one, and one behind a server."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from adapters.models.embedders import PackagedEmbedder, ServerEmbedder, load_packaged
from agents.errors import BackendError
from agents.ports import Embedder
from bot.knowledge import open_embedder
from bot.settings import load_settings


@dataclass
class VectorServer:
    """OpenAI's `/embeddings` before the packaged model; answers out of order, as it may."""

    model: PackagedEmbedder
    url: str = ""
    status: int = 200
    garbage: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        if self.status != 200:
            return web.Response(status=self.status, text="secret of the service")
        if self.garbage:
            return web.Response(text=self.garbage)
        vectors = await self.model.embed(body["input"], "passage")
        data = [
            {"object": "embedding", "index": n, "embedding": [3 * x for x in vector]}
            for n, vector in enumerate(vectors)
        ]
        return web.Response(text=json.dumps({"object": "list", "data": data[::-1]}))


@pytest.fixture
async def server() -> AsyncIterator[VectorServer]:
    found = VectorServer(await load_packaged())
    app = web.Application()
    app.router.add_post("/v1/embeddings", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture(params=["packaged", "server"])
async def embedder(request: pytest.FixtureRequest, server: VectorServer) -> AsyncIterator[Embedder]:
    found: Embedder = server.model
    if request.param == "server":
        found = ServerEmbedder(server.url, "e5", key="k")
    yield found
    await found.aclose()


async def test_vectors_are_normalised_and_keep_the_order_of_their_texts(
    embedder: Embedder,
) -> None:
    texts = [f"text number {n}" for n in range(70)]
    found = await embedder.embed(texts, "passage")
    [alone] = await embedder.embed([texts[41]], "passage")

    assert len(found) == 70
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-3) for vector in found)
    assert sum(a * b for a, b in zip(found[41], alone, strict=True)) > 0.999


async def test_what_means_the_same_is_nearer(embedder: Embedder) -> None:
    [asked] = await embedder.embed(["How do I get a new password?"], "query")
    texts = ["Reset your password on the self-service page.", "The canteen opens at noon."]
    near, far = (
        sum(a * b for a, b in zip(asked, vector, strict=True))
        for vector in await embedder.embed(texts, "passage")
    )
    assert near > far


async def test_nothing_is_nothing_and_a_longer_text_has_more_tokens(embedder: Embedder) -> None:
    assert await embedder.embed([], "passage") == []
    assert embedder.count_tokens("one two three four") > embedder.count_tokens("one") > 0


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (429, True), (401, False)])
async def test_a_server_that_refuses_is_told_apart_without_its_words(
    server: VectorServer, status: int, retryable: bool
) -> None:
    server.status = status
    embedder = ServerEmbedder(server.url, "e5")
    with pytest.raises(BackendError, match=f"HTTP {status}") as failed:
        await embedder.embed(["x"], "query")
    await embedder.aclose()

    assert failed.value.retryable is retryable
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    "garbage", ["", "[]", '{"data": []}', '{"data": [{"index": 0, "embedding": "x"}]}', "<html>"]
)
async def test_an_answer_that_is_none_is_an_error(server: VectorServer, garbage: str) -> None:
    server.garbage = garbage or "{}"
    embedder = ServerEmbedder(server.url, "e5")
    with pytest.raises(BackendError):
        await embedder.embed(["x"], "query")
    await embedder.aclose()


async def test_the_role_embed_names_the_server_its_model_and_its_key(
    server: VectorServer,
) -> None:
    route = {
        "backend": "openai_api",
        "base_url": server.url,
        "model": "nomic-embed-text",
        "api_key": "k",
    }
    settings = load_settings(
        environ={}, overrides={"models.routes.vectors": route, "roles.embed": ["vectors"]}
    )
    embedder = await open_embedder(settings)
    await embedder.embed(["x"], "query")
    await embedder.aclose()

    assert embedder.name == "nomic-embed-text"
    assert server.asked[0]["model"] == "nomic-embed-text"
    assert server.keys == ["Bearer k"]


async def test_a_route_that_is_no_server_is_refused_as_an_embedder() -> None:
    settings = load_settings(environ={}, overrides={"roles.embed": ["ocr"]})
    with pytest.raises(BackendError, match="a server with /embeddings"):
        await open_embedder(settings)
