"""The catalogs: every sentence in every language, its fields kept, and compiled as written."""

from __future__ import annotations

import string
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.sentences import DOMAIN, FOLDER, LANGUAGES, language_of, say
from agents import planner, window

ROOT = Path(__file__).parents[3]
TRANSLATED = tuple(language for language in LANGUAGES if language != "en")
# Sentences of the layers below, which know no language: the bot says them where they arrive.
_FROM_BELOW = (
    planner.NO_MODEL,
    planner.NO_LOCAL,
    planner.NO_ROOM,
    planner.NO_STEP,
    planner.NOTHING_SAID,
    planner.TOO_LONG,
    "from the demonstration model",
    window.CUT_NOTE,
)


@cache
def spoken() -> frozenset[str]:
    """Every sentence that the code says."""
    found = set(_FROM_BELOW)
    for folder in ("bot", "adapters/chat"):
        for file in (ROOT / folder).rglob("*.py"):
            keywords = {"say": (2,), "mark": None}
            for _, sentence, _, _ in extract_from_file("python", file, keywords=keywords):
                found.add(str(sentence))
    return frozenset(found)


def catalog_file(language: str, ending: str) -> Path:
    return FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.{ending}"


@cache
def catalog(language: str) -> Catalog:
    with catalog_file(language, "po").open("rb") as file:
        return read_po(file, locale=language)


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_of_the_code_is_in_the_catalog(language: str) -> None:
    told = {str(each.id) for each in catalog(language) if each.id and each.string}

    assert spoken() - told == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_fields_and_the_commands_of_its_sentence(language: str) -> None:
    for each in catalog(language):
        if each.id:
            sentence, translated = str(each.id), str(each.string)
            assert fields(translated) == fields(sentence), sentence
            commands = {word for word in sentence.split("`")[1::2] if word.startswith("/")}
            names = {command.split()[0] for command in commands if "name" not in command}
            assert all(f"`{name}" in translated for name in names), sentence


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalog_is_that_of_the_text(language: str) -> None:
    compiled = BytesIO()
    write_mo(compiled, catalog(language))

    assert catalog_file(language, "mo").read_bytes() == compiled.getvalue()


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        *(("pt-BR", "pt"), ("pt_PT", "pt"), ("zh-CN", "zh"), ("zh-Hant-TW", "zh")),
        *(("en-GB", "en"), ("DE", "de"), ("ja", "ja"), ("it", None), ("", None)),
    ],
)
def test_a_platforms_locale_names_a_language(locale: str, language: str | None) -> None:
    assert language_of(locale) == language


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from(sorted(spoken())))
def test_any_locale_gets_a_sentence(locale: str, sentence: str) -> None:
    values = dict.fromkeys(fields(sentence), "{x}")

    assert say(locale, sentence, **values).strip()
    assert say("en", sentence, **values) == sentence.format(**values)
