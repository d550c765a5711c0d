"""Prompts that Slack suggests to who opens the app, for agents and for assistants before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.chat.slack_api import SlackApi, SlackCallError

log = structlog.get_logger(__name__)

MOST_PROMPTS = 4  # docs.slack.dev, assistant.threads.setSuggestedPrompts
_NEVER = frozenset({"missing_scope", "not_allowed", "unknown_method", "method_deprecated"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """`title` is what a person sees, `message` what they say by choosing it."""

    title: str
    message: str


DEFAULT_PROMPTS = (
    Prompt("What can you do?", "What can you do?"),
    Prompt("Explain an error", "I get an error message. Help me to find its cause."),
    Prompt("Look at a screenshot", "I send you a screenshot next. Tell me what is wrong in it."),
    Prompt("Write an answer", "Help me to write a clear, friendly answer to a customer."),
)


class Prompts:
    """Sets them when a person opens the app; its failures harm nothing.

    An agent's call names no thread, an older assistant's must
    (docs.slack.dev/reference/methods/assistant.threads.setSuggestedPrompts, 2026-08).
    """

    def __init__(self, api: SlackApi, prompts: Sequence[Prompt], *, agent: bool) -> None:
        self._api, self._prompts, self._agent = api, tuple(prompts[:MOST_PROMPTS]), agent

    async def opened(self, event: Mapping[str, Any]) -> None:
        """An `app_home_opened` or `assistant_thread_started` event."""
        match event:
            case {"type": "app_home_opened", "tab": "messages", "channel": str(channel)}:
                if self._agent:
                    await self._suggest(channel_id=channel)
            case {
                "type": "assistant_thread_started",
                "assistant_thread": {"channel_id": str(channel), "thread_ts": str(thread)},
            }:
                await self._suggest(channel_id=channel, thread_ts=thread)

    async def _suggest(self, **where: Any) -> None:
        if not self._prompts:
            return
        prompts = [{"title": each.title, "message": each.message} for each in self._prompts]
        try:
            await self._api.call("assistant.threads.setSuggestedPrompts", prompts=prompts, **where)
        except SlackCallError as error:
            log.warning("slack.no_prompts", error=str(error))
            if error.error in _NEVER:
                self._prompts = ()
