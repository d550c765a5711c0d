"""Plain text, and the text of DOCX and XLSX by `zipfile` and Expat alone.

Office libraries read far more than the text (relations, drawings, macros); the fewer parsers
a stranger's bytes reach, the better. Whatever needs a DTD is refused: entities can't be.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from xml.parsers import expat

from adapters.decoding.child import sheets, words
from adapters.decoding.child.markup import Parts
from adapters.decoding.child.wire import MAX_TEXT_CHARS, Job, Made, Refusal

MAX_ENTRIES = 2_000
MAX_UNPACKED_BYTES = 100 * 1024 * 1024
MAX_RATIO = 100
SMALL_BYTES = 1024 * 1024  # below this a ratio says nothing
_ARCHIVES: tuple[str, ...] = (
    ".zip",
    ".jar",
    ".7z",
    ".rar",
    ".gz",
    ".bz2",
    ".xz",
    ".tar",
    ".tgz",
    ".docx",
)
_ARCHIVES += (".xlsx", ".pptx", ".docm", ".xlsm", ".odt", ".epub")
_EMBEDDED = ("word/embeddings/", "xl/embeddings/")  # a chart's numbers; left closed
ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    expat.ExpatError,
    NotImplementedError,
)
ERRORS += (OSError, ValueError, EOFError, KeyError, IndexError, RuntimeError, OverflowError)


def warm() -> None:
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "cp437"):
        "x".encode(codec).decode(codec)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<d><t>x</t></d>")
    read(Job("OFFICE", out.getvalue(), 1, 1))


def read(job: Job) -> Made:
    return _plain(job.data) if job.kind == "TEXT" else _office(job.data)


def _plain(data: bytes) -> Made:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise Refusal("damaged")
    return Made("TEXT", text=text[:MAX_TEXT_CHARS], cut=len(text) > MAX_TEXT_CHARS)


def _office(data: bytes) -> Made:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        _check(entries, len(data))
        parts = Parts(archive, MAX_UNPACKED_BYTES)
        names = {entry.filename for entry in entries}
        if "word/document.xml" in names:
            text, cut = words.text_of(parts)
            return Made("DOCX", text=text, cut=cut)
        if "xl/workbook.xml" in names:
            text, cut, count = sheets.text_of(parts)
            return Made("XLSX", text=text, cut=cut, total=count, read=count)
    raise Refusal("unknown", kind="ZIP")


def _check(entries: list[zipfile.ZipInfo], packed: int) -> None:
    """By the directory alone, before a byte is unpacked; reading counts again."""
    unpacked = sum(entry.file_size for entry in entries)
    too_dense = unpacked > SMALL_BYTES and unpacked > MAX_RATIO * packed
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES or too_dense:
        limit = MAX_UNPACKED_BYTES // 1024**2
        raise Refusal("bomb", limit=limit, ratio=MAX_RATIO, entries=MAX_ENTRIES)
    for entry in entries:
        name = entry.filename
        if entry.flag_bits & 0x1:
            raise Refusal("locked")
        leads_out = name.startswith(("/", "\\")) or ".." in name.split("/") or ":" in name
        if leads_out or stat.S_ISLNK(entry.external_attr >> 16):
            raise Refusal("nested")
        if name.casefold().endswith(_ARCHIVES) and not name.startswith(_EMBEDDED):
            raise Refusal("nested")
