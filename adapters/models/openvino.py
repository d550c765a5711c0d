"""Models on OpenVINO GenAI: a GGUF file or an OpenVINO folder, with images where it has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adapters.models.crops import crops_of
from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.local import LocalBackend
from adapters.models.openvino_engine import OpenVinoEngine
from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from agents.prompts.templates import TemplateFamily


async def load(
    name: str,
    path: Path,
    *,
    template: TemplateFamily,
    capabilities: Capabilities,
    options: EngineOptions = NO_OPTIONS,
) -> LocalBackend:
    """Load the model off the loop; raises `BackendError`."""
    if template == "phi3_vision":
        # The most it can cost: 2026.4.1 swaps the sides of an image that is not square, so
        # the formula holds for a side's crops only (a banner of 1 x 4 costs 781, not 745).
        most = max_image_tokens(crops_of(path))
        capabilities = replace(capabilities, num_crops=None, image_tokens=most)
    return await LocalBackend.load(
        name, OpenVinoEngine, path, template=template, capabilities=capabilities, options=options
    )
