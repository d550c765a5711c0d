"""`firstline models pull`: the download as a person sees it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from adapters.models.catalogue import CATALOGUE
from adapters.models.pull import PullProgress, pull


async def pull_model(name: str, folder: Path) -> int:
    """Fetch a model below `folder`, with a bar; raises `PullError`."""
    console = Console(stderr=True)
    if entry := CATALOGUE.get(name):
        console.print(f"{entry.about}. Licence: {entry.licence}. From {entry.repository}.")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        whole = bar.add_task(name, total=None)

        def show(step: PullProgress) -> None:
            bar.update(
                whole,
                description=step.file,
                total=step.total_bytes,
                completed=step.done_bytes,
            )

        path = await pull(name, folder / name, progress=show)
    console.print(f"Ready in {path}; every file's sha256 matched. Start: firstline run")
    return 0
