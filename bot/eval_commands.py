"""What `firstline eval` does: a table, and a plot where one is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from adapters.knowledge.index import KnowledgeIndex
from bot.evals import AT, Gate, Retrieval, load_cases, measured
from bot.knowledge import bar_of, knowledge_file, open_embedder
from bot.settings import Settings
from bot.tables import report_table

_NAMED = 10


async def print_evals(
    settings: Settings,
    questions: Path,
    *,
    plot: Path | None,
    console: Console | None = None,
) -> int:
    """Over what `knowledge add` has read; raises `EvalError` and `KnowledgeError`."""
    console = console or Console()
    cases = await asyncio.to_thread(load_cases, questions)
    embedder = await open_embedder(settings)
    path = knowledge_file(settings)
    index = await asyncio.to_thread(lambda: KnowledgeIndex(path, embedder=embedder.name))
    try:
        ways, gate = await measured(index, embedder, cases, bar_of(settings))
        passages = sum(count for _, _, count in index.sources())
    finally:
        await embedder.aclose()
        index.close()
    answerable = sum(bool(case.documents) for case in cases)
    told = f"{answerable} questions with an answer, {len(cases) - answerable} without"
    table = report_table(
        f"{told}; {passages:,} passages", "search", f"recall@{AT}", "MRR", "p50", "p95"
    )
    for name, found in ways.items():
        cells = (f"{found.recall:.3f}", f"{found.reciprocal_rank:.3f}")
        table.add_row(name, *cells, f"{found.p50_ms:.1f} ms", f"{found.p95_ms:.1f} ms")
    console.print(table)
    console.print(
        f"The gate lets {gate.let_through:.1%} of the first through and refuses "
        f"{gate.refused:.1%} of the second.",
        highlight=False,
    )
    _name(console, "Refused, though they have an answer:", gate.wrongly_refused)
    _name(console, "Let through, though they have none:", gate.wrongly_let_through)
    if plot is not None:
        await asyncio.to_thread(draw, plot, ways, gate)
        console.print(Text(f"Drawn to {plot}"))
    return 0


def _name(console: Console, heading: str, asked: tuple[str, ...]) -> None:
    if asked:
        console.print(heading)
        for each in asked[:_NAMED]:
            console.print(Text(f"  {each}"))


def draw(path: Path, ways: Mapping[str, Retrieval], gate: Gate) -> None:
    """Bars of the shares, as a picture; Pillow alone, since it is there."""
    from PIL import Image, ImageDraw, ImageFont

    bars = [(f"recall@{AT}, {name}", each.recall) for name, each in ways.items()]
    bars += [(f"MRR, {name}", each.reciprocal_rank) for name, each in ways.items()]
    bars += [("gate: answerable let through", gate.let_through)]
    bars += [("gate: not answerable refused", gate.refused)]
    row, left, width = 30, 330, 460
    picture = Image.new("RGB", (left + width + 90, row * len(bars) + 30), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for n, (name, share) in enumerate(bars):
        top = 15 + n * row
        pen.text((12, top + 3), name, fill="#222222", font=font)
        pen.rectangle((left, top, left + width, top + 20), fill="#e8ecf1")
        pen.rectangle((left, top, left + int(width * share), top + 20), fill="#3867b0")
        pen.text((left + width + 12, top + 3), f"{share:.3f}", fill="#222222", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
