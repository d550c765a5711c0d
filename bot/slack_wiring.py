"""Slack as the settings want it: Socket Mode or HTTP, one workspace or those that install it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

from adapters.chat.types import ChannelRules, ChatAdapter, NotAccepted
from adapters.stores.errors import StoreUnavailable
from adapters.stores.installs import Installs, Once
from bot.sections import Secret, SlackSection
from bot.stores import Stores

if TYPE_CHECKING:
    from adapters.chat.slack import HttpSetup, SlackAdapter

Value = TypeVar("Value")


def slack_adapter(slack: SlackSection, stores: Stores, rules: ChannelRules) -> SlackAdapter:
    from adapters.chat.slack import SlackAdapter
    from adapters.chat.slack_prompts import DEFAULT_PROMPTS, Prompt

    prompts: tuple[Prompt, ...] = DEFAULT_PROMPTS
    if slack.prompts is not None:
        prompts = tuple(Prompt(each.title, each.message) for each in slack.prompts)
    installs = Installs(stores.batcher, stores.keys, adapter="slack", seal=stores.seal)
    return SlackAdapter(
        bot_token=_value(slack.bot_token),
        app_token=_value(slack.app_token),
        api_url=slack.api_url,
        updates_per_minute=slack.updates_per_minute,
        agent=slack.agent,
        rules=rules,
        prompts=prompts,
        feedback=slack.feedback,
        streaming=slack.streaming == "auto",
        http=_http(slack, stores),
        installs=_Installs(installs) if slack.client_id else None,
    )


@asynccontextmanager
async def serve_slack(slack: SlackSection, adapters: Sequence[ChatAdapter]) -> AsyncIterator[None]:
    """Slack's address for as long as the bot runs, where it is told over HTTP."""
    door = next((found for each in adapters if (found := getattr(each, "door", None))), None)
    if door is None:
        yield
        return
    from bot.public_http import serve_public

    async with serve_public(slack.http_host, slack.http_port, door, setting="slack.http_port"):
        yield


def _http(slack: SlackSection, stores: Stores) -> HttpSetup | None:
    if slack.signing_secret is None or (slack.app_token and not slack.client_id):
        return None  # a socket needs no listener, unless for who installs the app
    from adapters.chat.slack import HttpSetup, OAuth

    once, oauth = _Once(Once(stores.batcher, stores.keys)), None
    if slack.client_id and slack.client_secret and slack.public_url:
        api = urlsplit(slack.api_url)
        oauth = OAuth(
            slack.client_id,
            _value(slack.client_secret),
            slack.public_url,
            once,
            f"{api.scheme}://{api.netloc}/oauth/v2/authorize",
        )
    return HttpSetup(_value(slack.signing_secret), once, slack.app_id, oauth)


def _value(secret: Secret | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


async def _accepted(work: Awaitable[Value]) -> Value:
    """In the words of the chat adapters."""
    try:
        return await work
    except StoreUnavailable as error:
        raise NotAccepted(str(error)) from error


class _Installs:
    """Implements the Slack adapter's `InstallRecords`."""

    def __init__(self, installs: Installs) -> None:
        self._installs = installs

    @property
    def is_sealed(self) -> bool:
        return self._installs.is_sealed

    async def load(self, owner: str) -> bytes | None:
        return await _accepted(self._installs.load(owner))

    async def save(self, owner: str, record: bytes) -> None:
        await _accepted(self._installs.save(owner, record))

    async def drop(self, owner: str) -> None:
        await _accepted(self._installs.drop(owner))

    async def owners(self) -> list[str]:
        return await _accepted(self._installs.owners())

    async def generation(self) -> int:
        return await _accepted(self._installs.generation())


class _Once:
    """Implements the Slack adapter's `Signatures` and `States`."""

    def __init__(self, once: Once) -> None:
        self._once = once

    async def begin(self, name: str, *, within_s: float) -> Literal["new", "busy", "done"]:
        return await _accepted(self._once.begin(name, within_s=within_s))

    async def end(self, name: str, *, keep_s: float | None) -> None:
        await _accepted(self._once.end(name, keep_s=keep_s))

    async def take(self, name: str) -> bool:
        return await _accepted(self._once.take(name))
