"""What is the NATS doorbell's own: what it refuses, and how the settings choose it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.stores.errors import StoreRefused, StoreUnavailable
from adapters.stores.nats_doorbell import NatsDoorbell, connect_nats
from bot.settings import DoorbellSection, Secret, Settings
from bot.stores import open_stores
from tests.nats_servers import NatsServer, jetstream
from tests.redis_servers import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = jetstream(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


async def test_a_server_that_is_not_there_is_named_by_its_setting() -> None:
    url = f"nats://user:secret@127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable, match=r"doorbell\.url does not answer") as told:
        async with connect_nats(url, prefix="t"):
            pass
    assert "secret" not in str(told.value)


async def test_a_server_without_jetstream_is_refused(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    try:
        with pytest.raises(StoreRefused, match="start it with -js"):
            async with connect_nats(server.url, prefix="t"):
                pass
    finally:
        server.kill()


async def test_more_replicas_than_servers_are_refused(server: NatsServer) -> None:
    with pytest.raises(StoreRefused, match=r"doorbell\.replicas"):
        async with connect_nats(server.url, prefix="t", replicas=3):
            pass


async def test_adapters_do_not_hear_each_others_rings(server: NatsServer) -> None:
    async with connect_nats(server.url, prefix="t") as bells:
        one, other = (bells.bell(name, idle_ms=1000) for name in ("terminal:a.b", "terminal:a/b"))
        for bell in (one, other):
            await bell.open()
        await one.ring("K1")

        assert await other.take(wait_ms=100) == []
        assert [ring.conversation for ring in await one.take(wait_ms=500)] == ["K1"]
        await one.aclose()
        await other.aclose()


async def test_a_changed_lease_changes_the_idle_time_of_the_others_too(server: NatsServer) -> None:
    async with connect_nats(server.url, prefix="t") as bells:
        for idle_ms in (30_000, 5_000):
            bell = bells.bell("slack", idle_ms=idle_ms)
            await bell.open()
        info = await bells.jetstream.consumer_info("t_bells", "slack")

        assert info.config.ack_wait == 5
        assert info.config.max_deliver == -1


async def test_the_settings_choose_the_doorbell(server: NatsServer, tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path, doorbell=DoorbellSection(url=Secret(server.url)))
    async with open_stores(chosen) as stores:
        bell = stores.bell("slack", consumer="w1")
        await bell.open()
        await bell.ring("K1")
        [ring] = await bell.take(wait_ms=500)
        await bell.done(ring)
        await bell.aclose()

        assert isinstance(bell, NatsDoorbell)
        assert ring.conversation == "K1"


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="must start with nats://"):
        DoorbellSection(url=Secret("nats://a:4222,http://b"))


def test_its_address_is_shown_without_a_password() -> None:
    url = Secret("nats://bot:secret@a:4222, tls://b:4222")

    assert DoorbellSection(url=url).where == "nats://a:4222, tls://b:4222"
    assert "secret" not in repr(DoorbellSection(url=url))


def test_without_the_extra_the_setting_is_refused_with_its_remedy(tmp_path: Path) -> None:
    code = (
        "import asyncio, json, pathlib, sys; sys.modules['nats'] = None\n"
        "from bot.settings import DoorbellSection, Secret, Settings\n"
        "from bot.stores import open_stores\n"
        "doorbell = DoorbellSection(url=Secret('nats://127.0.0.1'))\n"
        "settings = Settings(data_dir=pathlib.Path(sys.argv[1]), doorbell=doorbell)\n"
        "async def main():\n"
        "    async with open_stores(settings): pass\n"
        "try: asyncio.run(main())\n"
        "except Exception as error: print(json.dumps([type(error).__name__, str(error)]))\n"
    )
    done = subprocess.run(  # noqa: S603 (our own interpreter)
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    kind, sentence = json.loads(done.stdout.splitlines()[-1])
    assert kind == "StoreRefused"
    assert "pip install 'firstline[nats]'" in sentence
