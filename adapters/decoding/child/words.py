"""The text of a DOCX: paragraphs, tabs, table cells; fields, comments and links are left out."""

from __future__ import annotations

from adapters.decoding.child.markup import Enough, Lines, Parts

_PARTS = ("word/document.xml", "word/footnotes.xml", "word/endnotes.xml")
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_ENDS = {"p": "\n", "tc": " | ", "tr": "\n"}


def text_of(parts: Parts) -> tuple[str, bool]:
    """The text, and whether some was left out."""
    lines, names = Lines(), set(parts.names)
    try:
        for name in _PARTS:
            if name in names:
                _read(parts, name, lines)
    except Enough:
        return str(lines), True
    return str(lines), False


def _read(parts: Parts, name: str, lines: Lines) -> None:
    open_tags = {"t": 0, "tc": 0}

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag in open_tags:
            open_tags[tag] += 1
        elif tag in _BREAKS:
            lines.add(_BREAKS[tag])

    def end(tag: str) -> None:
        if tag in open_tags:
            open_tags[tag] -= 1
        if tag in _ENDS and not (tag == "p" and open_tags["tc"]):
            lines.add(_ENDS[tag])

    def text(piece: str) -> None:
        if open_tags["t"]:
            lines.add(piece)

    parts.parse(name, start=start, end=end, text=text)
