"""The primary dies while its replica lags behind (row B5)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from adapters.stores.batching import Replicas
from tests.drills.figures import RecordFigure
from tests.drills.ledger_load import Platform, ledger_at, stored, verdict
from tests.drills.redis_proxy import RedisProxy, redis_proxy
from tests.redis_servers import RedisServer, redis_server, wait_connected

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
WAITED = Replicas(1, timeout_ms=200)


@pytest.mark.parametrize("failovers", [1, pytest.param(20, marks=FULL)])
async def test_what_was_accepted_with_wait_survives_the_loss_of_the_primary(
    failovers: int, tmp_path: Path, record_figure: RecordFigure
) -> None:
    dice = random.Random(failovers)
    results = [await failover(tmp_path / f"{number}", WAITED, dice) for number in range(failovers)]
    without = await failover(tmp_path / "without", Replicas(), dice)

    accepted, lost = sum(each[0] for each in results), sum(each[1] for each in results)
    record_figure(
        row="B5",
        promise="primary killed with a replica that lags: accepted means replicated (WAIT 1)",
        figure=f"{failovers} failovers with WAIT 1: {lost} of {accepted} accepted events lost; "
        f"one without: {without[1]} of {without[0]} lost",
    )
    assert accepted > 0
    assert lost == 0
    assert without[1] > 0


async def failover(folder: Path, wanted: Replicas, dice: random.Random) -> tuple[int, int]:
    """(accepted, lost) of one failover under load, with a replica that is held for a while."""
    at_once = ("--repl-diskless-sync-delay", "0")
    async with (
        redis_server(folder / "primary", *at_once) as primary,
        redis_proxy(primary.port) as proxy,
        redis_server(folder / "replica", "--replicaof", f"127.0.0.1 {proxy.port}") as replica,
    ):
        await asyncio.to_thread(wait_connected, replica)
        return await under_load(primary, replica, proxy, wanted, dice)


async def under_load(
    primary: RedisServer,
    replica: RedisServer,
    proxy: RedisProxy,
    wanted: Replicas,
    dice: random.Random,
) -> tuple[int, int]:
    async with (
        ledger_at(primary.url, timeout_s=0.5, replicas=wanted) as ledger,
        Platform(ledger, dice=dice) as platform,
    ):
        await asyncio.sleep(dice.uniform(0.2, 0.5))
        proxy.hold()  # the replica lags from here on
        await asyncio.sleep(dice.uniform(0.2, 0.5))
        primary.kill()
        proxy.cut_all()
    replica.ask("REPLICAOF", "NO", "ONE")
    async with ledger_at(replica.url) as ledger:
        lost, doubled = verdict(platform.acknowledged, await stored(ledger))
    assert doubled == 0
    return len(platform.acknowledged), lost
