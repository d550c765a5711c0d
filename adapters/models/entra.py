"""Microsoft Entra tokens for Azure's endpoints, by azure-identity (the extra `azure`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from agents.errors import BackendError

log = structlog.get_logger(__name__)

SCOPE = "https://cognitiveservices.azure.com/.default"
_FETCH_TIMEOUT_S = 30.0
_RENEW_BEFORE_S = 300.0  # Azure's tokens live for about an hour
_TRY_AGAIN_AFTER_S = 10.0


class Token(Protocol):
    @property
    def token(self) -> str: ...
    @property
    def expires_on(self) -> int: ...


class Credential(Protocol):
    """What azure-identity's credentials have in common."""

    def get_token(self, *scopes: str) -> Token: ...
    def close(self) -> None: ...


class EntraTokens:
    """One bearer token, kept and renewed before it expires; any number of callers share it.

    The credential works in a thread: it asks the network, or runs the Azure command line.
    """

    def __init__(
        self,
        backend: str,
        *,
        credential: Callable[[], Credential] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend, self._make, self._clock = backend, credential or _default, clock
        self._credential: Credential | None = None
        self._token: Token | None = None
        self._renews_at = 0.0
        self._fetching = asyncio.Lock()

    async def token(self) -> str:
        """The token to send now; raises `BackendError` when there is none to be had."""
        if self._token is not None and self._clock() < self._renews_at:
            return self._token.token
        async with self._fetching:
            if self._token is None or self._clock() >= self._renews_at:
                await self._renew_or_keep()
            assert self._token is not None  # noqa: S101 (else `_renew_or_keep` had raised)
            return self._token.token

    async def renew(self, refused: str) -> None:
        """A new token in place of one the service refused; once for all who sent that one."""
        async with self._fetching:
            if self._token is not None and self._token.token != refused:
                return
            await asyncio.to_thread(self._forget)  # credentials keep tokens too
            self._token = None
            await self._fetch()

    async def aclose(self) -> None:
        async with self._fetching:
            await asyncio.to_thread(self._forget)
            self._token = None

    async def _renew_or_keep(self) -> None:
        """A token still valid outlives a renewal that failed."""
        try:
            await self._fetch()
        except BackendError as error:
            if self._token is None or self._clock() >= self._token.expires_on:
                raise
            log.warning("entra.renewal_failed", backend=self._backend, why=error.detail)
            self._renews_at = self._clock() + _TRY_AGAIN_AFTER_S

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                token = await asyncio.to_thread(self._ask)
        except TimeoutError as error:
            detail = f"no Entra token came within {_FETCH_TIMEOUT_S:g} s; check the network"
            raise self._error(detail) from error
        left_s = token.expires_on - self._clock()
        # A short-lived token is renewed halfway, or every call would fetch one.
        self._token, self._renews_at = token, token.expires_on - min(_RENEW_BEFORE_S, left_s / 2)
        log.info("entra.token", backend=self._backend, expires_in_s=round(left_s))

    def _ask(self) -> Token:
        """In a thread: importing azure-identity alone takes a third of a second."""
        try:
            from azure.core.exceptions import AzureError
        except ImportError as error:
            detail = "auth = \"entra\" needs the extra azure: pip install 'firstline[azure]'"
            raise self._error(detail) from error
        try:
            if self._credential is None:
                self._credential = self._make()
            return self._credential.get_token(SCOPE)
        except AzureError as error:  # its text may hold tenant and user
            detail = (
                f"no Entra credential gave a token ({type(error).__name__}): sign in with "
                "`az login`, give this machine a managed identity, or set AZURE_TENANT_ID, "
                "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
            )
            raise self._error(detail) from None

    def _forget(self) -> None:
        if self._credential is not None:
            self._credential.close()
            self._credential = None

    def _error(self, detail: str) -> BackendError:
        return BackendError(self._backend, detail, retryable=True)


def _default() -> Credential:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
