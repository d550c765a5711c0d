"""`python -m benchmarks [turn|start|prompt_size]…`: print tables, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import prompt_size, report, start, turn

PARTS = {"turn": turn.measure, "start": start.measure, "prompt_size": prompt_size.measure}


async def main(names: list[str]) -> None:
    tables = []
    for name in names or list(PARTS):
        tables += await PARTS[name]()
    for table in tables:
        print(f"\n{table.markdown()}")
    if not names:
        report.write(tables)
        print(f"written to {report.PAGE}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *PARTS], help="default: all")
    asyncio.run(main(parser.parse_args().names))
