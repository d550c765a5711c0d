"""Shortcuts, modals, the home tab and suggested prompts: what people do there, what apps show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.testing.slack.methods import METHODS, SCOPES, Refused

if TYPE_CHECKING:
    from bot.testing.slack import CommandRun, SlackTwin

Json = dict[str, Any]
BLOCKS = 100  # of a modal or a home tab
METADATA_CHARS = 3_000
PROMPTS = 4
_SIZES = {"header": 150, "section": 3_000}


@dataclass(slots=True)
class Modal:
    """A view a person sees; `errors` are those under its fields, by block."""

    view_id: str
    user: str
    view: Json
    errors: Json
    is_open: bool = True


class Views:
    """What is shown to whom: modals, home tabs, prompts by channel and thread."""

    def __init__(self, slack: SlackTwin) -> None:
        self._slack = slack
        self.modals: list[Modal] = []
        self.homes: dict[str, Json] = {}
        self.published: list[str] = []  # for whom, each time
        self.prompts: dict[tuple[str, str | None], list[Json]] = {}
        self.has_home, self.triggers_live = True, True
        self._triggers: dict[str, str] = {}  # id to the person

    async def pick(
        self, user: str, channel: str, ts: str, callback_id: str, *, timeout_s: float = 5.0
    ) -> CommandRun:
        """A person uses a message shortcut; returns when it was acknowledged."""
        slack = self._slack
        token, where = slack.response_url()
        payload = self._who(user) | {
            "type": "message_action",
            "callback_id": callback_id,
            "trigger_id": self.trigger(user),
            "action_ts": slack.world.new_ts(),
            "message_ts": ts,
            "channel": {"id": channel, "name": "somewhere"},
            "message": slack.message(channel, ts).to_json() | {"team": slack.world.team_id},
            "response_url": where,
        }
        return await slack.interact(payload, token, timeout_s)

    async def submit(self, modal: Modal, text: str, *, timeout_s: float = 5.0) -> None:
        """A person fills the modal's only field and sends it; returns when it was answered."""
        [field] = [each for each in modal.view["blocks"] if each["type"] == "input"]
        block, action = field["block_id"], field["element"]["action_id"]
        values = {block: {action: {"type": "plain_text_input", "value": text or None}}}
        shown = modal.view | {"id": modal.view_id, "hash": "1.x", "state": {"values": values}}
        payload = self._who(modal.user) | {
            "type": "view_submission",
            "trigger_id": self.trigger(modal.user),
            "view": shown | {"team_id": self._slack.world.team_id},
            "response_urls": [],
        }
        run = await self._slack.interact(payload, "", timeout_s)
        answer = run.envelope.answer or {}
        modal.errors = answer.get("errors") or {}
        modal.is_open = answer.get("response_action") == "errors"

    def open_home(self, user: str, channel: str, tab: str = "home") -> Any:
        """A person opens the app: `channel` is their direct messages with it."""
        event: Json = {"type": "app_home_opened", "user": user, "channel": channel, "tab": tab}
        if tab == "home" and (view := self.homes.get(user)):
            event["view"] = view
        return self._slack.deliver(event | {"event_ts": self._slack.world.new_ts()})

    def open_assistant(self, user: str, channel: str, thread: str) -> Any:
        """A person opens the container of an app of the older kind."""
        about = {"user_id": user, "context": {}, "channel_id": channel, "thread_ts": thread}
        event = {"type": "assistant_thread_started", "assistant_thread": about}
        return self._slack.deliver(event | {"event_ts": self._slack.world.new_ts()})

    def trigger(self, user: str) -> str:
        trigger_id = self._slack.world.new_id("trig")
        self._triggers[trigger_id] = user
        return trigger_id

    def triggered_by(self, trigger_id: str) -> str:
        """The person; a trigger opens one view and dies."""
        if not self.triggers_live:
            raise Refused("expired_trigger_id")
        if (user := self._triggers.pop(trigger_id, None)) is None:
            raise Refused("invalid_trigger_id")
        return user

    def _who(self, user: str) -> Json:
        world = self._slack.world
        return {
            "token": "twin",
            "api_app_id": world.app_id,
            "team": {"id": world.team_id, "domain": "twin"},
            "enterprise": None,
            "is_enterprise_install": False,
            "user": {"id": user, "username": user.lower(), "team_id": world.team_id},
        }


def open_view(slack: SlackTwin, args: Json) -> Json:
    view = _view(args, "modal")
    user = slack.views.triggered_by(str(args.get("trigger_id")))
    modal = Modal(slack.world.new_id("V"), user, view, {})
    slack.views.modals.append(modal)
    return {"view": view | {"id": modal.view_id}}


def publish(slack: SlackTwin, args: Json) -> Json:
    user = str(args.get("user_id"))
    if user not in slack.world.users:
        raise Refused("user_not_found")
    if not slack.views.has_home:
        raise Refused("not_enabled")
    view = _view(args, "home") | {"id": slack.world.new_id("V")}
    slack.views.homes[user] = view
    slack.views.published.append(user)
    return {"view": view}


def set_prompts(slack: SlackTwin, args: Json) -> Json:
    """With a thread for the older kind of app; an agent's call with one fails silently."""
    given = args.get("prompts") or []
    prompts: list[Json] = json.loads(given) if isinstance(given, str) else given
    if str(args.get("channel_id")) not in slack.world.channels:
        raise Refused("channel_not_found")
    if not 0 < len(prompts) <= PROMPTS:
        raise Refused("invalid_arguments")
    if not all(each.get("title") and each.get("message") for each in prompts):
        raise Refused("invalid_arguments")
    thread = args.get("thread_ts")
    if not (slack.is_agent and thread):
        slack.views.prompts[str(args["channel_id"]), thread] = prompts
    return {}


def _view(args: Json, kind: str) -> Json:
    given = args.get("view") or {}
    view: Json = json.loads(given) if isinstance(given, str) else given
    blocks = view.get("blocks") or []
    if view.get("type") != kind or not 0 < len(blocks) <= BLOCKS:
        raise Refused("invalid_arguments")
    if len(view.get("private_metadata", "")) > METADATA_CHARS:
        raise Refused("invalid_arguments")
    if kind == "modal" and not all(len(_text(view, each)) <= 24 for each in ("title", "submit")):
        raise Refused("invalid_arguments")
    for block in blocks:
        if len(_text(block, "text")) > _SIZES.get(block.get("type", ""), METADATA_CHARS):
            raise Refused("invalid_arguments")
    return view


def _text(holder: Json, name: str) -> str:
    return str((holder.get(name) or {}).get("text", ""))


METHODS["views.open"] = open_view
METHODS["views.publish"] = publish
METHODS["assistant.threads.setSuggestedPrompts"] = set_prompts
SCOPES["assistant.threads.setSuggestedPrompts"] = frozenset({"assistant:write"})
