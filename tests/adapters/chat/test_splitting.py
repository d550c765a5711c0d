from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.splitting import MIN_LIMIT, clip, split_markdown, split_pieces

LIMITS = st.integers(MIN_LIMIT, 700)
ODD = ["`" * 20, "é" * 40, "\r\n", "word ", "🇩🇪🇫🇷", "\t```", "e\u0301" * 30, "```" + "i" * 61]
TABLE = ["| a | b |\n", "|---|---|\n", "| 1 | 2 |\n", "## b\n"]
MARKERS = ["```", "~~~~", "```py\n", "\n```\n", "> ```\n", "\n", "\n\n", " ", ". ", "x" * 90]
WILD = st.lists(st.sampled_from(MARKERS + ODD + TABLE), max_size=60).map("".join)
PROSE = st.text(st.sampled_from("abc éß. \n"), min_size=1, max_size=400)
CODE = st.builds(
    lambda indent, info, lines: f"{indent}```{info}\n" + "".join(lines) + f"{indent}```\n",
    st.sampled_from(["", "  ", "> "]),
    st.sampled_from(["", "python", "c++ title=x", "l" * 50]),
    st.lists(st.text("ab(){} =", max_size=120).map(lambda line: line + "\n"), max_size=12),
)
DOCUMENT = st.lists(st.one_of(PROSE.map(lambda text: text + "\n"), CODE), max_size=8).map("".join)


def fence_markers(text: str) -> int:
    return sum(line.lstrip(" >").startswith("```") for line in text.split("\n"))


@settings(max_examples=200, deadline=None)
@given(st.one_of(WILD, DOCUMENT, st.text(max_size=900)), LIMITS)
def test_the_bodies_joined_are_the_text_and_no_part_is_over_the_limit(
    text: str, limit: int
) -> None:
    pieces = split_pieces(text, limit)

    assert "".join(piece.body for piece in pieces) == text
    assert all(len(str(piece)) <= limit for piece in pieces)
    assert split_markdown(text, limit) == [str(each) for each in pieces if each.body.strip()]


@settings(max_examples=200, deadline=None)
@given(DOCUMENT, LIMITS)
def test_every_part_of_a_well_formed_text_is_well_formed(text: str, limit: int) -> None:
    for part in split_markdown(text, limit):
        assert fence_markers(part) % 2 == 0


@settings(max_examples=200, deadline=None)
@given(WILD, st.integers(0, 700))
def test_a_preview_keeps_to_its_limit_and_starts_like_the_text(text: str, limit: int) -> None:
    shown = clip(text, limit)

    assert len(shown) <= limit or shown == text
    if len(text) > limit > 0:
        assert text.startswith(shown.partition("…")[0])


@settings(max_examples=100, deadline=None)
@given(DOCUMENT, LIMITS)
def test_a_preview_of_a_well_formed_text_closes_its_fence(text: str, limit: int) -> None:
    if len(text) > limit:
        assert fence_markers(clip(text, limit)) % 2 == 0


def test_a_block_that_begins_right_before_the_cut_of_a_preview_is_left_out() -> None:
    text = "word " * 46 + "\n```python-with-a-very-long-name\ncode\n```\n" + "word " * 20

    assert clip(text, 256) == "word " * 46 + "\n…"


def test_a_code_block_is_closed_at_a_cut_and_reopened_with_its_language() -> None:
    line = "print('one line of code')\n"
    first, second = split_markdown(f"Look:\n```python\n{line * 12}```\nDone.", 256)

    assert first.endswith(line + "```")
    assert second.startswith("```python\n" + line)
    assert second.endswith("```\nDone.")


def test_a_long_info_string_is_not_repeated() -> None:
    _, second = split_markdown("```" + "x" * 50 + "\n" + "code\n" * 60 + "```", 256)

    assert second.startswith("```\ncode\n")


@pytest.mark.parametrize("separator", ["\n\n", "\n", ". ", " "])
def test_a_cut_prefers_the_larger_pause(separator: str) -> None:
    lesser = {"\n\n": "\n", "\n": ". ", ". ": " ", " ": "-"}[separator]
    text = "w" * 150 + separator + "w" * 50 + lesser + "w" * 100

    assert split_markdown(text, 256)[0] == "w" * 150 + separator


def test_a_block_that_begins_at_the_end_of_a_part_moves_to_the_next_one() -> None:
    first, second = split_markdown("w" * 240 + "\n```python\ncode\n```", 256)

    assert first == "w" * 240 + "\n"
    assert second == "```python\ncode\n```"


@pytest.mark.parametrize("whole", ["👩‍👩‍👧", "🇩🇪", "e\u0301", "👍🏽", "\ud83d\ude00", "\r\n"])
def test_a_hard_cut_never_tears_a_character(whole: str) -> None:
    for shift in range(len(whole)):
        parts = split_markdown("x" * (256 - shift) + whole + "y" * 50, 256)
        assert sum(part.count(whole) for part in parts) == 1


def test_a_table_is_kept_whole_or_has_its_head_again() -> None:
    head, rows = "| name | size |\n|---|---|\n", "| a name | 12 |\n" * 30
    before = "word " * 30 + "\n\n"

    kept = split_markdown(before + head + "| a name | 12 |\n" * 8 + "\nThe end.", 256)
    cut = split_markdown(head + rows, 256)

    assert kept == [before, head + "| a name | 12 |\n" * 8 + "\nThe end."]
    assert len(cut) > 1
    assert all(part.startswith(head) for part in cut)
    assert sum(part.count("| a name | 12 |\n") for part in cut) == 30


def test_what_looks_like_a_table_in_code_is_code() -> None:
    rows = "| a name | 12 |\n" * 30

    _, second, *_ = split_markdown("```\n| a | b |\n|---|---|\n" + rows + "```\n", 256)

    assert second.startswith("```\n| a name | 12 |\n")


def test_a_heading_goes_with_what_it_heads() -> None:
    first, second = split_markdown("word " * 46 + "\n\n## Next\n\n" + "text " * 20, 256)

    assert first == "word " * 46 + "\n\n"
    assert second.startswith("## Next\n\ntext")


def test_a_blank_text_has_no_part() -> None:
    assert split_markdown("", 2000) == split_markdown("\n \n" * 900, 2000) == []


def test_a_limit_too_small_for_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        split_markdown("text", 10)


@pytest.mark.parametrize(
    "unit", ["word ", "x", "```\n", "`", "\n", "> ", "👩‍👩‍👧", "\t", "🇩🇪", "|", "|\n|-|\n", "# a\n"]
)
def test_the_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    began = time.process_time()

    split_markdown(text, 2000)
    clip(text, 2000)

    # About 10 ms on a quiet machine, tenfold on a busy one; quadratic work took minutes.
    assert time.process_time() - began < 2
