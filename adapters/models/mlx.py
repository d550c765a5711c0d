"""Models on MLX: Hugging Face folders (safetensors), text only; Apple machines first.

`mlx[cpu]` runs the same code on Linux. MLX has no setting for its threads.
"""

from __future__ import annotations

from pathlib import Path

from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.local import LocalBackend
from adapters.models.mlx_engine import MlxEngine
from agents.ports import Capabilities
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
    return await LocalBackend.load(
        name, MlxEngine, path, template=template, capabilities=capabilities, options=options
    )
