"""Who may talk to the page: this machine's own browser, from the page itself.

The Host check stops DNS rebinding; the Origin check, the strict cookie and the token in the
page stop other sites; the content policy stops anything a model writes from loading or running.
"""

from __future__ import annotations

import functools
import hmac
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Endpoint = Callable[[Request], Awaitable[Response]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
COOKIE = "firstline"
TOKEN_HEADER = "x-firstline-token"  # noqa: S105 - a header's name
_TOKEN_BYTES = 32
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Wraps endpoints. `token` proves that a request comes from a page we served."""

    def __init__(
        self, token: str, *, hosts: frozenset[str] = LOOPBACK, entry_key: str | None = None
    ) -> None:
        self._token, self._hosts, self._entry_key = token, hosts, entry_key

    def asset(self, endpoint: Endpoint) -> Endpoint:
        """Files without secrets: only the Host is checked."""
        return self._wrapped(endpoint, self._check_source)

    def api(self, endpoint: Endpoint) -> Endpoint:
        """Everything of the conversation."""
        return self._wrapped(endpoint, self._check_session)

    def may_enter(self, request: Request) -> bool:
        """May this visitor be given the page and its token?"""
        if self._entry_key is None or self._has_cookie(request):
            return True
        return _same(request.query_params.get("key", ""), self._entry_key)

    def admit(self, response: Response) -> None:
        response.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")

    def _wrapped(self, endpoint: Endpoint, check: Callable[[Request], str]) -> Endpoint:
        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            fault = check(request)
            response = refuse(403, fault) if fault else await endpoint(request)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded

    def _check_source(self, request: Request) -> str:
        host = request.headers.get("host", "")
        if _name_of(host) not in self._hosts:
            return "This page answers to loopback names only; open it as http://localhost."
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "Requests from other sites are refused."
        return ""

    def _check_session(self, request: Request) -> str:
        fault = self._check_source(request)
        if fault:
            return fault
        token = request.headers.get(TOKEN_HEADER, "")
        if not self._has_cookie(request) or (
            request.method not in ("GET", "HEAD") and not _same(token, self._token)
        ):
            return "This page is out of date. Reload it."
        return ""

    def _has_cookie(self, request: Request) -> bool:
        return _same(request.cookies.get(COOKIE, ""), self._token)


def refuse(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


def kept_token(path: Path) -> str:
    """The page's token, kept in a private file so that open pages outlive a restart.

    Processes that begin at the same time and share the folder get the same one.
    """
    while not (token := _read_token(path)):
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(_TOKEN_BYTES))
        try:
            os.link(fresh, path)  # whole, and never over another's
        except FileExistsError:
            if not _read_token(path):
                path.unlink(missing_ok=True)
        finally:
            fresh.unlink()
    return token


def _read_token(path: Path) -> str:
    """Empty when there is none that can be used."""
    try:
        token = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return token if len(token) >= _TOKEN_BYTES else ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].lower()
