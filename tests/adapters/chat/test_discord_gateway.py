"""What Discord's gateway may do to a connection (row C8); real discord.py."""

from __future__ import annotations

import asyncio

import pytest

from adapters.chat.discord_gateway import FOR_GOOD
from adapters.chat.types import AdapterError
from bot.testing.discord import DiscordTwin
from bot.testing.discord.gateway import ENDS_SESSION
from tests.adapters.chat.test_discord import RecordingInbox as Hearing
from tests.adapters.chat.test_discord import adapter_for, connected
from tests.adapters.chat.test_discord_changes import running
from tests.contracts.chat import RecordingInbox
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tools.identity import tenant_of


class Free:
    """No wait between sessions: that is tested by itself."""

    async def take(self, *, lane: int | None = None) -> float:
        return 0.0


PASSING = (1000, 4000, 4001, 4002, 4003, 4005, 4007, 4008, 4009)


@pytest.mark.parametrize("code", PASSING)
async def test_after_a_close_code_that_passes_nothing_said_meanwhile_is_lost(code: int) -> None:
    """By resuming the session, or from Discord's history where it has to be a new one."""
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox, identifies=Free()):
        inbox.heard_until = {tenant_of("discord", "dm"): {"": 1.0, str(discord.dm.id): 1.0}}
        await discord.gateway.close_all(code)
        await discord.say(discord.alice, discord.dm, "meanwhile")
        assert (await inbox.next()).text == "meanwhile"
        await discord.say(discord.alice, discord.dm, "afterwards")
        assert (await inbox.next()).text == "afterwards"

        assert discord.gateway.counts["identify"] == (2 if code in ENDS_SESSION else 1)


@pytest.mark.parametrize("code", sorted(FOR_GOOD))
async def test_a_close_code_for_good_ends_the_adapter_with_one_fix(code: int) -> None:
    async with DiscordTwin() as discord:
        task = asyncio.create_task(adapter_for(discord).run(RecordingInbox()))
        await discord.wait_connected()
        await discord.gateway.close_all(code)
        with pytest.raises(AdapterError) as caught:
            await asyncio.wait_for(task, 15)

        assert str(caught.value) == FOR_GOOD[code]
        assert discord.gateway.counts["identify"] == 1, "nobody connects again"


@pytest.mark.parametrize("resumable", [True, False])
async def test_an_invalid_session_is_resumed_or_begun_anew_as_told(resumable: bool) -> None:
    inbox = Hearing()
    async with DiscordTwin() as discord, connected(discord, inbox):
        await discord.gateway.tell(9, resumable)
        await discord.wait_for(
            lambda: discord.gateway.counts["resumed"] + discord.gateway.counts["identify"] > 1, 20
        )
        await discord.say(discord.alice, discord.dm, "afterwards")
        await inbox.hears(1)

        assert discord.gateway.counts["identify"] == (1 if resumable else 2)


async def test_a_session_that_acknowledges_no_heartbeat_is_left_though_it_still_speaks(
    record_figure: RecordFigure,
) -> None:
    inbox = Hearing()
    async with DiscordTwin() as discord:
        discord.gateway.heartbeat_interval_ms = 400
        async with connected(discord, inbox):
            discord.gateway.withhold_acks = True
            began = asyncio.get_running_loop().time()
            while not discord.gateway.counts["resumed"]:
                await discord.say(discord.alice, discord.general, "talk among people")
                await asyncio.sleep(0.05)
            noticed_s = asyncio.get_running_loop().time() - began
            discord.gateway.withhold_acks = False
            await discord.say(discord.alice, discord.dm, "afterwards")
            await inbox.hears(1)

    record_figure(
        row="C8",
        promise="A dead gateway session is left and resumed; a code for good ends with one fix",
        figure=f"{len(PASSING)} codes that pass: resumed, 0 lost; {len(FOR_GOOD)} for good: one"
        f" fix each; a zombie beating every 0.4 s left after {noticed_s:.1f} s",
    )
    assert noticed_s < 10


async def test_a_connection_that_carries_nothing_more_is_left_and_what_it_missed_is_heard() -> None:
    inbox = RecordingInbox()
    async with DiscordTwin() as discord, running(discord, inbox, silent_for_s=1.0):
        await discord.say(discord.alice, discord.dm, "before")
        assert (await inbox.next()).text == "before"
        discord.gateway.mute()
        await discord.say(discord.alice, discord.dm, "meanwhile")
        assert (await inbox.next()).text == "meanwhile"

        assert discord.gateway.counts["resumed"] >= 1
        assert discord.gateway.counts["identify"] == 1
