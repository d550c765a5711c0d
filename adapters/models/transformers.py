"""Models on torch and transformers: any causal model, and Phi-3-Vision without remote code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adapters.models.crops import crops_of
from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.local import LocalBackend
from adapters.models.transformers_engine import TransformersEngine
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
        crops = crops_of(path)
        capabilities = replace(capabilities, num_crops=crops, image_tokens=max_image_tokens(crops))
    return await LocalBackend.load(
        name,
        TransformersEngine,
        path,
        template=template,
        capabilities=capabilities,
        options=options,
    )
