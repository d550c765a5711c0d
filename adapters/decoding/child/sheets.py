"""The text of an XLSX: each sheet's cells as tab-separated rows, values as they were saved."""

from __future__ import annotations

import posixpath

from adapters.decoding.child.markup import Enough, Lines, Parts

MAX_SHARED = 200_000
MAX_SHARED_CHARS = 20_000_000
_WORKBOOK = "xl/workbook.xml"
_RELATIONS = "xl/_rels/workbook.xml.rels"
_SHARED = "xl/sharedStrings.xml"


def text_of(parts: Parts) -> tuple[str, bool, int]:
    """The text, whether some was left out, and the number of sheets."""
    lines, sheets = Lines(), _sheets(parts)
    try:
        shared = _shared(parts) if _SHARED in parts.names else []
        for title, name in sheets:
            lines.add(f"[sheet {title[:80]}]\n")
            _read(parts, name, shared, lines)
    except Enough:
        return str(lines), True, len(sheets)
    return str(lines), False, len(sheets)


def _sheets(parts: Parts) -> list[tuple[str, str]]:
    """Title and part of each sheet; only parts of this very archive are followed."""
    targets: dict[str, str] = {}
    found: list[tuple[str, str]] = []

    def relation(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship" and attributes.get("TargetMode") != "External":
            targets[attributes.get("Id", "")] = attributes.get("Target", "")

    def sheet(tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            where = next((value for key, value in attributes.items() if key.endswith(":id")), "")
            path = posixpath.normpath(posixpath.join("/xl", targets.get(where, "")))
            found.append((attributes.get("name", ""), path.lstrip("/")))

    names = set(parts.names)
    if _RELATIONS in names:
        parts.parse(_RELATIONS, start=relation)
    parts.parse(_WORKBOOK, start=sheet)
    return [(title, name) for title, name in found if name in names]


def _shared(parts: Parts) -> list[str]:
    shared: list[str] = []
    piece: list[str] = []
    inside, chars = False, 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        inside = tag == "t"
        if tag == "si":
            piece.clear()

    def end(tag: str) -> None:
        nonlocal inside
        inside = False
        if tag == "si":
            shared.append("".join(piece))
            if len(shared) >= MAX_SHARED:
                raise Enough

    def text(more: str) -> None:
        nonlocal chars
        if inside:
            chars += len(more)
            if chars > MAX_SHARED_CHARS:
                raise Enough
            piece.append(more)

    parts.parse(_SHARED, start=start, end=end, text=text)
    return shared


def _read(parts: Parts, name: str, shared: list[str], lines: Lines) -> None:
    cells: list[str] = []
    value: list[str] = []
    kind, inside = "", False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal kind, inside
        if tag == "c":
            kind = attributes.get("t", "")
            value.clear()
        inside = tag in ("v", "t")  # not "f": a formula is not what the reader sees

    def end(tag: str) -> None:
        nonlocal inside
        inside = False
        if tag == "c":
            cells.append(_shown("".join(value), kind, shared))
        elif tag == "row":
            if any(cells):
                lines.add("\t".join(cells) + "\n")
            cells.clear()

    def text(piece: str) -> None:
        if inside:
            value.append(piece)

    parts.parse(name, start=start, end=end, text=text)


def _shown(value: str, kind: str, shared: list[str]) -> str:
    if kind == "s" and value.isascii() and value.isdigit() and len(value) < 10:
        return shared[int(value)] if int(value) < len(shared) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(value, value)
    return value
