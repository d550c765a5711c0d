"""Models in GGUF files by llama.cpp in this process; text only."""

from __future__ import annotations

from pathlib import Path

from adapters.models.engine import NO_OPTIONS, EngineOptions
from adapters.models.llama_cpp_engine import LlamaEngine
from adapters.models.local import LocalBackend
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
    """Load the file (or the one GGUF in the folder) off the loop; raises `BackendError`.

    It has four slots unless told otherwise, each with room for a whole context; a slot that
    is not in use keeps its last prompt.
    """
    return await LocalBackend.load(
        name, LlamaEngine, path, template=template, capabilities=capabilities, options=options
    )
