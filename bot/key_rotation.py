"""`firstline memory rotate-key`: every sealed record under a new data key, the old one dropped."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from adapters.stores.rotation import Rotation
from adapters.stores.sealing import KNOWN_FOR_S, AesSeal
from bot.settings import Settings
from bot.stores import open_stores
from bot.tables import report_console, report_table

_WRITTEN_WITHIN_S = 10.0  # what was sealed with a key just given up


async def rotate_keys(
    settings: Settings, *, is_stopped: bool, console: Console | None = None
) -> int:
    """Print the counts; 1 when records can't be opened, 2 without a master key.

    `is_stopped` says that no bot runs, so none seals with an old key it still knows. Raises
    `StoreRefused` and `StoreUnavailable`; run again, it goes on.
    """
    console = console or report_console()
    async with open_stores(settings) as stores:
        if not isinstance(stores.seal, AesSeal):
            console.print("Nothing is encrypted here: memory.key_file is not set.")
            return 2
        rotation = Rotation(stores.redis, stores.batcher, stores.keys, stores.seal)
        settle_s = 0.0 if is_stopped else KNOWN_FOR_S + _WRITTEN_WITHIN_S
        with console.status("Beginning") as status:
            found = await rotation.rotate(
                settle_s=settle_s, walked=lambda counts: status.update(_progress(counts))
            )
    table = report_table("The new keys", "what", "how many")
    for what, number in found.items():
        table.add_row(what, f"{number:,}")
    console.print(table)
    if found["unreadable"]:
        console.print(
            Text(f"{found['unreadable']:,} records can't be opened, so the old keys stay.")
        )
        return 1
    return 0


def _progress(counts: Counter[str]) -> str:
    return f"{counts['keys']:,} keys looked at, {counts['sealed again']:,} records sealed again"
