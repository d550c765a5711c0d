"""A document as sections under headings, whatever it was written in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

_HASHES = re.compile(r"(#{1,6})\s+(\S.*?)\s*#*")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_ADORNED = re.compile(r"""([=\-~^"'`*+#:.])\1{2,}""")
_ROLE = re.compile(r":[a-z][\w:+.-]*:`(?:([^`<]+?)\s*<[^`>]*>|[!~]?([^`]+))`")
_LINKED = re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{1,2}")
_DIRECTIVE = re.compile(r"\.\.\s+(?:_[^:]+:|[\w:-]+::)\s*")
_OPTION = re.compile(r"\s+:[\w-]+:(\s.*)?")
_SILENT = re.compile(
    r"\.\.\s+(?:_.*|index::.*|module::.*|currentmodule::.*|contents::.*|toctree::.*)"
)


class Section(NamedTuple):
    """What stands under one heading; `path` are the headings above it and its own."""

    path: tuple[str, ...]
    text: str


class Document(NamedTuple):
    """One page; `name` is unique in its source, such as a path below a folder."""

    name: str
    title: str
    url: str  # where people can open it; empty where they can't
    sections: tuple[Section, ...]

    @property
    def digest(self) -> str:
        told = "\n".join((self.title, self.url, *(f"{s.path}\n{s.text}" for s in self.sections)))
        return hashlib.sha256(told.encode(errors="replace")).hexdigest()


def from_markdown(name: str, text: str, *, url: str = "") -> Document:
    """Headings by `#`; what stands in a code fence is none."""
    return _document(name, url, _by_hashes(text.splitlines()))


def from_text(name: str, text: str, *, url: str = "") -> Document:
    """reStructuredText, or plain text: underlined lines are headings, markup loses its signs."""
    return _document(name, url, _by_underlines(_plain(text.splitlines())))


Line = tuple[int, str]  # the heading's level, or 0 for what is none


def _by_hashes(lines: list[str]) -> Iterator[Line]:
    fence = ""
    for line in lines:
        if (mark := _FENCE.match(line)) and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        found = None if fence else _HASHES.fullmatch(line)
        yield (len(found[1]), found[2]) if found else (0, line)


def _by_underlines(lines: list[str]) -> Iterator[Line]:
    """Levels are those in which the document uses its signs, as docutils reads them."""
    levels: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        below = lines[at + 1].rstrip() if at + 1 < len(lines) else ""
        above = _ADORNED.fullmatch(line.rstrip())
        if above and at + 2 < len(lines) and lines[at + 2].rstrip() == line.rstrip() and below:
            style, text, skip = f"over {above[1]}", below.strip(), 3
        elif line.strip() and line[:1].strip() and _underlines(line, below):
            style, text, skip = below[0], line.strip(), 2
        else:
            yield 0, line
            at += 1
            continue
        if style not in levels:
            levels.append(style)
        yield levels.index(style) + 1, text
        at += skip


def _underlines(line: str, below: str) -> bool:
    return bool(_ADORNED.fullmatch(below)) and len(below) >= len(line.rstrip()) - 1


def _plain(lines: list[str]) -> list[str]:
    """Without what only a renderer needs: targets, index entries, options of directives."""
    kept: list[str] = []
    in_directive = False
    for line in lines:
        if _SILENT.fullmatch(line.strip()):
            in_directive = True
            continue
        if in_directive and _OPTION.fullmatch(line):
            continue
        in_directive = bool(_DIRECTIVE.match(line.strip()))
        shown = _DIRECTIVE.sub("", line, count=1) if in_directive else line
        shown = _ROLE.sub(lambda found: (found[1] or found[2]).strip(), shown)
        kept.append(_LINKED.sub(r"\1", shown).replace("``", "`"))
    return kept


def _document(name: str, url: str, lines: Iterator[Line]) -> Document:
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []

    def close() -> None:
        text = "\n".join(body).strip()
        if text:
            sections.append(Section(tuple(heading for _, heading in path), text))
        body.clear()

    for level, text in lines:
        if not level:
            body.append(text)
            continue
        close()
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, " ".join(text.replace("`", "").split())))
    close()
    title = next((each.path[0] for each in sections if each.path), "") or name
    return Document(name, title, url, tuple(sections))
