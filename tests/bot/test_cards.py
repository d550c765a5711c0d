"""The card shows everything that will be done, and nothing in it can pretend (row G6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.chat.safe_text import unhidden
from agents.events import StepPlanned, Wanted
from bot.cards import MOST_CHARS, CardTooLong, card_of, mixed_words
from tools.contract import ToolCall
from tools.rules import Decision

ANY = st.text(max_size=300)


def wanted(*arguments: dict[str, Any], sources: tuple[str, ...] = ()) -> Wanted:
    calls = tuple(ToolCall(f"1.{n}", "send", each) for n, each in enumerate(arguments, 1))
    decisions = tuple(Decision("press", 4) for _ in calls)
    return Wanted(StepPlanned(1, "", calls, "a", decisions), (), sources)


def blocks(card: str) -> list[str]:
    """What stands in the fences, one text for each."""
    return [part.strip("\n") for part in card.split("```")[1::2]]


@given(st.dictionaries(st.sampled_from(["to", "text", "note"]), ANY, min_size=1))
def test_every_argument_is_in_the_card_whole_and_inside_its_fence(
    arguments: dict[str, Any],
) -> None:
    card = card_of(wanted(arguments), minutes=10, locale="en")
    [shown] = blocks(card)

    assert card.count("```") == 2, "nothing closes the fence"
    assert unhidden(card) == card, "nothing of it is dropped on its way out"
    told = json.loads(shown.removeprefix("send "), strict=False)
    for name, value in arguments.items():
        if value.isprintable():
            assert told[name] == value


@given(st.lists(ANY, max_size=20))
def test_what_was_read_can_not_leave_its_fence_either(sources: list[str]) -> None:
    card = card_of(wanted({"to": "a"}, sources=tuple(sources)), minutes=10, locale="en")
    assert card.count("```") == (4 if sources else 2)
    assert card.endswith("Nothing is done before.")


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u200b", "\u2066", "\x1b[31m", "\x00", "\U000e0041", "\u00ad", "\ufeff"]
)
def test_what_people_can_not_see_is_written_out(hidden: str) -> None:
    card = card_of(wanted({"to": f"a{hidden}b"}), minutes=10, locale="en")
    assert hidden not in card
    assert "⟨U+" in card or "\\u" in card


@pytest.mark.parametrize("word", ["pаypal", "gοogle", "Аdmin", "micrоsoft"])
def test_letters_of_two_alphabets_in_one_word_are_pointed_out(word: str) -> None:
    assert list(mixed_words(f"send to {word} now")) == [word]
    card = card_of(wanted({"to": word}), minutes=10, locale="en")
    assert "several alphabets" in card
    assert word.encode("ascii", "backslashreplace").decode() in card


def test_ordinary_words_of_one_alphabet_are_not_pointed_out() -> None:
    assert list(mixed_words("привет Grüße 你好 hello naïve Ωmega 50µm x²")) in ([], ["Ωmega"])
    assert list(mixed_words("привет Grüße 你好 hello naïve")) == []


def test_what_can_not_be_shown_whole_is_not_shown() -> None:
    card_of(wanted({"to": "x" * (MOST_CHARS - 50)}), minutes=10, locale="en")
    with pytest.raises(CardTooLong):
        card_of(wanted({"to": "x" * MOST_CHARS}), minutes=10, locale="en")
    with pytest.raises(CardTooLong):
        card_of(wanted({"to": "\u202e" * 400}), minutes=10, locale="en")


def test_the_whole_step_is_shown_but_what_the_rules_refuse_anyway() -> None:
    asked = wanted({"to": "a"}, {"to": "b"}, {"to": "c"})
    decisions = (Decision("allow"), Decision("press", 5), Decision("deny", 1))
    planned = StepPlanned(1, "", asked.planned.calls, "a", decisions)
    card = card_of(Wanted(planned, (), ()), minutes=10, locale="en")
    assert ['"a"' in card, '"b"' in card, '"c"' in card] == [True, True, False]
