"""`python -m benchmarks [NAME]…`: print tables, write docs/benchmarks.md.

A name is a part, which is only printed, or a group of them, which is written too.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping

from benchmarks import (
    conversations,
    edits,
    gate,
    history,
    intake,
    knowledge,
    prompt_size,
    report,
    sandbox,
    scale_out,
    start,
    turn,
)
from benchmarks.report import Table

Measure = Callable[[], Awaitable[list[Table]]]
GROUPS: Mapping[str, Mapping[str, Measure]] = {
    "tables": {
        "turn": turn.measure,
        "start": start.measure,
        "prompt_size": prompt_size.measure,
        "sandbox": sandbox.measure,
        "gate": gate.measure,
    },
    "store": {
        "history": history.measure,
        "scale_out": scale_out.measure,
        "conversations": conversations.measure,
        "knowledge": knowledge.measure,
    },
    "chat": {
        "edits": edits.measure,
        "intake": intake.measure,
    },
}
PARTS = {name: part for group in GROUPS.values() for name, part in group.items()}


async def main(names: list[str]) -> None:
    for name in names or list(GROUPS):
        parts = GROUPS.get(name, {name: PARTS[name]} if name in PARTS else {})
        tables = [table for measure in parts.values() for table in await measure()]
        for table in tables:
            print(f"\n{table.markdown()}")
        if name in GROUPS:
            report.write(tables, name)
            print(f"written to {report.PAGE}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *GROUPS, *PARTS], help="default: all, written"
    )
    asyncio.run(main(parser.parse_args().names))
