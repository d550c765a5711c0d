"""Citations: what is cited was retrieved and says so."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.models.embedders import load_packaged
from agents.citations import Alike, checked, in_other_words, quoted
from bot.knowledge import SAME
from tools.contract import Passage

VACATION = Passage(1, "Vacation", "Vacation", "Every employee has 28 days of vacation a year.")
VPN = Passage(2, "VPN", "VPN › Reset", "Choose VPN and press Reset. A new password comes by SMS.")
BOTH = (VACATION, VPN)


@pytest.mark.parametrize(
    ("answer", "wanted", "cited"),
    [
        ("You have 28 days of vacation [1].", "You have 28 days of vacation. [1]", [1]),
        ("You have 28 days of vacation. [1]", "You have 28 days of vacation. [1]", [1]),
        ("Choose VPN and press Reset [1].", "Choose VPN and press Reset. [1]", [2]),
        ("Choose VPN and press Reset.", "Choose VPN and press Reset. [1]", [2]),
        ("Choose VPN, press Reset [2]. You have 28 days of vacation [9].",
         "Choose VPN, press Reset. [1] You have 28 days of vacation. [2]", [2, 1]),
        ("You have 35 days of vacation a year [1].", "You have 35 days of vacation a year.", []),
        ("The moon is made of green cheese [1].", "The moon is made of green cheese.", []),
        ("Yes.", "Yes.", []),
        ("```\npress Reset [1]\n```", "```\npress Reset [1]\n```", []),
    ],
)  # fmt: skip
def test_a_citation_stands_where_its_passage_says_so(
    answer: str, wanted: str, cited: list[int]
) -> None:
    found = checked(answer, BOTH)

    assert (
        found.text.replace(" .", ".").replace(" [1].", ". [1]").replace(" [2].", ". [2]") == wanted
    )
    assert [each.number for each in found.cited] == cited


def test_tables_and_headings_keep_their_form() -> None:
    table = (
        "# Vacation days\n\n| who | days of vacation |\n| --- | --- |\n| every employee | 28 days |"
    )
    found = checked(table, BOTH)

    assert found.text == table
    assert found.cited == (VACATION,)


def test_the_share_counts_claims_and_not_small_talk() -> None:
    found = checked(
        "Sure! You have 28 days of vacation a year. The kitchen serves lobster on Mondays.", BOTH
    )
    assert (found.claims, found.share) == (2, 0.5)
    assert checked("Sure!", BOTH).share == 1.0


def test_the_documents_own_words_are_the_sentences_nearest_to_the_question() -> None:
    found = quoted("How do I get a new VPN password?", (VPN, VACATION))

    assert found.text.startswith("> ")
    assert "password comes by SMS" in found.text
    assert found.cited == (VPN,)


@given(st.text(max_size=400), st.lists(st.text(max_size=80), max_size=3))
def test_no_answer_cites_what_was_not_retrieved(answer: str, texts: list[str]) -> None:
    passages = [Passage(n, "t", "h", text) for n, text in enumerate(texts, start=1)]
    found = checked(answer, passages)

    assert set(found.cited) <= set(passages)
    assert 0.0 <= found.share <= 1.0
    outside = re.sub(r"```.*?(?:```|\Z)", "", found.text, flags=re.DOTALL)
    marks = {int(mark) for mark in re.findall(r"\[([1-9]\d{0,2})\](?!\()", outside)}
    assert marks <= set(range(1, len(found.cited) + 1))


@given(st.text("ab .[]123\n`", max_size=200))
def test_nothing_of_the_words_is_lost(answer: str) -> None:
    found = checked(answer, BOTH)
    plain = re.compile(r"\[\d{1,3}\]|\s+")
    assert plain.sub("", found.text) == plain.sub("", answer)


SAME_ELSEWHERE = [
    (0, "Sie haben 28 Tage Urlaub im Jahr."),
    (0, "Chaque employé a 28 jours de vacances par an."),
    (1, "Das neue Passwort kommt per SMS."),
    (1, "Wählen Sie VPN und drücken Sie auf Reset."),
]
NOT_THERE = [
    "Sie bekommen zusätzlich einen Firmenwagen.",
    "Das Passwort wird per Post geschickt.",
    "Vacation is only for managers.",
    "Please email your password to the help desk.",
    "Sie haben 30 Tage Urlaub im Jahr.",
]


async def test_what_a_passage_says_in_another_language_is_told_from_what_it_does_not_say() -> None:
    embedder = await load_packaged()
    passages = await embedder.embed([f"{each.heading}\n{each.text}" for each in BOTH], "passage")
    claims = [text for _, text in SAME_ELSEWHERE] + NOT_THERE
    vectors = await embedder.embed(claims, "passage")
    cosines = {
        (claim, each.number): sum(a * b for a, b in zip(mine, theirs, strict=True))
        for claim, mine in zip(claims, vectors, strict=True)
        for each, theirs in zip(BOTH, passages, strict=True)
    }
    alike = Alike(cosines, SAME)
    for place, claim in SAME_ELSEWHERE:
        assert claim in in_other_words(claim, BOTH)
        assert checked(claim, BOTH, alike).cited == (BOTH[place],), claim
    for claim in NOT_THERE:
        assert checked(claim, BOTH, alike).cited == (), claim


def test_figures_must_stand_there_whatever_vectors_say() -> None:
    claim = "Sie haben 30 Tage Urlaub im Jahr."
    assert in_other_words(claim, BOTH) == []
    assert checked(claim, BOTH, Alike({(claim, 1): 1.0}, SAME)).cited == ()
