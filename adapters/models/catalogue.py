"""The models and where they run, as data: `catalogue.toml`, read when first asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from agents.ports import Capabilities
from agents.prompts.image_cost import max_image_tokens
from agents.prompts.templates import TemplateFamily

Status = Literal["works", "built", "retired", "not_possible", "unknown"]
# An image of a family without crops: nothing tells its cost, so it counts as Phi's largest.
_CROPS = 16
# Where a model is pulled for when nothing else decides; the first needs no compiler, no torch.
BACKEND_ORDER = ("openvino", "onnx_genai", "llama_cpp", "mlx", "transformers", "ollama")


class Successor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to use instead: a cell of the same catalogue."""

    model: str
    backend: str

    def __str__(self) -> str:
        return f"{self.model} on {self.backend}"


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model on one backend; the head of the file says what each field means."""

    status: Status
    repository: str = ""
    files: tuple[str, ...] = ()
    folder: str = ""
    id: str = ""
    wheel: str = ""
    context_tokens: int | None = None
    kept_tokens: int | None = None
    max_images: int | None = None
    num_crops: int | None = None
    download_bytes: int = 0
    memory_bytes: int = 0
    retired_on: date | None = None
    replacement: Successor | None = None
    reason: str = ""
    note: str = ""
    source: str

    @property
    def usable(self) -> bool:
        return self.status in ("works", "built")


class BackendInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend; `context_tokens` is what a route on it gets where the operator names none."""

    title: str
    kind: Literal["local", "server", "service"]
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    extra: str = ""
    context_tokens: int | None = None
    unprovable: str = ""
    retired_on: date | None = None  # the service as a whole
    cell: dict[str, object] = {}  # for the models that say nothing of it


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as its makers publish it; `cells` by backend."""

    title: str
    repository: str
    architecture: str
    template: TemplateFamily
    context_tokens: int
    parameters: str
    licence: str
    aliases: tuple[str, ...] = ()
    max_images: int = 0
    num_crops: int | None = None
    cells: dict[str, Cell]

    def answers_to(self, name: str) -> bool:
        """Whether it is known by this name, whatever its case."""
        wanted = name.lower()
        known = {self.title, self.repository, *self.aliases}
        for cell in self.cells.values():
            known |= {cell.id, cell.repository} if cell.usable else set()
        return wanted in {each.lower() for each in known if each}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    backends: dict[str, BackendInfo]
    models: dict[str, Model]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A usable cell with what it takes from its model and backend."""

    name: str
    backend: str
    model: Model
    cell: Cell
    context_tokens: int | None  # of a route where the operator names none
    revision: str = "main"

    @property
    def repository(self) -> str:
        return self.cell.repository

    @property
    def template(self) -> TemplateFamily:
        return self.model.template

    @property
    def licence(self) -> str:
        return self.model.licence

    @property
    def max_images(self) -> int:
        most = self.cell.max_images
        return self.model.max_images if most is None else most

    @property
    def capabilities(self) -> Capabilities:
        crops = self.cell.num_crops or self.model.num_crops
        images = self.max_images
        return Capabilities(
            context_tokens=self.context_tokens or self.model.context_tokens,
            max_images=images,
            image_tokens=max_image_tokens(crops or _CROPS) if images else 0,
            num_crops=crops if images else None,
            constrained=True,
        )

    @property
    def cached_tokens(self) -> int | None:
        """Prompt memory a local engine keeps for the next turns; None: its own choice."""
        return self.cell.kept_tokens

    @property
    def about(self) -> str:
        sizes = [f"{self.model.title}, {self.model.parameters} parameters"]
        if self.cell.download_bytes:
            sizes.append(f"about {gb(self.cell.download_bytes)} to fetch")
        if self.cell.memory_bytes:
            sizes.append(f"needs about {gb(self.cell.memory_bytes)} of memory")
        return "; ".join(filter(None, (", ".join(sizes), self.cell.note)))


@dataclass(frozen=True, slots=True)
class Catalogue:
    backends: dict[str, BackendInfo]
    models: dict[str, Model]

    def find(self, name: str) -> str | None:
        """The catalogue's own name of a model known by this name, with or without a tag."""
        if name.lower() in self.models:
            return name.lower()
        for wanted in (name, name.partition(":")[0]):
            for key, model in self.models.items():
                if model.answers_to(wanted):
                    return key
        return None

    def close_to(self, name: str) -> list[str]:
        """Names like this one, best first."""
        known = [*self.models, *(alias for each in self.models.values() for alias in each.aliases)]
        return difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)

    def entry(self, name: str, backend: str) -> CatalogueEntry | None:
        """The cell where it can be used; `name` as `find` knows it."""
        key = self.find(name)
        cell = self.models[key].cells.get(backend) if key else None
        if key is None or cell is None or not cell.usable:
            return None
        model = self.models[key]
        usual = self.backends[backend].context_tokens
        most = min(usual, model.context_tokens) if usual else None
        return CatalogueEntry(key, backend, model, cell, cell.context_tokens or most)


def explain(model: str, backend: str, cell: Cell) -> str:
    """Why a cell can't be used and what can, in a sentence."""
    date_ = f" on {cell.retired_on:%Y-%m-%d}" if cell.retired_on else ""
    verdict = {
        "retired": f"was retired{date_}",
        "not_possible": "is not possible",
        "unknown": "is not known to work",
    }.get(cell.status, "is possible")
    instead = f"; use {cell.replacement}" if cell.replacement else ""
    return f"{model} on {backend} {verdict}: {cell.reason or cell.note}{instead}"


def gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


@cache
def catalogue() -> Catalogue:
    """The whole catalogue; reading it takes about 10 ms, once."""
    text = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return parse_catalogue(text)


def parse_catalogue(text: str) -> Catalogue:
    """From TOML; raises `msgspec.ValidationError` for a cell, a key or a value that is wrong."""
    tables = msgspec.toml.decode(text)
    backends: dict[str, dict[str, object]] = tables["backends"]
    for model in tables["models"].values():
        cells = model["cells"]
        if unknown := set(cells) - set(backends):
            raise msgspec.ValidationError(f"unknown backends: {sorted(unknown)}")
        for name, backend in backends.items():
            given = cells.get(name, {})
            usual = backend.get("cell")
            if "status" not in given and isinstance(usual, dict):
                cells[name] = usual | given
    file = msgspec.convert(tables, _File)
    return Catalogue(file.backends, file.models)
