"""Entra tokens: kept, renewed, shared, and asked for anew when the service refuses one."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from adapters.models.entra import SCOPE, EntraTokens
from adapters.models.openai_api import OpenAICompatible
from adapters.models.presets import PRESETS
from adapters.models.scripted import DEFAULT_CAPABILITIES, Say
from agents.errors import BackendError
from agents.ports import ModelRequest, PromptMessage, complete
from tests.twins.foundry import FoundryTwin
from tests.twins.raw_speech import Serving

ASK = ModelRequest((PromptMessage("user", "hello"),), max_tokens=16)


@dataclass
class Issuer:
    """Entra with a clock of its own; `credential` is what a factory would make."""

    now: float = 1_000_000.0
    lives_s: int = 3600
    issued: list[str] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    made: int = 0
    closed: int = 0
    fails: bool = False

    def clock(self) -> float:
        return self.now

    def credential(self) -> FakeCredential:
        self.made += 1
        return FakeCredential(self)

    def tokens(self) -> EntraTokens:
        return EntraTokens("far", credential=self.credential, clock=self.clock)


class FakeCredential:
    """Keeps its token until it expires, as azure-identity's do."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer, self._kept = issuer, AccessToken("", 0)

    def get_token(self, *scopes: str) -> AccessToken:
        issuer = self._issuer
        issuer.threads.add(threading.current_thread().name)
        if issuer.fails:
            raise ClientAuthenticationError("secret tenant")
        assert scopes == (SCOPE,)
        if issuer.now >= self._kept.expires_on - 300:
            issuer.issued.append(f"token-{len(issuer.issued) + 1}")
            self._kept = AccessToken(issuer.issued[-1], int(issuer.now) + issuer.lives_s)
        return self._kept

    def close(self) -> None:
        self._issuer.closed += 1


@asynccontextmanager
async def foundry(issuer: Issuer) -> AsyncIterator[tuple[OpenAICompatible, FoundryTwin]]:
    twin = FoundryTwin(lambda request: Say("good day"))
    async with twin as url:
        backend = OpenAICompatible(
            "far",
            base_url=url,
            model="scripted",
            api_key=None,
            capabilities=DEFAULT_CAPABILITIES,
            preset=PRESETS["foundry"],
            tokens=issuer.tokens(),
        )
        yield backend, twin
        await backend.aclose()


async def test_a_token_is_fetched_once_in_a_thread_and_sent_as_bearer() -> None:
    issuer = Issuer()
    async with foundry(issuer) as (backend, twin):
        twin.tokens = {"token-1"}
        await asyncio.gather(*(complete(backend, ASK) for _ in range(5)))

    assert issuer.issued == ["token-1"]
    assert threading.current_thread().name not in issuer.threads
    assert {headers["Authorization"] for _, headers in twin.seen} == {"Bearer token-1"}
    assert all("api-key" not in headers for _, headers in twin.seen)
    assert issuer.closed == 1


async def test_a_token_near_its_end_is_renewed_before_it_is_refused() -> None:
    issuer = Issuer()
    async with foundry(issuer) as (backend, twin):
        twin.tokens = {"token-1", "token-2"}
        await complete(backend, ASK)
        issuer.now += 3600 - 299
        await complete(backend, ASK)

    assert [headers["Authorization"] for _, headers in twin.seen] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_a_refused_token_is_renewed_once_for_all_who_sent_it() -> None:
    issuer = Issuer()
    async with foundry(issuer) as (backend, twin):
        twin.tokens = {"token-1"}
        await complete(backend, ASK)
        twin.tokens = {"token-2"}  # revoked, though not expired
        await asyncio.gather(*(complete(backend, ASK) for _ in range(4)))

    assert issuer.issued == ["token-1", "token-2"]
    assert issuer.made == 2  # the first credential would have given the revoked one again


async def test_an_identity_without_the_role_is_told_so_after_one_renewal() -> None:
    issuer = Issuer()
    async with foundry(issuer) as (backend, twin):
        with pytest.raises(BackendError, match="Cognitive Services OpenAI User"):
            await complete(backend, ASK)

        assert len(twin.seen) == 2


async def test_the_probe_carries_the_token_too() -> None:
    issuer = Issuer()
    async with foundry(issuer) as (backend, twin):
        twin.tokens = {"token-2"}
        assert await backend.probe()

    assert [path for path, _ in twin.seen] == ["/openai/v1/models"] * 2


async def test_a_renewal_that_fails_leaves_a_valid_token_in_use() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    await tokens.token()
    issuer.fails, issuer.now = True, issuer.now + 3400

    assert await tokens.token() == "token-1"

    issuer.now += 300
    with pytest.raises(BackendError):
        await tokens.token()


async def test_no_credential_says_what_to_do_and_no_tenant() -> None:
    issuer = Issuer(fails=True)

    with pytest.raises(BackendError, match="az login") as caught:
        await issuer.tokens().token()

    assert "secret tenant" not in str(caught.value)


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.core.exceptions", None)

    with pytest.raises(BackendError, match=r"pip install 'firstline\[azure\]'"):
        await EntraTokens("far").token()


async def test_azure_identity_itself_gives_a_token_from_a_managed_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its App Service form is plain HTTP to a loopback address: nothing of it is faked."""
    asked: list[str] = []

    async def identity(request: web.Request) -> web.Response:
        asked.append(request.query["resource"])
        assert request.headers["X-IDENTITY-HEADER"] == "ours"
        fields = {"access_token": "managed", "expires_on": "4102444800", "token_type": "Bearer"}
        return web.json_response(fields)

    app = web.Application()
    app.router.add_get("/token", identity)
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    async with Serving(app) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{url}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "ours")
        tokens = EntraTokens("far")
        assert await tokens.token() == "managed"
        await tokens.aclose()

    assert asked == ["https://cognitiveservices.azure.com"]
