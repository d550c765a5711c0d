"""What a person is told of a file that was not read, in every language."""

from __future__ import annotations

import string

import pytest

from adapters.chat.sentences import LANGUAGES
from adapters.decoding.errors import REASONS, FileRefused, Reason
from adapters.models.openai_wire import estimate_tokens
from bot.attachments import within_tokens
from bot.file_sentences import _SENTENCES, refusal

FIELDS: dict[str, str | int] = {"kind": "ZIP", "claimed": "image/png", "size": "12", "limit": 10}
FIELDS |= {"width": 40_000, "height": 30_000, "megapixels": 25, "edge": 12_000}
FIELDS |= {"megabytes": 512, "seconds": 10, "ratio": 100, "entries": 2_000}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_names_the_file_in_every_language(reason: Reason, language: str) -> None:
    wanted = {name for _, name, _, _ in string.Formatter().parse(_SENTENCES[reason]) if name}
    fields = {name: value for name, value in FIELDS.items() if name in wanted}

    sentence = refusal(FileRefused(reason, **fields), "offer.bin", language)

    assert "offer.bin" in sentence
    assert all(str(value) in sentence for value in fields.values())


def test_an_unknown_type_is_told_what_works() -> None:
    sentence = refusal(FileRefused("unknown", kind=""), "x", "en")

    assert sentence.startswith("“x” is of a type that I don't know. I read pictures")
    assert "DOCX" in sentence


def test_a_name_cannot_hide_characters_in_the_sentence() -> None:
    sentence = refusal(FileRefused("audio"), "a\u202egpj.exe" + "x" * 500, "en")

    assert "\u202e" not in sentence
    assert len(sentence) < 250


@pytest.mark.parametrize(
    ("text", "tokens"), [("word " * 1000, 100), ("漢字" * 500, 50), ("a\nb\n", 9)]
)
def test_a_text_is_cut_to_its_tokens(text: str, tokens: int) -> None:
    kept = within_tokens(text, tokens)

    assert text.startswith(kept)
    assert estimate_tokens(kept) <= tokens
    assert kept == text or estimate_tokens(kept) > tokens * 0.7


def test_no_tokens_left_is_no_text() -> None:
    assert within_tokens("some text", 0) == ""
