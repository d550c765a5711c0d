"""People in threads of a Slack twin, and the settings of a bot that serves them."""

from __future__ import annotations

from bot.testing.slack import SlackTwin
from tests.end_to_end.test_platforms import OnSlack


class Thread:
    """One conversation in a channel; every test case has a thread of its own."""

    def __init__(self, slack: SlackTwin, root: str, channel: str) -> None:
        self.slack, self.root, self.channel = slack, root, channel

    async def say(self, text: str, *, files: tuple[tuple[str, bytes], ...] = ()) -> str:
        first = not any(
            each.user == "U1" for each in self.slack.posted(self.channel, self.root)[1:]
        )
        return await self.slack.say(
            "U1", self.channel, text, thread=self.root, files=files, mention_bot=first
        )

    def replies(self) -> list[str]:
        posted = self.slack.posted(self.channel, self.root)
        return [each.text for each in posted if each.user == self.slack.world.bot_user_id]

    async def reply(self, number: int, ending: str, timeout_s: float = 25) -> str:
        """The reply with this number, once it says `ending`."""
        try:
            await self.slack.wait_for(
                lambda: len(self.replies()) >= number and ending in self.replies()[number - 1],
                timeout_s,
            )
        except TimeoutError:
            raise AssertionError(f"no {ending!r} in reply {number} of {self.replies()}") from None
        return self.replies()[number - 1]

    async def answers(self, number: int) -> None:
        """A good message is still answered here."""
        await self.say("What is 6*7?")
        assert "42" in await self.reply(number, "42")


async def new_thread(slack: SlackTwin, channel: str = "C1") -> Thread:
    return Thread(slack, await slack.say("U1", channel, "Who can help me?"), channel)


async def new_channel(slack: SlackTwin) -> Thread:
    """A thread in a channel of its own: Slack lets one message a second into a channel."""
    return await new_thread(slack, slack.add_channel(f"C{len(slack.world.channels) + 1}"))


def settings_of(slack: SlackTwin, *routes: tuple[str, str], more: str = "") -> str:
    """A bot on this twin whose planner is the (name, URL) routes in order."""
    platform = OnSlack(slack).settings.replace('channels = ["C1"]', 'channels = ["*"]')
    return settings_for(*routes, platform=platform, more=more)


def settings_for(*routes: tuple[str, str], platform: str, more: str = "") -> str:
    lines = [
        f'[models.routes.{name}]\nbackend = "openai_api"\nbase_url = "{url}"\n'
        'model = "scripted"\ncontext_tokens = 8192'
        for name, url in routes
    ]
    names = ", ".join(f'"{name}"' for name, _ in routes)
    return "\n".join(
        (
            platform,
            *lines,
            f'[roles]\nplanner = [{names}]\nvision = ["ocr"]',
            "[turns]\nlease_s = 2\nrenew_s = 0.5\nsweep_s = 0.5",
            more,
        )
    )
