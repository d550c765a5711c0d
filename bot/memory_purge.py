"""`firstline memory purge`: everything of one workspace or guild goes, and is counted after."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.stores.retention import TenantPurge
from bot.settings import Settings
from bot.stores import open_stores


async def purge_tenant(
    settings: Settings,
    tenant: str,
    *,
    confirmed: Callable[[str], bool],
    console: Console | None = None,
) -> int:
    """Show what is kept, ask, delete, count again; 1 when anything is left or nothing was done.

    Raises `StoreRefused` and `StoreUnavailable`.
    """
    console = console or Console()
    async with open_stores(settings) as stores:
        purge = TenantPurge(stores.redis, stores.batcher, stores.keys)
        found = await purge.count(tenant)
        if not found:
            console.print(Text(f"Nothing is kept of {tenant}."))
            return 0
        table = Table("keys", "how many")
        for kind, number in sorted(found.items()):
            table.add_row(kind, f"{number:,}")
        console.print(table)
        if not confirmed(f"Delete all {found.total():,} of {tenant}, for good?"):
            console.print("Nothing was deleted.")
            return 1
        left = await purge.purge(tenant)
    if left:
        console.print(Text(f"{left:,} are left: stop every bot that still serves {tenant}."))
        return 1
    console.print(Text(f"Deleted {found.total():,} of {tenant}; a new count finds 0."))
    return 0
