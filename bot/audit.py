"""`firstline audit`: reads the store alone and names what breaks the ledger's rules."""

from __future__ import annotations

import json

import msgspec
from rich.console import Console
from rich.text import Text

from adapters.stores.audit import Auditor, Report
from bot.settings import Settings
from bot.stores import open_stores
from bot.tables import report_console, report_table


async def audit_store(
    settings: Settings, *, as_json: bool = False, console: Console | None = None
) -> int:
    """Print the table; 1 when a rule is broken. Ids only, never what was said.

    Raises `StoreRefused` and `StoreUnavailable`.
    """
    console = console or report_console()
    async with open_stores(settings) as stores:
        lease_ms = int(settings.turns.lease_s * 1000)
        auditor = Auditor(
            stores.redis, stores.batcher, stores.keys, lease_ms=lease_ms, seal=stores.seal
        )
        report = await auditor.audit(pause_s=2 * settings.turns.sweep_s + 1)
    if as_json:
        console.out(json.dumps(msgspec.to_builtins(report), indent=2), highlight=False)
    else:
        _print(report, console)
    return 1 if report.broken else 0


def _print(report: Report, console: Console) -> None:
    counts = report_table("The store", "what", "how many")
    for name, number in sorted(report.counts.items()):
        counts.add_row(name, f"{number:,}")
    console.print(counts)
    if not report.broken:
        console.print(Text("Every rule holds.", style="green"))
        return
    broken = report_table(f"{report.broken:,} broken", "rule", "where", "detail")
    for each in report.violations:
        broken.add_row(Text(each.rule, style="bold red"), Text(each.where), each.detail)
    console.print(broken)
