"""Attachments that lie on this machine's disk, read under a size limit."""

from __future__ import annotations

import stat
from pathlib import Path

from adapters.chat.safe_text import visible
from adapters.chat.types import AttachmentError


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.3g} MB"


def read_capped(path: Path, *, name: str, max_bytes: int) -> bytes:
    """The file's bytes; raises `AttachmentError` when it is gone, no file, or too large."""
    shown = visible(name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or device could block for ever
            raise AttachmentError(f"“{shown}” is not a file. Please attach a file.")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise AttachmentError(
            f"“{shown}” can't be read any more ({error.strerror}). Please attach it again."
        ) from error
    if len(content) > max_bytes:
        raise AttachmentError(too_large(name, max(found.st_size, len(content)), max_bytes))
    return content


def too_large(name: str, size_bytes: int, max_bytes: int) -> str:
    """The sentence for a file over the limit."""
    return (
        f"“{visible(name)}” has {megabytes(size_bytes)}; the limit is {megabytes(max_bytes)}."
        " Please attach a smaller file."
    )
