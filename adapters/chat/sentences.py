"""The bot's own sentences in the languages it speaks, by gettext; a model's words never pass here.

The sentence as it reads in English is its key. Catalogs lie in `locale/`, compiled.
"""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Literal, get_args

Language = Literal["en", "de", "fr", "es", "pt", "zh", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
DOMAIN = "firstline"
FOLDER = Path(__file__).parent / "locale"


def language_of(locale: str) -> Language | None:
    """`pt-BR` and `pt_PT` as `pt`; None for what the bot does not speak."""
    wanted = locale.replace("_", "-").partition("-")[0].casefold()
    return next((each for each in LANGUAGES if each == wanted), None)


def mark(sentence: str) -> str:
    """The sentence itself: it is said later, and its translations are looked for here."""
    return sentence


def say(locale: str, sentence: str, **fields: object) -> str:
    """The sentence in the language of `locale`, its `{fields}` filled in; else in English."""
    told = _catalog(language_of(locale) or "en").gettext(sentence)
    return told.format(**fields) if fields else told


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, languages=[language], fallback=True)
