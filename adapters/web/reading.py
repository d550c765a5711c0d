"""The readable text of a page: what a person would see, without what makes it move."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from adapters.web.client import Page

MAX_BYTES = 24 * 1024  # beneath what a tool's result may have
_CUT = "\n[cut: the page is longer]"
_UNSEEN = frozenset(
    {"script", "style", "noscript", "template", "svg", "head", "iframe", "object", "select"}
)
_BLOCKS = frozenset(
    {
        *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "form"),
        *("ul", "ol", "table", "tr", "pre", "blockquote", "dl", "dt", "dd", "figure", "br", "hr"),
    }
)
_HEADINGS = {f"h{n}": "#" * n for n in range(1, 7)}
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "source", "wbr", "area", "col"})
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MANY_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t\r\f\v]+")


def readable(page: Page) -> str:
    """The page's text with its title first, at most `MAX_BYTES`; links without their addresses."""
    text = page.text
    if page.media_type in ("text/html", "application/xhtml+xml"):
        reader = _Reader()
        reader.feed(text)
        reader.close()
        text = reader.text()
    raw = text.strip().encode(errors="replace")
    if len(raw) <= MAX_BYTES:
        return raw.decode()
    return raw[:MAX_BYTES].decode(errors="ignore") + _CUT


def readable_html(text: str) -> tuple[str, str]:
    """A page's title, and all of its text with headings as Markdown's."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.parts()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[tuple[str, bool]] = []  # tag, and whether it hides what is in it
        self._title: list[str] = []

    def text(self) -> str:
        title, found = self.parts()
        return f"{title}\n\n{found}" if title else found

    def parts(self) -> tuple[str, str]:
        body = "".join(self._parts)
        lines = (_SPACES.sub(" ", line).strip() for line in body.split("\n"))
        title = " ".join("".join(self._title).split())
        found = _MANY_LINES.sub("\n\n", "\n".join(lines)).strip()
        return title, found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append((tag, tag in _UNSEEN or _hides(dict(attrs))))
        if tag in _HEADINGS:
            self._say(f"\n\n{_HEADINGS[tag]} ")
        elif tag == "li":
            self._say("\n- ")
        elif tag in ("td", "th"):
            self._say(" | ")
        elif tag in _BLOCKS:
            self._say("\n")

    def handle_endtag(self, tag: str) -> None:
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at][0] == tag:
                del self._open[at:]
                break
        if tag in _HEADINGS or tag in _BLOCKS:
            self._say("\n")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title":
            self._title.append(data)
        else:
            self._say(data)

    def _say(self, text: str) -> None:
        if not any(hides for _, hides in self._open):
            self._parts.append(text)


def _hides(attributes: dict[str, str | None]) -> bool:
    """What a person does not see must not speak to the model either."""
    style = attributes.get("style") or ""
    hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    return hidden or bool(_HIDDEN_STYLE.search(style))
