"""What a file is, by its first bytes; names and claimed types only ever make it refused."""

from __future__ import annotations

import re
from typing import Literal, get_args

Kind = Literal["PNG", "JPEG", "WEBP", "GIF", "PDF", "OFFICE", "MP4", "WEBM", "TEXT"]
Family = Literal["pictures", "pages", "documents", "videos"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AUDIO = "audio"

_MIB = 1024 * 1024
_FAMILIES: dict[Kind, Family] = {
    "PDF": "pages",
    "OFFICE": "documents",
    "TEXT": "documents",
    "MP4": "videos",
    "WEBM": "videos",
}
_MAX_BYTES: dict[Kind, int] = {"PNG": 10 * _MIB, "JPEG": 10 * _MIB, "WEBP": 10 * _MIB}
_MAX_BYTES |= {"GIF": 10 * _MIB, "TEXT": 5 * _MIB}
MOST_BYTES = 20 * _MIB

_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "OFFICE"),
)
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A "})
_PICTURE_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"})
_AUDIO_STARTS: tuple[bytes, ...] = (
    b"ID3",
    b"OggS",
    b"fLaC",
    b"#!AMR",
    b"\xff\xfb",
    b"\xff\xf3",
    b"\xff\xf2",
)
_AUDIO_STARTS += (b"\xff\xf1", b"\xff\xf9", b"MThd", b"FORM")
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x05\x06", "ZIP"),
    (b"7z\xbc\xaf\x27\x1c", "7Z"),
    (b"Rar!", "RAR"),
    (b"\x1f\x8b", "GZIP"),
    (b"BZh", "BZIP2"),
    (b"\xfd7zXZ", "XZ"),
    (b"8BPS", "PSD"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"icns", "ICNS"),
    (b"SIMPLE  =", "FITS"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%!PS", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "DOC, XLS or PPT"),
    (b"\x7fELF", "ELF"),
    (b"MZ", "EXE"),
    (b"FLV", "FLV"),
    (b"SQLite format 3\0", "SQLite"),
)
_MARKUP = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*+(?:<\?xml[^>]*>\s*+)?"
    rb"(?:<!--.*?-->\s*+|<!DOCTYPE[^>]*>\s*+)*+<(?:\w+:)?svg[\s/>]",
    re.IGNORECASE | re.DOTALL,
)
_SNIFFED = 4096
_BOMS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def kind_of(data: bytes) -> Kind | None:
    """The kind that could be read, by content; None for everything else."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return None if data[8:12] in _AUDIO_BRANDS | _PICTURE_BRANDS else "MP4"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "WEBM" if b"webm" in data[:64] else None
    return "TEXT" if other_name(data) == "" and _is_text(data[:_SNIFFED]) else None


def other_name(data: bytes) -> str:
    """The common name of a kind that is not read: `audio`, `ZIP`; empty when unknown."""
    if data.startswith(_AUDIO_STARTS) or data[4:12] in {b"ftyp" + one for one in _AUDIO_BRANDS}:
        return AUDIO
    if data[:4] == b"RIFF":
        return {b"WAVE": AUDIO, b"AVI ": "AVI"}.get(data[8:12], "RIFF")
    if data[4:8] == b"ftyp" and data[8:12] in _PICTURE_BRANDS:
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "MKV"
    if data[257:262] == b"ustar":
        return "TAR"
    if _MARKUP.match(data[:_SNIFFED]):
        return "SVG"
    return next((name for start, name in _OTHERS if data.startswith(start)), "")


def family_of(kind: Kind) -> Family:
    return _FAMILIES.get(kind, "pictures")


def max_bytes_of(kind: Kind) -> int:
    return _MAX_BYTES.get(kind, MOST_BYTES)


def contradicts(kind: Kind, claimed: str) -> bool:
    """Text where the platform claims pictures, sound or a document: a sign-in page, mostly."""
    if kind != "TEXT":
        return False
    main = claimed.partition(";")[0].strip().casefold()
    return main.startswith(("image/", "audio/", "video/")) or main in (
        "application/pdf",
        "application/zip",
    ) or "openxmlformats" in main  # fmt: skip


def _is_text(head: bytes) -> bool:
    return head.startswith(_BOMS) or (bool(head) and not _CONTROL.search(head))
