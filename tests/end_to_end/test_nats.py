"""An intake and workers as processes of their own, with the doorbell on NATS."""

from __future__ import annotations

import time
from pathlib import Path

from adapters.models.scripted_server import ScriptedServer
from bot.testing.slack import SlackTwin
from tests.end_to_end.on_slack import new_thread
from tests.end_to_end.test_scale_out import LEASE_S, RECOVERY_S, SLOW, SlowAtFirst, fleet_on
from tests.nats_servers import jetstream


async def test_a_killed_workers_turn_is_finished_by_another_that_hears_nats(
    tmp_path: Path,
) -> None:
    model = SlowAtFirst(60)
    nats = jetstream(tmp_path / "nats")
    nats.start()
    doorbell = f'[doorbell]\nurl = "{nats.url}"\n'
    try:
        async with (
            ScriptedServer(model) as url,
            SlackTwin() as slack,
            fleet_on(slack, url, tmp_path, more=doorbell) as processes,
        ):
            thread = await new_thread(slack)
            await thread.say(f"{SLOW}: what is 6*7?")
            await slack.wait_for(lambda: model.asked == 1)
            await slack.wait_for(lambda: thread.replies())  # the first sign of it
            await processes.worker_that_asks(url).kill()
            killed_at = time.monotonic()
            await thread.reply(1, "42")
            took_s = time.monotonic() - killed_at

            print(f"with NATS, finished elsewhere {took_s:.1f} s after the kill")
            assert took_s <= LEASE_S + RECOVERY_S
            assert len(thread.replies()) == 1
            await thread.say("Thank you!")
            await thread.reply(2, "Thank you!")
    finally:
        nats.kill()
