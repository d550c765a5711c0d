"""What an image costs in tokens, told from its size before any pixel is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from agents.ports import Capabilities, ImageData, PromptMessage

_CROP = 336  # CLIP ViT-L/14 reads squares of this side: 24x24 patches, merged two by two
_CROP_TOKENS = 144
_ROW_TOKENS = 12  # a learned separator after each of a crop's rows
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # the SOFn markers
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def cost_of(image: ImageData, capabilities: Capabilities) -> int:
    """Tokens of this image: by the model's crops, else what `capabilities` says of any image.

    A header that can't be read costs the most that any image can.
    """
    if capabilities.num_crops is None:
        return capabilities.image_tokens
    size = size_of(image)
    crops = capabilities.num_crops
    return image_tokens(*size, crops) if size else max_image_tokens(crops)


def images_cost(messages: Iterable[PromptMessage], capabilities: Capabilities) -> int:
    """Tokens of all images of a prompt."""
    return sum(cost_of(image, capabilities) for message in messages for image in message.images)


def image_tokens(width: int, height: int, num_crops: int) -> int:
    """Tokens of one image in Phi-3-vision and Phi-3.5-vision.

    The image, landscape, is scaled to the most columns with columns·rows ≤ `num_crops` and
    padded to whole crops; one more crop shows all of it. Small images are enlarged.
    """
    if min(width, height, num_crops) < 1:
        raise ValueError(f"an image of {width}x{height} in {num_crops} crops has no size")
    long, short = max(width, height), min(width, height)
    columns = 1
    while (columns + 1) * _up((columns + 1) * short, long) <= num_crops:
        columns += 1
    scaled = columns * _CROP * short // long  # the model's code cuts to whole pixels first
    rows = max(_up(scaled, _CROP), 1)
    down = rows if width >= height else columns
    return (columns * rows + 1) * _CROP_TOKENS + 1 + (down + 1) * _ROW_TOKENS


def max_image_tokens(num_crops: int) -> int:
    """No image costs more: one crop wide and `num_crops` high is the worst."""
    return (num_crops + 1) * (_CROP_TOKENS + _ROW_TOKENS) + 1


def size_of(image: ImageData) -> tuple[int, int] | None:
    """Width and height from a PNG's or JPEG's header; None when it has none."""
    try:
        return _png_size(image.data) or _jpeg_size(image.data)
    except (struct.error, IndexError):
        return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height) if width and height else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks the segments up to the frame's: marker, length, then depth, height, width."""
    if not data.startswith(_JPEG):
        return None
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height else None
        if marker == 0xFF:  # fill bytes may come before any marker
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _up(number: int, by: int) -> int:
    return -(-number // by)
