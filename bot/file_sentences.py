"""What a person is told of a file that was not read, or not whole."""

from __future__ import annotations

from adapters.chat.safe_text import visible
from adapters.chat.sentences import mark, say
from adapters.decoding.errors import FIELDS, FileRefused, Reason

_READABLE = mark(
    "I read pictures (PNG, JPEG, WebP, GIF), PDF, plain text, CSV, Markdown, DOCX, XLSX and the "
    "pictures of videos (MP4, WebM); please send it as one of these."
)
_UNNAMED_KIND = mark("“{name}” is of a type that I don't know.")
_SENTENCES: dict[Reason, str] = {
    "empty": mark("“{name}” is empty (0 bytes). Please send it again."),
    "audio": mark("“{name}” is audio, and I can't listen. Please write down what is said in it."),
    "unknown": mark("“{name}” is of the type {kind}, which I don't read."),
    "mismatch": mark(
        "“{name}” is said to be {claimed}, but holds text. Please send the file anew."
    ),
    "size": mark(
        "“{name}” has {size} MB; I read up to {limit} MB of its type. Please send a smaller file."
    ),
    "pixels": mark(
        "“{name}” has {width} × {height} pixels; the limit is {megapixels} megapixels and {edge} "
        "pixels a side. Please send a smaller picture."
    ),
    "damaged": mark(
        "“{name}” is damaged and can't be read. Please save it anew and send it again."
    ),
    "heavy": mark(
        "“{name}” takes more than {megabytes} MB of memory or {seconds} s to read. Please send a "
        "smaller or simpler file."
    ),
    "locked": mark("“{name}” is locked with a password. Please send it without one."),
    "bomb": mark(
        "“{name}” unpacks to more than {limit} MB, {ratio} times its size or {entries} parts, so I "
        "did not open it. Please send the text itself."
    ),
    "nested": mark(
        "“{name}” holds other archives or paths that lead out of it, so I did not open it. Please "
        "send the document itself."
    ),
    "entities": mark(
        "“{name}” defines XML entities or is nested too deeply, so I did not open it. Please save "
        "it anew and send it again."
    ),
    "blank": mark("“{name}” holds nothing that I can read. Please send its text or a picture."),
    "missing": mark(
        "I can't read “{name}” here: its reader is not installed or does not start. My operator "
        "can install firstline[video] and look into the log."
    ),
}
_UNTOLD = dict.fromkeys(FIELDS, "?")  # a worker that something took over may leave fields out
_CUT = mark("Of “{name}” I read only the beginning, about {tokens} tokens.")
_PART = mark("Of “{name}” I read only {read} of {total} pages.")


def refusal(error: FileRefused, name: str, locale: str) -> str:
    """One sentence, or two where the second says what works."""
    shown = visible(name)[:100]
    fields = {**_UNTOLD, **{each: visible(str(value)) for each, value in error.fields.items()}}
    if error.reason != "unknown":
        return say(locale, _SENTENCES[error.reason], name=shown, **fields)
    sentence = _SENTENCES["unknown"] if error.fields.get("kind") else _UNNAMED_KIND
    return f"{say(locale, sentence, name=shown, **fields)} {say(locale, _READABLE)}"


def cut_short(name: str, locale: str, *, tokens: int) -> str:
    return say(locale, _CUT, name=visible(name)[:100], tokens=f"{tokens:,}")


def pages_left_out(name: str, locale: str, *, read: int, total: int) -> str:
    return say(locale, _PART, name=visible(name)[:100], read=read, total=total)
