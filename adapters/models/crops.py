"""Into how many crops a vision model has an image cut."""

from __future__ import annotations

from pathlib import Path

import msgspec

_DEFAULT_CROPS = 4  # the engines' own, where the folder names none


class _Preprocessor(msgspec.Struct):
    num_crops: int = _DEFAULT_CROPS


def crops_of(folder: Path) -> int:
    """As the folder's own settings say."""
    try:
        settings = (folder / "preprocessor_config.json").read_bytes()
        return max(msgspec.json.decode(settings, type=_Preprocessor).num_crops, 1)
    except (OSError, msgspec.MsgspecError):
        return _DEFAULT_CROPS
