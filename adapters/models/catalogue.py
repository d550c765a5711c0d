"""The models `firstline models pull` knows, as data."""

from __future__ import annotations

from dataclasses import dataclass

from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from agents.prompts.templates import TemplateFamily


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    name: str
    repository: str  # on the hub
    template: TemplateFamily
    capabilities: Capabilities
    about: str
    cached_tokens: int  # prompt memory; see `OpenVinoBackend.load`
    revision: str = "main"
    licence: str = "MIT"


# Context: the model takes 128K; this is what two cores read in bearable time, and what the
# prompt memory is sized for (about 0.2 MB a token).
_PHI35 = CatalogueEntry(
    name="phi-3.5-mini",
    repository="OpenVINO/Phi-3.5-mini-instruct-int4-ov",
    template="phi3",
    capabilities=Capabilities(context_tokens=8192, constrained=True),
    about="Phi-3.5-mini, 3.8 billion parameters, int4; needs about 6 GB of memory",
    cached_tokens=16_384,
)
# An image's bound is for 16 crops; loading narrows it to what the export says (usually 4).
_PHI35_VISION = CatalogueEntry(
    name="phi-3.5-vision",
    repository="OpenVINO/Phi-3.5-vision-instruct-int4-ov",
    template="phi3_vision",
    capabilities=Capabilities(
        context_tokens=8192, max_images=2, image_tokens=max_image_tokens(16), constrained=True
    ),
    about="Phi-3.5-Vision, 4.2 billion parameters, int4; needs about 6 GB of memory",
    cached_tokens=8192,
)

CATALOGUE: dict[str, CatalogueEntry] = {entry.name: entry for entry in (_PHI35, _PHI35_VISION)}
