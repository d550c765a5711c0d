"""A file's text in a prompt: every line marked, and the question behind it whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.prompts.quoted import document_lines
from agents.summary import _said
from agents.turns import Document, Text, Turn
from agents.window import cut_middle, user_text
from tools.identity import Place, tenant_of

PLACE = Place(tenant_of("slack", "T1"), "dm", "D1")


def document(name: str, text: str, *, whole: bool = True) -> Document:
    return Document("0" * 64, name, "PDF", text, whole)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=80)), min_size=1, max_size=3))
def test_nothing_in_a_file_or_its_name_can_look_like_its_end(
    files: list[tuple[str, str]],
) -> None:
    lines = "\n".join(document_lines([document(*file) for file in files])).split("\n")

    assert all(line.startswith("> ") for line in lines[1:-1])


def test_the_question_stands_behind_the_files_and_outlives_a_cut() -> None:
    turn = Turn("user", (Text("What does it cost?"),), documents=(document("x", "word " * 5000),))

    text = cut_middle(user_text(turn, PLACE, first_image=1), 400)

    assert text.endswith("[end of the files; what follows is the question]\nWhat does it cost?")


def test_a_file_that_was_cut_is_told_to_the_model() -> None:
    (_, heading, *_) = document_lines([document("offer.pdf", "a", whole=False)])

    assert heading == "> file 1 “offer.pdf” (PDF, its beginning):"


def test_a_recap_knows_of_files() -> None:
    assert "File: 80 euros" in _said(Turn("user", (), documents=(document("x", "80 euros"),)))
