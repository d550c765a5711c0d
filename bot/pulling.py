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
from adapters.models.pull import HUB_URL, PullProgress, pull, pulled_files


async def pull_model(
    name: str, folder: Path, *, base_url: str = HUB_URL, console: Console | None = None
) -> int:
    """Fetch a model below `folder`, with a bar; raises `PullError`."""
    console = console or Console(stderr=True)
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

        path = await pull(name, folder / name, base_url=base_url, progress=show)
    for file in pulled_files(path):
        console.print(f"{file.path}  {decimal(file.size)}  {file.hash}", highlight=False)
    console.print(f"Every hash matched. Ready in {path}. Start: firstline run")
    return 0
