"""What Mattermost's socket never tells again is answered all the same, and once."""

from __future__ import annotations

from pathlib import Path

from adapters.models.scripted_server import ScriptedServer
from tests.end_to_end.bot_process import bot_process
from tests.end_to_end.test_platforms import models, platform_named


async def test_a_message_said_while_the_bot_was_dead_is_answered_once(tmp_path: Path) -> None:
    async with (
        ScriptedServer() as url,
        platform_named("mattermost") as platform,
        bot_process(tmp_path, platform.settings + models(url), platform.environ) as bot,
    ):
        await platform.wait_connected()
        await platform.say("What is 6*7?")
        assert "42" in await platform.wait_for_reply(1, "42")
        await bot.kill()
        await platform.say("What is 6*8?")
        await bot.start()

        assert "48" in await platform.wait_for_reply(2, "48")
        await platform.say("What is 6*9?")
        assert "54" in await platform.wait_for_reply(3, "54")
        assert len(platform.replies()) == 3
