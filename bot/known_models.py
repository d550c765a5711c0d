"""What the catalogue knows of a configured route: its limits, its files, and its end."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from adapters.models.catalogue import CatalogueEntry, Cell, catalogue, explain
from adapters.models.memory import check_memory, needed_bytes
from adapters.models.presets import INSTEAD_OF_CLOSED
from adapters.models.pull import is_pulled, loadable, pulled_folder
from agents.errors import RouteRetired
from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from bot.model_sections import LocalEngine
from bot.settings import RouteSection

# What Ollama gives unless told otherwise, and its /v1 can't be told; a safe guess for any
# model whose window neither the operator nor the catalogue names.
CONTEXT_TOKENS = 4096
_CROPS = 16  # the largest setting of Phi-3-vision
_SERVICES = {  # by the end of the host's name; the first that fits counts
    "models.github.ai": "github_models",
    "models.inference.ai.azure.com": "github_models",
    "openai.azure.com": "foundry",
    "services.ai.azure.com": "foundry",
    "integrate.api.nvidia.com": "nvidia",
}


class _Ended(RouteRetired):
    """A service that was switched off: nothing is sent to it any more."""

    def __init__(self, backend: str, model: str, replacement: str, sentence: str) -> None:
        super().__init__(backend, model, replacement)
        self.detail = sentence
        self.args = (f"backend {backend!r}: {sentence}",)


def catalogue_backend(section: RouteSection) -> str:
    """The catalogue's name for what a route speaks to."""
    if section.backend == "onnx_genai" and (section.device or "").lower().startswith("qnn"):
        return "qnn"
    if section.backend == "embedded":
        return "openvino"
    if section.backend != "openai_api":
        return section.backend
    if section.preset:
        return section.preset
    where = urlsplit(section.base_url or "")
    host = where.hostname or ""
    service = next((name for end, name in _SERVICES.items() if _is_under(host, end)), "vllm")
    old = service == "foundry" and where.path.strip("/") == "models"
    return "azure_serverless" if old else service


def known_entry(section: RouteSection) -> CatalogueEntry | None:
    """The route's model in the catalogue, by its name or by its folder's."""
    name = section.model or (section.path.name if section.path else "")
    return catalogue().entry(name, catalogue_backend(section)) if name else None


def capabilities_of(section: RouteSection) -> Capabilities:
    """As the operator set them, else as the catalogue has them, else safe guesses."""
    entry, cell = known_entry(section), _cell(section)
    images = section.max_images
    if images is None:
        images = entry.max_images if entry else 0
    crops = entry.capabilities.num_crops if entry else None
    context = section.context_tokens or (entry.context_tokens if entry else None)
    instead = cell.replacement if cell else None
    return Capabilities(
        context_tokens=context or CONTEXT_TOKENS,
        max_images=images,
        image_tokens=max_image_tokens(crops or _CROPS) if images else 0,
        num_crops=crops if images else None,
        constrained=True,
        exact_counts=section.backend in get_args(LocalEngine),
        retired_on=cell.retired_on if cell else None,
        replacement=str(instead) if instead else None,
    )


def weights_of(section: RouteSection, models: Path) -> Path:
    """The folder or file a local engine loads: as set, as pulled, or below `models`."""
    if section.path:
        return section.path
    if entry := known_entry(section):
        for backend in dict.fromkeys((entry.backend, section.backend)):
            if is_pulled(folder := pulled_folder(models, entry.name, backend)):
                return loadable(folder)
    return models / section.model


def check_room(name: str, section: RouteSection, weights: Path) -> None:
    """Raises `BackendError` when the model does not fit the memory that is free."""
    if section.backend not in get_args(LocalEngine):
        return
    entry = known_entry(section)
    measured = entry.cell.memory_bytes if entry else 0
    if weights.exists():
        check_memory(name, needed_bytes(weights, measured_bytes=measured))


def check_served(name: str, section: RouteSection, *, today: date | None = None) -> None:
    """Raises `RouteRetired` for a service that no longer exists, before anything is sent."""
    service = catalogue_backend(section)
    ended = catalogue().backends.get(service)
    since = ended.retired_on if ended else None
    if since is None or (today or datetime.now(UTC).date()) < since:
        return
    if (cell := _cell(section)) and cell.replacement:
        sentence = explain(section.model, service, cell)
        raise _Ended(name, section.model, str(cell.replacement), sentence)
    title = ended.title if ended else service
    sentence = f"{title} was retired on {since:%Y-%m-%d}; use {INSTEAD_OF_CLOSED}"
    raise _Ended(name, section.model, INSTEAD_OF_CLOSED, sentence)


def _cell(section: RouteSection) -> Cell | None:
    """The route's cell, usable or not."""
    known = catalogue()
    name = known.find(section.model)
    return known.models[name].cells.get(catalogue_backend(section)) if name else None


def _is_under(host: str, end: str) -> bool:
    return host == end or host.endswith(f".{end}")
