"""Models on ONNX Runtime GenAI: text, pictures, and Qualcomm's NPU by the device "qnn"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.local import LocalBackend
from adapters.models.onnx_genai_engine import GenaiEngine
from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from agents.prompts.templates import TemplateFamily

NUM_CROPS = 16  # always: it ignores the folder's own number (facts: phi.md 1.6)


async def load(
    name: str,
    path: Path,
    *,
    template: TemplateFamily,
    capabilities: Capabilities,
    options: EngineOptions = NO_OPTIONS,
) -> LocalBackend:
    """Load the model off the loop; raises `BackendError`.

    It keeps four conversations' prompts unless told otherwise, each with room for a context.
    """
    if template == "phi3_vision":
        most = max_image_tokens(NUM_CROPS)
        capabilities = replace(capabilities, num_crops=NUM_CROPS, image_tokens=most)
    return await LocalBackend.load(
        name, GenaiEngine, path, template=template, capabilities=capabilities, options=options
    )
