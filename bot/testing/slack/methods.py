"""What each Web API method does to the workspace, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bot.testing.slack.blocks import fault_of
from bot.testing.slack.world import TEXT_CUT, Channel, Posted

if TYPE_CHECKING:
    from bot.testing.slack import SlackTwin

Json = dict[str, Any]


class Refused(Exception):
    """Becomes HTTP 200 with `ok: false`."""

    def __init__(self, error: str, **extra: Any) -> None:
        super().__init__(error)
        self.error, self.extra = error, extra


def auth_test(slack: SlackTwin, args: Json) -> Json:
    return {
        "url": slack.base_url + "/",
        "team": "twin",
        "user": "firstline",
        "team_id": slack.world.team_id,
        "user_id": slack.world.bot_user_id,
        "bot_id": slack.world.bot_id,
        "is_enterprise_install": False,
    }


def open_connection(slack: SlackTwin, args: Json) -> Json:
    address = slack.base_url.replace("http", "ws", 1)
    return {"url": f"{address}/link?ticket={slack.socket.issue_ticket()}"}


def post_message(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args, member=True)
    sent, warning = _content(args)
    thread = _thread(slack, channel, args)
    message = _bot_message(slack, channel, sent, thread)
    slack.world.add(message)
    slack.tell(channel, message.to_json() | {"app_id": slack.world.app_id})
    found = message.to_json(with_metadata=True)
    return {"channel": channel.channel_id, "ts": message.ts, "message": found, **warning}


def post_ephemeral(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args, member=True)
    if args.get("user") not in slack.world.users:
        raise Refused("user_not_in_channel")
    sent, warning = _content(args)
    message = _bot_message(slack, channel, sent, _thread(slack, channel, args))
    message.only_for = str(args["user"])
    slack.ephemeral.append(message)
    return {"message_ts": message.ts, **warning}


def update(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    message = _message(slack, channel, args)
    if message.user != slack.world.bot_user_id:
        raise Refused("cant_update_message")
    sent, warning = _content(args)
    slack.change(message, sent, by=slack.world.bot_user_id)
    told = {"channel": channel.channel_id, "ts": message.ts, "text": sent["text"]}
    return {**told, "message": message.to_json(), **warning}


def delete(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    message = _message(slack, channel, args)
    if message.user != slack.world.bot_user_id:
        raise Refused("cant_delete_message")
    slack.remove(message)
    return {"channel": channel.channel_id, "ts": message.ts}


def replies(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    root = slack.world.posted.get((channel.channel_id, str(args.get("ts"))))
    if root is None:
        raise Refused("thread_not_found")
    found = slack.world.thread(channel.channel_id, root.thread_ts or root.ts)
    first, *rest = sorted(found, key=lambda each: each.ts)
    thread = [each.to_json(with_metadata=True) for each in (first, *rest)]
    return _page([thread[0], *_within(thread[1:], args)], args)


def history(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args, member=True)
    return _page(_within(slack.world.top(channel.channel_id), args), args)


def own_channels(slack: SlackTwin, args: Json) -> Json:
    kinds = str(args.get("types") or "public_channel").split(",")
    found = [
        each.to_json()
        for each in slack.world.channels.values()
        if each.with_bot and each.listed_as in kinds
    ]
    return {"channels": found, "response_metadata": {"next_cursor": ""}}


def channel_info(slack: SlackTwin, args: Json) -> Json:
    return {"channel": _channel(slack, args).to_json()}


def user_info(slack: SlackTwin, args: Json) -> Json:
    user = slack.world.users.get(str(args.get("user")))
    if user is None:
        raise Refused("user_not_found")
    told = {"locale": user.locale} if args.get("include_locale") else {}
    return {"user": {**user.to_json(), **told}}


def file_info(slack: SlackTwin, args: Json) -> Json:
    found = slack.world.files.get(str(args.get("file")))
    if found is None:
        raise Refused("file_not_found")
    return {"file": found[0]}


def add_reaction(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    message = _message(slack, channel, {"ts": args.get("timestamp")})
    reaction = (channel.channel_id, message.ts, str(args.get("name")))
    if reaction in slack.reactions:
        raise Refused("already_reacted")
    slack.reactions.append(reaction)
    return {}


def set_status(slack: SlackTwin, args: Json) -> Json:
    if not slack.is_agent:
        raise Refused("not_allowed")
    channel = slack.world.channels.get(str(args.get("channel_id")))
    status, thread = args.get("status"), args.get("thread_ts")
    if channel is None or (channel.channel_id, thread) not in slack.world.posted:
        raise Refused("channel_not_found" if channel is None else "thread_not_found")
    if status not in ("active", "processing", "suspended", "closed"):
        raise Refused("invalid_arguments")
    slack.sessions.append((channel.channel_id, str(thread), str(status)))
    return {"status": status}


def _channel(slack: SlackTwin, args: Json, *, member: bool = False) -> Channel:
    channel = slack.world.channels.get(str(args.get("channel")))
    if channel is None:
        raise Refused("channel_not_found")
    if member and not channel.with_bot:
        raise Refused("not_in_channel")
    return channel


def _message(slack: SlackTwin, channel: Channel, args: Json) -> Posted:
    if not isinstance(args.get("ts"), str):
        raise Refused("invalid_arguments")
    message = slack.world.posted.get((channel.channel_id, args["ts"]))
    if message is None:
        raise Refused("message_not_found")
    return message


def _thread(slack: SlackTwin, channel: Channel, args: Json) -> str | None:
    thread = args.get("thread_ts")
    if thread is None:
        return None
    if (channel.channel_id, thread) not in slack.world.posted:
        if slack.world.surfaces_orphans:
            return None
        raise Refused("invalid_thread_ts")
    return str(thread)


def _content(args: Json) -> tuple[Json, Json]:
    """What is kept of the arguments, and the warning to add to the answer."""
    text, blocks = str(args.get("text") or ""), args.get("blocks")
    if not text and not blocks:
        raise Refused("no_text")
    if fault := fault_of(blocks or []):
        raise Refused(fault)
    metadata = args.get("metadata")
    if metadata is not None and (
        not isinstance(metadata.get("event_type"), str)
        or not isinstance(metadata.get("event_payload"), dict)
    ):
        raise Refused("invalid_metadata_format")
    flags = ("unfurl_links", "unfurl_media", "parse", "link_names")
    sent: Json = {key: args[key] for key in flags if key in args}
    sent |= {"text": text[:TEXT_CUT]}
    sent |= {"blocks": blocks} if blocks else {}
    sent |= {"metadata": metadata} if metadata is not None else {}
    return sent, {"warning": "message_truncated"} if len(text) > TEXT_CUT else {}


def _bot_message(slack: SlackTwin, channel: Channel, sent: Json, thread: str | None) -> Posted:
    world = slack.world
    return Posted(world.new_ts(), channel.channel_id, world.bot_user_id, sent, thread, world.bot_id)


def _within(found: list[Json], args: Json) -> list[Json]:
    """What is newer than `oldest` and older than `latest`, unless `inclusive`."""
    oldest, latest = str(args.get("oldest") or "0"), str(args.get("latest") or "")
    is_inclusive = str(args.get("inclusive", "")).lower() in ("1", "true")

    def is_within(ts: float) -> bool:
        if is_inclusive and ts in (float(oldest), float(latest or 0)):
            return True
        return ts > float(oldest) and (not latest or ts < float(latest))

    return [each for each in found if is_within(float(each["ts"]))]


def _page(found: list[Json], args: Json) -> Json:
    limit, at = int(args.get("limit") or 100), int(args.get("cursor") or 0)
    with_metadata = str(args.get("include_all_metadata", "")).lower() in ("1", "true")
    more = at + limit < len(found)
    hidden = frozenset() if with_metadata else frozenset({"metadata"})
    return {
        "messages": [
            {key: value for key, value in each.items() if key not in hidden}
            for each in found[at : at + limit]
        ],
        "has_more": more,
        "response_metadata": {"next_cursor": str(at + limit) if more else ""},
    }


METHODS: dict[str, Callable[[SlackTwin, Json], Json]] = {
    "agents.sessions.setStatus": set_status,
    "apps.connections.open": open_connection,
    "auth.test": auth_test,
    "chat.delete": delete,
    "chat.postEphemeral": post_ephemeral,
    "chat.postMessage": post_message,
    "chat.update": update,
    "conversations.history": history,
    "conversations.info": channel_info,
    "conversations.replies": replies,
    "files.info": file_info,
    "reactions.add": add_reaction,
    "users.conversations": own_channels,
    "users.info": user_info,
}
_READ_HISTORY = frozenset({"channels:history", "groups:history", "im:history", "mpim:history"})
_READ_CHANNELS = frozenset({"channels:read", "groups:read", "im:read", "mpim:read"})
SCOPES = {
    "agents.sessions.setStatus": frozenset({"chat:write"}),
    "chat.delete": frozenset({"chat:write"}),
    "chat.postEphemeral": frozenset({"chat:write"}),
    "chat.postMessage": frozenset({"chat:write"}),
    "chat.update": frozenset({"chat:write"}),
    "conversations.history": _READ_HISTORY,
    "conversations.info": _READ_CHANNELS,
    "conversations.replies": _READ_HISTORY,
    "files.info": frozenset({"files:read"}),
    "reactions.add": frozenset({"reactions:write"}),
    "users.conversations": _READ_CHANNELS,
    "users.info": frozenset({"users:read"}),
}
