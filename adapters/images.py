"""Turns a stranger's picture into clean pixels: one picture, in a sandbox of its own if need be."""

from __future__ import annotations

from adapters.decoding.errors import FileRefused
from adapters.decoding.files import MAX_SIDE, Picture, decode_file
from adapters.decoding.kinds import family_of, kind_of
from adapters.decoding.sandbox import Sandbox

PreparedImage = Picture
ImageRefused = FileRefused


async def prepare_image(
    data: bytes, *, max_side: int = MAX_SIDE, sandbox: Sandbox | None = None
) -> PreparedImage:
    """Check, decode, shrink and re-encode the first frame; raises `ImageRefused`."""
    kind = kind_of(data)
    if kind is not None and family_of(kind) != "pictures":
        raise ImageRefused("unknown", kind=kind)
    if sandbox is not None:
        return (await decode_file(data, sandbox, max_side=max_side, frames=1)).pictures[0]
    async with Sandbox(size=1) as own:
        return (await decode_file(data, own, max_side=max_side, frames=1)).pictures[0]
