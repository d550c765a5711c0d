"""`firstline audit verify`: walks the audit log's chain of every workspace and guild."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.text import Text

from adapters.stores.journal import Head, Journal, Verified
from adapters.stores.key_kinds import tenant_in
from adapters.stores.scanning import pages
from bot.settings import Settings
from bot.stores import Stores, open_stores
from bot.tables import report_console, report_table


async def verify_journal(
    settings: Settings,
    *,
    as_json: bool = False,
    noted: tuple[str, ...] = (),
    console: Console | None = None,
) -> int:
    """Print what was found; 1 for a chain with a fault.

    `noted` are heads that were kept elsewhere, `slack:T1=12:ab…` as this command prints them.
    Raises `StoreRefused` and `StoreUnavailable`, and `ValueError` for a head that is none.
    """
    console = console or report_console()
    expected = dict(map(_noted, noted))
    async with open_stores(settings) as stores:
        tenants = sorted({*await _tenants(stores), *expected})
        found = {
            tenant: await _verified(stores.journal, tenant, expected.get(tenant))
            for tenant in tenants
        }
    if as_json:
        console.out(json.dumps(msgspec.to_builtins(found), indent=2), highlight=False)
    else:
        _print(found, console)
    return 1 if any(each.faults for each in found.values()) else 0


async def _verified(journal: Journal, tenant: str, expected: Head | None) -> Verified:
    return await journal.verify(tenant, expected=expected)


async def _tenants(stores: Stores) -> set[str]:
    found = set[str]()
    pattern = stores.keys.every("journal-head")
    root = stores.keys.tenants("").removesuffix("tenants:")
    async for page in pages(stores.redis, pattern):
        found.update(tenant_in(name.decode().removeprefix(root)) for name in page)
    return found


def _noted(text: str) -> tuple[str, Head]:
    tenant, _, head = text.rpartition("=")
    seq, _, linked = head.partition(":")
    if not tenant or not seq.isdecimal() or not linked:
        raise ValueError(f"--expect {text!r}: give TENANT=NUMBER:HASH, as the table prints it")
    return tenant, Head(int(seq), linked)


def _print(found: dict[str, Verified], console: Console) -> None:
    table = report_table(
        "The audit log", "tenant", "entries", "since", "head, to be kept elsewhere"
    )
    for tenant, each in found.items():
        since = f"{datetime.fromtimestamp(each.since, UTC):%Y-%m-%d %H:%M}" if each.since else "-"
        table.add_row(Text(tenant), f"{each.entries:,}", since, Text(f"{tenant}={each.head}"))
    console.print(table)
    faults = [(tenant, fault) for tenant, each in found.items() for fault in each.faults]
    if not faults:
        console.print(Text("Every chain is whole.", style="green"))
        return
    broken = report_table(f"{len(faults):,} faults", "tenant", "entry", "what", "detail")
    for tenant, fault in faults:
        broken.add_row(
            Text(tenant), str(fault.seq), Text(fault.kind, style="bold red"), fault.detail
        )
    console.print(broken)
