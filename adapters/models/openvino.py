"""Models on OpenVINO GenAI: a GGUF file or an OpenVINO folder, with images where it has them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from adapters.models.local import LocalBackend
from adapters.models.openvino_engine import OpenVinoEngine
from agents.ports import Capabilities
from agents.prompts.templates import TemplateFamily, stop_tags


async def load_openvino(
    name: str,
    path: Path,
    *,
    template: TemplateFamily,
    capabilities: Capabilities,
    device: str = "CPU",
    threads: int | None = None,
    cached_tokens: int | None = None,
) -> LocalBackend:
    """Load the model off the loop; raises `BackendError`.

    `cached_tokens` bounds the memory kept for prompt prefixes and running prompts
    together (default: four whole contexts).
    """
    build = partial(
        OpenVinoEngine,
        path,
        device=device,
        threads=threads,
        cached_tokens=cached_tokens or 4 * capabilities.context_tokens,
        stops=stop_tags(template),
    )
    return await LocalBackend.load(name, build, template=template, capabilities=capabilities)
