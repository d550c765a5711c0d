"""The words of a question that say what it is about."""

from __future__ import annotations

import re

MOST_WORDS = 16
_WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
# The commonest of the languages the bot speaks: they cost the most time and tell the least.
_COMMON_TEXT = """
a about after all also am an and any are as at be because been before but by can could did do
does doing don for from get give go had has have he her here him his how i if in into is it its
just let like make many may me mean might more most much must my need no not now of on one only
or other our out over please possible really same she should so some such take tell than that
the their them then there these they thing things this those to too under up us use used using
very want was way we well were what when where whether which while who whose why will with
without work would you your der die das den dem des ein eine einen einem und oder ist sind war
wie was wo wann warum wer ich du er sie es wir ihr kann man zu im in auf mit von für nicht auch
bei aus nach le la les un une des et ou est sont comment que qui quoi où pourquoi je tu il elle
nous vous dans sur avec de du pour pas au aux el los las una y o es son cómo qué quién dónde
cuándo por para con en no se mi tu os as um uma e é são como que quem onde quando com em não meu
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def words_of(text: str) -> list[str]:
    """In their order and each once; all of them where every one is common."""
    found = list(dict.fromkeys(word.casefold() for word in _WORD.findall(text)))
    telling = [
        word for word in found if word not in _COMMON and (len(word) > 1 or not word.isascii())
    ]
    return (telling or found)[:MOST_WORDS]
