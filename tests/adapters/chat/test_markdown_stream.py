from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adapters.chat.markdown_stream import HOLD_CHARS, StableText, TextChanged

MARKS = [
    "**",
    "*",
    "_",
    "~~",
    "`",
    "``",
    "```\n",
    "~~~\n",
    "[",
    "](https://a.example/b)",
    "![",
    "]",
]
LINES = ["# ", "- ", "1. ", "> ", "|", "|-|-|\n", "\n", "\n\n", "<b>", "<", "&amp;", "\\", "\r\n"]
WORDS = [
    "a",
    "word ",
    "日本",
    "👩‍👩‍👧",
    "🇩🇪",
    "\ud83d\ude00",
    "👍🏽",
    "שלום ",
    "https://x.example/y",
    "x" * 90,
]
WILD = st.lists(st.sampled_from(MARKS + LINES + WORDS), max_size=60).map("".join)
ANY = st.one_of(WILD, st.text(max_size=600))

PLAIN = st.text(st.sampled_from("abc déf,. "), min_size=1, max_size=30).map(
    lambda text: text.strip(" ") or "x"
)
INLINE = st.one_of(
    PLAIN,
    PLAIN.map(lambda text: f"**{text}**"),
    PLAIN.map(lambda text: f"*{text}*"),
    PLAIN.map(lambda text: f"~~{text}~~"),
    PLAIN.map(lambda text: f"`{text}`"),
    PLAIN.map(lambda text: f"[{text}](https://a.example/x)"),
)
SENTENCE = st.lists(INLINE, min_size=1, max_size=6).map(" ".join)
CODE = st.lists(PLAIN, max_size=4).map(lambda lines: "\n".join(["```py", *lines, "```\n"]))
TABLE = st.lists(PLAIN, max_size=3).map(
    lambda cells: "| a | b |\n|---|---|\n" + "".join(f"| {each} | 1 |\n" for each in cells)
)
BLOCK = st.one_of(
    SENTENCE.map(lambda text: text + "\n"),
    SENTENCE.map(lambda text: f"## {text}\n"),
    st.lists(SENTENCE, min_size=1, max_size=4).map(
        lambda items: "".join(f"- {item}\n" for item in items)
    ),
    CODE,
    TABLE,
)
DOCUMENT = st.lists(BLOCK, max_size=6).map("\n".join)


def steps(text: str, sizes: list[int]) -> list[str]:
    """The text as it grows by the sizes, over and over."""
    grown: list[str] = []
    at = 0
    while at < len(text):
        at += sizes[len(grown) % len(sizes)]
        grown.append(text[:at])
    return grown


def letters(markdown: str) -> str:
    """What a reader sees: the text of the whole document without its markers."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parts = [part for token in parser.parse(markdown) for part in token.children or [token]]
    return "".join(part.content for part in parts).strip()


@settings(max_examples=200, deadline=None)
@given(ANY, st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_what_was_given_is_always_the_beginning_and_in_the_end_all(
    text: str, sizes: list[int]
) -> None:
    stable, given_out = StableText(), ""
    for whole in steps(text, sizes):
        given_out += stable.feed(whole)
        assert whole.startswith(given_out)
        assert len(whole) - len(given_out) <= HOLD_CHARS + 64
    assert given_out + stable.finish() == text
    assert stable.finish() == ""


@settings(max_examples=200, deadline=None)
@given(DOCUMENT, st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_what_was_given_reads_like_the_beginning_of_the_whole(text: str, sizes: list[int]) -> None:
    stable, given_out, whole_letters = StableText(), "", letters(text)
    for whole in steps(text, sizes):
        given_out += stable.feed(whole)
        shown = letters(given_out)
        assert whole_letters.startswith(shown), (given_out, shown)


@pytest.mark.parametrize(
    ("text", "given_out"),
    [
        ("so **bo", "so "),
        ("so **bold** is", "so **bold** is"),
        ("run `rm", "run "),
        ("see [the pa", "see "),
        ("see [the page](https://a", "see "),
        ("see ![a", "see "),
        ("a <script src", "a "),
        ("1 < 2 and", "1 < 2 and"),
        ("text\n``", "text\n"),
        ("text\n```py", "text\n"),
        ("text\n```py\nx = 1 **", "text\n```py\nx = 1 **"),
        ("```\ncode\n``", "```\ncode\n"),
        ("text\n#", "text\n"),
        ("text\n1", "text\n"),
        ("| a | b |\n", ""),
        ("| a | b |\n|--", ""),
        ("| a | b |\n|--|--|\n| 1", "| a | b |\n|--|--|\n"),
        ("| a | b |\nno table", "| a | b |\nno table"),
        ("go to https://a.example/pa", "go to "),
        ("fish &am", "fish "),
        ("one \\", "one "),
        ("snake_case is", "snake_case is"),
        ("hi 👩\u200d", "hi "),
        ("hi \ud83d", "hi "),
        ("**never closed\n\nnext", "**never closed\n\nnext"),
    ],
)
def test_only_what_is_decided_is_given(text: str, given_out: str) -> None:
    assert StableText().feed(text) == given_out


@pytest.mark.parametrize(
    "opener", ["**", "`", "[", "<b ", "| a ", "```", "https://", "👩\u200d" * 20]
)
def test_nothing_is_held_back_for_ever(opener: str) -> None:
    text = opener + "x" * (HOLD_CHARS + 1)

    assert StableText().feed(text) == text


def test_a_text_that_begins_anew_is_refused() -> None:
    stable = StableText()
    stable.feed("The first answer. ")

    with pytest.raises(TextChanged, match="18 characters"):
        stable.feed("Another answer altogether.")


def test_a_shorter_text_is_refused() -> None:
    stable = StableText()
    stable.feed("The first answer. ")

    with pytest.raises(TextChanged):
        stable.feed("The first")


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "*a_ ",
        "`",
        "` `` ",
        "[",
        "[]",
        "<",
        "|",
        "| a\n",
        "```\n",
        "> ",
        " ",
        "👩‍👩‍👧",
        "&",
        "!",
    ],
)
def test_a_million_characters_take_a_time_that_only_grows_with_them(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    began = time.process_time()
    stable = StableText()
    given_out = [stable.feed(text[:at]) for at in range(50_000, 1_000_001, 50_000)]

    assert "".join(given_out) + stable.finish() == text
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "text", ["**go to https://a.example/b**", "[a page](https://a.example/b)", "`a b`c", "*a* b"]
)
def test_a_span_is_given_whole(text: str) -> None:
    stable = StableText()

    pieces = [stable.feed(text[:at]) for at in range(1, len(text) + 1)] + [stable.feed(text + " ")]
    assert next(filter(None, pieces)).startswith(text.partition(" b")[0])
