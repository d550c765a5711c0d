"""Ways for a bot to die at a chosen effect: loaded into the bots of a drill by the fork server.

An effect is what others can see: a change in Redis, a request to a platform or a model, an
acknowledgement on a socket. The SDKs are wrapped where they write to the wire; our own code
does not know of it. A rule is
`{"effect": pattern, "nth": 1, "when": "before" | "after", "about": "", "once": "", "armed": ""}`:
the bot kills itself around the nth effect whose label fits and whose bytes hold `about`; a file
named `once` remembers that it did, and nothing counts before the file `armed` is there.
`{"trace": path, "armed": …}` writes every effect's label there instead.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
from redis.asyncio.connection import AbstractConnection

from adapters.stores import scripts
from adapters.stores.batching import Script

Rule = dict[str, Any]
_WATCHED = frozenset({"XADD", "XACK", "HSET", "SADD", "SET"})
_SWEEPS = frozenset({"SWEEP", "RENEW"})  # by the clock, so they have no place in the order
_ID = re.compile(r"\d{6,}|:id|/[0-9a-f]{12,}")


class Obedience:
    """Counts effects and dies by the rules."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._seen: Counter[int] = Counter()

    def passing(self, label: str, when: str, body: bytes) -> None:
        """An effect is about to happen, or has just happened."""
        for number, rule in enumerate(self._rules):
            if "armed" in rule and not os.path.exists(rule["armed"]):
                continue
            if "trace" in rule:
                _note(rule["trace"], f"{when} {label}\n")
            elif _fits(rule, label, when, body):
                self._seen[number] += 1
                if "once" in rule or self._seen[number] == rule.get("nth", 1):
                    _die(rule.get("once", ""), body)


def _fits(rule: Rule, label: str, when: str, body: bytes) -> bool:
    return (
        when == rule.get("when", "before")
        and re.fullmatch(rule["effect"], label) is not None
        and rule.get("about", "").encode() in body
    )


def _note(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, line.encode())
    os.close(file)


def _die(once: str, body: bytes) -> None:
    """Kill this process; with `once`, only for the first time over all processes.

    `once` may hold a pattern with a group: one death for each text it finds in the bytes.
    """
    if once:
        path, _, pattern = once.partition("|")
        if pattern:
            found = re.search(pattern.encode(), body)
            if found is None:
                return
            path += found[0].decode()
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


def obey(rules: Sequence[Rule]) -> None:
    obedience = Obedience(rules)
    _wrap_redis(obedience)
    _wrap_requests(obedience)
    _wrap_sockets(obedience)


def _wrap_redis(obedience: Obedience) -> None:
    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response
    names = _script_names()
    waiting: dict[int, list[tuple[list[str], bytes]]] = {}

    async def send_watched(self: Any, command: Any, *args: Any, **kwargs: Any) -> None:
        packed = command if isinstance(command, bytes) else b"".join(command)
        labels = _redis_labels(packed, names)
        for label in labels:
            obedience.passing(label, "before", packed)
        waiting[id(self)] = [(labels, packed)] if labels else []
        await send(self, command, *args, **kwargs)

    async def read_watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await read(self, *args, **kwargs)
        for labels, packed in waiting.pop(id(self), []):
            for label in labels:
                obedience.passing(label, "after", packed)
        return answer

    AbstractConnection.send_packed_command = send_watched  # type: ignore[method-assign]
    AbstractConnection.read_response = read_watched  # type: ignore[method-assign]


def _script_names() -> dict[str, str]:
    found = {name: each for name, each in vars(scripts).items() if isinstance(each, Script)}
    return {
        hashlib.sha1(each.text((7, 0)).encode(), usedforsecurity=False).hexdigest(): name
        for name, each in found.items()
    }


def _redis_labels(packed: bytes, names: dict[str, str]) -> list[str]:
    """The changes in a pipeline, in order; reads and what goes by the clock are left out."""
    words = packed.split(b"\r\n")
    labels = []
    for at, word in enumerate(words):
        if not word.startswith(b"*") or at + 2 >= len(words):
            continue
        command = words[at + 2].decode(errors="replace").upper()
        if command == "EVALSHA":
            script = names.get(words[at + 4].decode(errors="replace"), "")
            if script and script not in _SWEEPS:
                labels.append(f"redis {script}")
        elif command in _WATCHED:
            labels.append(f"redis {command}")
    return labels


def _wrap_requests(obedience: Obedience) -> None:
    request: Any = aiohttp.ClientSession._request

    async def request_watched(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        label = f"{method} {_ID.sub('*', str(url).partition('?')[0].split('/', 3)[-1])}"
        body = repr((str(url), kwargs.get("json"), kwargs.get("data"))).encode()
        is_write = method not in ("GET", "HEAD") and not label.endswith("tokenize")
        if is_write:
            obedience.passing(label, "before", body)
        answer = await request(self, method, url, **kwargs)
        if is_write:
            obedience.passing(label, "after", body)
        return answer

    aiohttp.ClientSession._request = request_watched  # type: ignore


def _wrap_sockets(obedience: Obedience) -> None:
    send = aiohttp.ClientWebSocketResponse.send_str

    async def send_watched(self: Any, data: str, *args: Any, **kwargs: Any) -> None:
        is_ack = "envelope_id" in data
        if is_ack:
            obedience.passing("slack ack", "before", data.encode())
        await send(self, data, *args, **kwargs)
        if is_ack:
            obedience.passing("slack ack", "after", data.encode())

    aiohttp.ClientWebSocketResponse.send_str = send_watched  # type: ignore[method-assign]
