"""How Discord's gateway sessions begin: the budget of a day, lanes, shards; real discord.py."""

from __future__ import annotations

import asyncio
from time import monotonic

from adapters.chat.discord import Shards
from adapters.chat.identifies import DAY_S, LANE_EVERY_S, PER_DAY, ProcessBudget
from bot.testing.discord import DiscordTwin
from tests.adapters.chat.test_discord_changes import running
from tests.contracts.chat import RecordingInbox
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure


async def test_a_process_hears_the_guilds_of_its_shards_alone() -> None:
    own, other = RecordingInbox(), RecordingInbox()
    async with DiscordTwin() as discord:
        mine = (discord.world.guild_id >> 22) % 2
        async with (
            running(discord, own, shards=Shards(2, (mine,))),
            running(discord, other, shards=Shards(2, (1 - mine,)), name="other"),
        ):
            await discord.wait_for(lambda: len(discord.gateway.sessions) == 2)
            await discord.say(discord.alice, discord.general, "for one", mention_bot=True)
            assert (await own.next()).text == "for one"
            await asyncio.sleep(0.2)

        assert sorted(discord.gateway.shards) == [0, 1]
    assert other.is_empty


async def test_a_crash_loop_stays_under_the_identifies_of_a_day(
    record_figure: RecordFigure,
) -> None:
    now = [0.0]
    budget = ProcessBudget(clock=lambda: now[0])
    taken = 0
    for _ in range(int(DAY_S) // 30):  # a crash every half minute, for a day
        now[0] += 30.0
        taken += await budget.take() == 0.0

    record_figure(
        row="C10",
        promise="A crash loop stays under the 1,000 sessions a day after which Discord resets the"
        " token",
        figure=f"a crash every 30 s for a simulated day: {taken} sessions begun",
    )
    assert taken == PER_DAY
    assert 0 < await budget.take() <= 30.0 + 1


async def test_no_session_begins_while_the_budget_is_spent() -> None:
    class Spent:
        asked = 0

        async def take(self, *, lane: int | None = None) -> float:
            self.asked += 1
            return 0.0 if self.asked > 3 else 0.05

    budget = Spent()
    async with DiscordTwin() as discord, running(discord, RecordingInbox(), identifies=budget):
        assert budget.asked == 4
        assert discord.gateway.counts["identify"] == 1


async def test_shards_of_two_processes_begin_one_after_the_other() -> None:
    budget, inbox = ProcessBudget(), RecordingInbox()
    async with DiscordTwin() as discord:
        discord.gateway.identify_every_s = LANE_EVERY_S
        began = monotonic()
        async with (
            running(discord, inbox, shards=Shards(2, (0,)), identifies=budget),
            running(discord, inbox, shards=Shards(2, (1,)), identifies=budget),
        ):
            took_s = monotonic() - began

        assert LANE_EVERY_S <= took_s < LANE_EVERY_S + 4
        assert discord.gateway.counts["identify_refused"] == 0


async def test_shards_in_lanes_of_their_own_need_not_wait_for_each_other() -> None:
    async with DiscordTwin() as discord:
        discord.gateway.identify_every_s = LANE_EVERY_S
        discord.gateway.session_start["max_concurrency"] = 4
        began = monotonic()
        async with running(discord, RecordingInbox(), shards=Shards(4, (0, 1, 2, 3))):
            assert monotonic() - began < LANE_EVERY_S

        assert sorted(discord.gateway.shards) == [0, 1, 2, 3]
        assert discord.gateway.counts["identify_refused"] == 0


async def test_no_session_begins_before_discord_allows_more_of_them() -> None:
    async with DiscordTwin() as discord:
        discord.gateway.session_start |= {"remaining": 0, "reset_after": 1500}
        began = monotonic()
        async with running(discord, RecordingInbox()):
            assert monotonic() - began >= 1.5

        assert discord.gateway.counts["identify"] == 1


async def test_a_lane_is_counted_only_when_it_is_free() -> None:
    now = [0.0]
    budget = ProcessBudget(clock=lambda: now[0])

    assert await budget.take(lane=0) == 0.0
    assert await budget.take(lane=0) == LANE_EVERY_S
    assert await budget.take(lane=1) == 0.0
    assert await budget.take() == 0.0, "a bot without shards has no lane"
    now[0] = LANE_EVERY_S
    assert await budget.take(lane=0) == 0.0
