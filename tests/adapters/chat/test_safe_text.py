from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.safe_text import unhidden, visible

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x00b\x07c\u200bd\u00ade\ufefff", "abcdef"),
        ("user\u202egnp.exe\u202c \u2066x\u2069", "usergnp.exe x"),
        ("hi\U000e0069\U000e0067\U000e006e", "hi"),
        ("a" + "\u0301" * 40 + "b", "a" + "\u0301" * 4 + "b"),
    ],
)
def test_what_nobody_can_see_is_taken_out(text: str, shown: str) -> None:
    assert unhidden(text) == shown


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧 👍🏽 ❤️", ENGLAND, "می‌خواهم", "שלום \u200f(1)", "a\n\tb", "e\u0301", "日本語"]
)
def test_what_carries_meaning_stays(text: str) -> None:
    assert unhidden(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_it_never_makes_a_text_longer_and_twice_is_once(text: str) -> None:
    once = unhidden(text)

    assert len(once) <= len(text)
    assert unhidden(once) == once


@pytest.mark.parametrize("unit", ["\x1b[", "\u0301", "\U0001f3f4\U000e0067", "\x1b[3", "a\n", "é"])
@pytest.mark.parametrize("clean", [unhidden, visible])
def test_a_million_characters_are_quick(unit: str, clean: object) -> None:
    assert callable(clean)
    began = time.process_time()
    clean(unit * (1_000_000 // len(unit)))

    assert time.process_time() - began < 10
