"""A strict reading of URLs: whatever two programs could read differently is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from adapters.web.errors import WebRefused

MOST_CHARS = 2048
PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_LOCAL = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "test")
_LOCAL_ARPA = "home.arpa"


class WebUrl(NamedTuple):
    """`host` is lower-case ASCII, `target` the path with its query; no fragment, no user."""

    scheme: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        port = "" if PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.target}"


def read_url(text: str, *, ports: Iterable[int] = (80, 443)) -> WebUrl:
    """Raises `WebRefused`."""
    if len(text) > MOST_CHARS:
        raise WebRefused(f"longer than {MOST_CHARS} characters")
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in PORTS:
        raise WebRefused("not an http or https address")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in netloc or "\\" in text:
        raise WebRefused("it holds a user or a backslash")
    shown = f"{scheme}://{_ascii(netloc)}{rest[len(netloc) :]}"
    if not _PLAIN.fullmatch(shown):
        raise WebRefused("it holds characters that belong in no address")
    try:
        parts = urlsplit(shown)
        port = parts.port
    except ValueError:
        raise WebRefused("its host or port can't be read") from None
    host = _host(parts.hostname or "")
    port = PORTS[scheme] if port is None else port
    if port not in ports:
        raise WebRefused(f"port {port} is not one of the web's")
    target = parts.path or "/"
    return WebUrl(scheme, host, port, f"{target}?{parts.query}" if parts.query else target)


def is_allowed(host: str, hosts: Iterable[str]) -> bool:
    """By the operator's list: a host, `*.example.org` for all below it, or `*`."""
    for each in hosts:
        if each in ("*", host) or (each.startswith("*.") and host.endswith(each[1:])):
            return True
    return False


def _ascii(netloc: str) -> str:
    """Names of other scripts as they are asked for on the wire."""
    if netloc.isascii():
        return netloc
    host, colon, port = netloc.partition(":")
    try:
        return host.encode("idna").decode() + colon + port
    except UnicodeError:
        raise WebRefused("its host is no name") from None


def _host(host: str) -> str:
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise WebRefused("its host is no full name; numbers and local names are not opened")
    if _NUMBER.fullmatch(labels[-1]):
        raise WebRefused("its host is a number")
    if labels[-1] in _LOCAL or host.endswith(f".{_LOCAL_ARPA}") or host == _LOCAL_ARPA:
        raise WebRefused("its host is a name of the local network")
    return host
