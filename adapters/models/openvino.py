"""Models on OpenVINO GenAI: a GGUF file or an OpenVINO folder, with images where it has them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.local import LocalBackend
from adapters.models.openvino_engine import OpenVinoEngine
from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from agents.prompts.templates import TemplateFamily, stop_tags

_DEFAULT_CROPS = 4  # the engine's own, where the folder names none


class _Preprocessor(msgspec.Struct):
    num_crops: int = _DEFAULT_CROPS


async def load(
    name: str,
    path: Path,
    *,
    template: TemplateFamily,
    capabilities: Capabilities,
    options: EngineOptions = NO_OPTIONS,
) -> LocalBackend:
    """Load the model off the loop; raises `BackendError`.

    It keeps four whole contexts of prompt prefixes unless told otherwise.
    """
    if template == "phi3_vision":
        # The most it can cost: 2026.4.1 swaps the sides of an image that is not square, so
        # the formula holds for a side's crops only (a banner of 1 x 4 costs 781, not 745).
        most = max_image_tokens(crops_of(path))
        capabilities = replace(capabilities, num_crops=None, image_tokens=most)
    build = partial(
        OpenVinoEngine,
        path,
        options=options,
        context_tokens=capabilities.context_tokens,
        stops=stop_tags(template),
    )
    return await LocalBackend.load(name, build, template=template, capabilities=capabilities)


def crops_of(folder: Path) -> int:
    """Into how many crops the folder's own settings have an image cut."""
    try:
        settings = (folder / "preprocessor_config.json").read_bytes()
        return max(msgspec.json.decode(settings, type=_Preprocessor).num_crops, 1)
    except (OSError, msgspec.MsgspecError):
        return _DEFAULT_CROPS
