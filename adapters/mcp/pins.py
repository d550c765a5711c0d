"""What was approved of a server: its version, and each tool by a hash of all that is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adapters.chat.safe_text import unhidden
from tools.contract import Effect, Idempotency

DESCRIPTION_CHARS = 300


@dataclass(frozen=True, slots=True)
class Pin:
    """One tool that the operator named. What is not declared counts as the worst."""

    hash: str
    effect: Effect = "destructive"
    idempotency: Idempotency = "none"


@dataclass(frozen=True, slots=True)
class Server:
    """One server: a program of this machine, or an address; `env` is all its environment beside
    what a login shell has anyway."""

    name: str
    version: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, Pin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as its server tells it."""

    name: str
    description: str
    schema: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 over name, description and schema, whatever the order of its keys."""
        told = [self.name, self.description, dict(self.schema)]
        return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()

    @property
    def shown(self) -> str:
        """The description for a prompt: one short line of visible characters."""
        text = " ".join(unhidden(self.description).split())
        return text[:DESCRIPTION_CHARS] or f"The tool {self.name}."


def fault_of(server: Server, version: str, offered: Offered | None, pin: Pin) -> str:
    """Why a pinned tool is off; empty when it is as it was approved."""
    if offered is None:
        return "the server does not offer it"
    if version != server.version:
        return f"the server is version {version!r}, approved is {server.version!r}"
    if offered.hash != pin.hash:
        return "its description or its arguments have changed"
    return ""


def block_of(name: str, version: str, offered: tuple[Offered, ...]) -> str:
    """What an operator pastes into the settings to approve a server as it is now."""
    lines = [f"[tools.mcp.{name}]", f"version = {_quoted(version)}"]
    for each in offered:
        lines += [
            "",
            f"# {each.shown}",
            f"[tools.mcp.{name}.tools.{_quoted(each.name)}]",
            f'hash = "{each.hash}"',
            'effect = "destructive"  # or read, write, egress: what it really does',
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
