"""`firstline models pull`: the download as a person sees it."""

from __future__ import annotations

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

from adapters.models.catalogue import CATALOGUE
from adapters.models.ollama import OLLAMA_URL
from adapters.models.ollama_pull import pull_with_ollama
from adapters.models.pull import HUB_URL, PullProgress, pull, pulled_files

_BY_OLLAMA = "ollama:"


async def pull_model(
    name: str,
    folder: Path,
    *,
    base_url: str = HUB_URL,
    console: Console | None = None,
    ollama_url: str = OLLAMA_URL,
) -> int:
    """Fetch a model below `folder`, or `ollama:NAME` into an Ollama; raises `PullError`."""
    console = console or Console(stderr=True)
    if name.startswith(_BY_OLLAMA):
        return await _pull_by_ollama(name.removeprefix(_BY_OLLAMA), ollama_url, console)
    if entry := CATALOGUE.get(name):
        console.print(f"{entry.about}. Licence: {entry.licence}. From {entry.repository}.")
    with _bar(console) as bar:
        whole = bar.add_task(name, total=None)

        def show(step: PullProgress) -> None:
            bar.update(
                whole,
                description=step.file,
                total=step.total_bytes,
                completed=step.done_bytes,
            )

        path = await pull(name, folder / name, base_url=base_url, progress=show)
    for file in pulled_files(path):
        console.print(f"{file.path}  {decimal(file.size)}  {file.hash}", highlight=False)
    console.print(f"Every hash matched. Ready in {path}. Start: firstline run")
    return 0


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
