"""`firstline models pull`: the download as a person sees it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from adapters.models.catalogue import BACKEND_ORDER, CatalogueEntry, catalogue, gb
from adapters.models.hub import HUB_URL
from adapters.models.memory import available_bytes
from adapters.models.ollama import OLLAMA_URL
from adapters.models.ollama_pull import pull_with_ollama
from adapters.models.pull import PullProgress, find_entry, pull, pulled_files, pulled_folder
from bot.routes import ollama_url
from bot.settings import Settings

_BY_OLLAMA = "ollama:"


async def pull_for(settings: Settings, name: str, *, backend: str | None = None) -> int:
    """As `pull_model`, into the folder and for the engines of these settings."""
    model = catalogue().find(name)
    asking = (each for each in settings.routes.values() if each.model)
    configured = [each.backend for each in asking if model == catalogue().find(each.model)]
    return await pull_model(
        name,
        settings.data_dir / "models",
        backend=backend,
        configured=configured,
        ollama_url=ollama_url(settings),
    )


async def pull_model(
    name: str,
    folder: Path,
    *,
    backend: str | None = None,
    configured: Sequence[str] = (),
    base_url: str = HUB_URL,
    console: Console | None = None,
    ollama_url: str = OLLAMA_URL,
) -> int:
    """Fetch a model below `folder`, or `ollama:NAME` into an Ollama; raises `PullError`.

    `configured` are the backends of routes that ask for this model; they come first where
    none is named.
    """
    console = console or Console(stderr=True)
    if name.startswith(_BY_OLLAMA):
        return await _pull_by_ollama(name.removeprefix(_BY_OLLAMA), ollama_url, console)
    chosen = backend or preferred_backend(name, configured)
    if chosen == "ollama" and (id_ := _ollama_id(name)):
        return await _pull_by_ollama(id_, ollama_url, console)
    entry = find_entry(name, chosen)
    console.print(f"{entry.about}. Licence: {entry.licence}. From {entry.repository}.")
    _warn_of_memory(entry, console)
    with _bar(console) as bar:
        whole = bar.add_task(entry.name, total=None)

        def show(step: PullProgress) -> None:
            bar.update(
                whole,
                description=step.file,
                total=step.total_bytes,
                completed=step.done_bytes,
            )

        target = pulled_folder(folder, entry.name, chosen)
        path = await pull(entry.name, target, backend=chosen, base_url=base_url, progress=show)
    for file in pulled_files(path):
        console.print(f"{file.path}  {decimal(file.size)}  {file.hash}", highlight=False)
    console.print(f"Every hash matched. Ready in {path}. {_next_step(entry)}")
    return 0


def preferred_backend(name: str, configured: Sequence[str] = ()) -> str:
    """A configured backend, else the first installed one that has weights of the model."""
    known = catalogue()
    having = [
        each
        for each in BACKEND_ORDER
        if (entry := known.entry(name, each)) and (entry.repository or each in configured)
    ]
    asked = [each for each in having if each in configured]
    here = [each for each in having if is_installed(each)]
    return next(iter([*asked, *here, *having]), BACKEND_ORDER[0])


def is_installed(backend: str) -> bool:
    """Whether the backend's Python packages are there; servers need none."""
    return all(find_spec(each) for each in catalogue().backends[backend].modules)


def _ollama_id(name: str) -> str:
    entry = catalogue().entry(name, "ollama")
    return entry.cell.id if entry else ""


def _warn_of_memory(entry: CatalogueEntry, console: Console) -> None:
    needed = max(entry.cell.memory_bytes, entry.cell.download_bytes)
    free = available_bytes()
    if free is not None and needed > free:
        said = f"It needs about {gb(needed)} of memory and {gb(free)} are free here now."
        console.print(f"WARNING: {said} It will be refused until there is room.", style="bold red")


def _next_step(entry: CatalogueEntry) -> str:
    if entry.backend == "openvino" and entry.name in ("phi-3.5-mini", "phi-3.5-vision"):
        return "Start: firstline run"
    route = f'backend = "{entry.backend}", model = "{entry.name}"'
    return f"Name it in a route of firstline.toml: {route}"


async def _pull_by_ollama(model: str, url: str, console: Console) -> int:
    with _bar(console) as bar:
        whole = bar.add_task(model, total=None)

        def show(step: PullProgress) -> None:
            bar.update(
                whole, description=step.file, total=step.total_bytes, completed=step.done_bytes
            )

        await pull_with_ollama(model, base_url=url, progress=show)
    console.print(f"Ollama at {url} has {model} now and checked its hashes.")
    return 0


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
