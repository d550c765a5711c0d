"""`firstline dead`: what was given up, asked again or thrown away."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import typer
from rich.console import Console

from adapters.stores.dead import DeadTurn
from adapters.stores.errors import READ_ERRORS
from adapters.stores.ledger import Acceptance
from adapters.stores.scanning import pages
from bot.records import Event, decode_event, encode
from bot.settings import Settings
from bot.stores import Stores, open_stores
from bot.tables import report_console, report_table

_MAX_WAITING = 10_000  # an operator's replay is not held to a person's limit


async def list_letters(
    settings: Settings, *, as_json: bool = False, console: Console | None = None
) -> int:
    """Print every dead letter: ids and reasons, never what was said."""
    async with open_stores(settings) as stores:
        found = await _all(stores)
    rows = [
        {
            "turn": each.turn_id,
            "conversation": str(each.key),
            "given up": datetime.fromtimestamp(each.letter.at, UTC).isoformat(timespec="seconds"),
            "deaths": each.letter.deaths,
            "reason": each.letter.reason,
        }
        for each in found
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return 0
    console = console or report_console()
    columns = ("turn", "conversation", "given up", "deaths", "reason")
    table = report_table(f"{len(rows):,} dead letters", *columns)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    return 0


async def settle_letters(
    settings: Settings, turns: Sequence[str], *, everything: bool, replay: bool
) -> int:
    """Replay or drop; 1 when a named turn is not there or can't be read any more."""
    if everything == bool(turns):
        typer.echo("firstline: name the turns, or say --all", err=True)
        return 2
    async with open_stores(settings) as stores:
        found = {each.turn_id: each for each in await _all(stores)}
        wanted = list(found) if everything else list(turns)
        settled = [
            turn_id
            for turn_id in wanted
            if turn_id in found and await _settled(stores, found[turn_id], replay=replay)
        ]
    done = "asked again" if replay else "dropped"
    typer.echo(f"{len(settled):,} {done}")
    if missing := [turn_id for turn_id in wanted if turn_id not in settled]:
        typer.echo(f"firstline: not {done}: {', '.join(missing)}", err=True)
    return 1 if missing else 0


async def _settled(stores: Stores, turn: DeadTurn, *, replay: bool) -> bool:
    if not replay:
        return await stores.dead.drop(turn)
    try:
        events = [decode_event(record) for record in turn.letter.events]
    except READ_ERRORS:
        return False  # it can only be dropped
    for event in events:
        if await _asked_again(stores, turn, event) is Acceptance.FULL:
            return False
    return await stores.dead.drop(turn)


async def _asked_again(stores: Stores, turn: DeadTurn, event: Event) -> Acceptance:
    """Under an id of its own: the first one counts as answered. Twice gives one turn."""
    base = event.message.event_id.partition("!")[0]
    message = msgspec.structs.replace(event.message, event_id=f"{base}!replay:{turn.turn_id}")
    again = msgspec.structs.replace(event, message=message, accepted_at=time.time())
    return await stores.ledger.accept(
        turn.key,
        event_id=message.event_id,
        group=f"={event.principal.user_id}",
        record=encode(again),
        sent_at=message.sent_at,
        max_waiting=_MAX_WAITING,
        author=event.principal.user_id,
        is_heard=False,
    )


async def _all(stores: Stores) -> list[DeadTurn]:
    found: list[DeadTurn] = []
    walked = pages(stores.redis, stores.keys.every("dead"))
    names = {name async for page in walked for name in page}
    for name in sorted(names):
        found += await stores.dead.under(name)
    return found
