"""What the fake Slack sends, held against shapes written down from Slack's documentation.

`recordings/slack/*.json` name their page. A word is a type (`text`, `ts`, `number`, `flag`, `any`,
`null`, joined by `|`), `=word` that word, `$name` another shape; a key with `?` may be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SHAPES: Json = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))["shape"]
    for file in sorted((Path(__file__).parent / "recordings/slack").glob("*.json"))
}
_TS = re.compile(r"\d{10}\.\d{6}")
_KINDS: dict[str, type] = {"text": str, "ts": str, "number": int, "flag": bool, "any": object}


def deviations(name: str, sent: Any) -> list[str]:
    """Of a Web API answer (by its method) or of a payload (`socket`, or an envelope's type)."""
    if name == "socket":
        return list(_frame(sent))
    if name in ("events_api", "slash_commands", "interactive"):
        return list(_payload(name, sent))
    kind = name if sent.get("ok") else "refused"
    return list(_check(sent, SHAPES[kind], name)) if kind in SHAPES else []


def _frame(frame: Json) -> Iterator[str]:
    if frame["type"] in ("hello", "disconnect"):
        yield from _check(frame, SHAPES[frame["type"]], frame["type"])
    else:
        yield from _check(frame, SHAPES["envelope"], "envelope")
        yield from _payload(frame["type"], frame["payload"])


def _payload(kind: str, payload: Json) -> Iterator[str]:
    if kind == "events_api":
        yield from _check(payload, SHAPES["event_callback"], "event_callback")
        event = payload["event"]
        subtype = event.get("subtype") or ""
        found = subtype if subtype in SHAPES else event["type"]
        if found in SHAPES:
            yield from _check(event, SHAPES[found], found)
    else:
        name = kind if kind == "slash_commands" else payload["type"]
        yield from _check(payload, SHAPES[name], name)


def _check(given: Any, shape: Any, where: str) -> Iterator[str]:
    if isinstance(shape, dict):
        yield from _check_object(given, shape, where)
    elif isinstance(shape, list):
        if not isinstance(given, list):
            yield f"{where}: {given!r:.60} is no list"
            return
        for number, each in enumerate(given):
            yield from _check(each, shape[0], f"{where}[{number}]")
    elif shape.startswith("$"):
        yield from _check(given, SHAPES[shape[1:]], where)
    elif not any(_is_a(given, word) for word in shape.split("|")):
        yield f"{where}: {given!r:.60} is no {shape}"


def _check_object(given: Any, shape: Json, where: str) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"{where}: {given!r:.60} is no object"
        return
    names = {key.removesuffix("?"): key for key in shape}
    for key in given.keys() - names.keys():
        yield f"{where}.{key}: unknown"
    for key, named in names.items():
        if key in given:
            yield from _check(given[key], shape[named], f"{where}.{key}")
        elif not named.endswith("?"):
            yield f"{where}.{key}: missing"


def _is_a(given: Any, word: str) -> bool:
    if word.startswith("="):
        return bool(given == word[1:])
    if word == "null" or given is None:
        return word == "null" and given is None
    if word == "ts":
        return isinstance(given, str) and _TS.fullmatch(given) is not None
    if word == "number" and isinstance(given, bool):
        return False
    return isinstance(given, _KINDS[word])
