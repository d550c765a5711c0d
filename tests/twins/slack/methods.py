"""What each Web API method does to the workspace, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.twins.slack.world import TEXT_CUT, Channel, Posted

if TYPE_CHECKING:
    from tests.twins.slack import SlackTwin

Json = dict[str, Any]
MARKDOWN_CHARS = 12_000  # over all markdown blocks of one message
BLOCKS = 50


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
    before = message.to_json()
    message.edit(sent)
    changed = {"message": message.to_json(), "previous_message": before}
    slack.tell(channel, {"subtype": "message_changed", "hidden": True, **changed})
    return {"channel": channel.channel_id, "ts": message.ts, "text": sent["text"], **warning}


def delete(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    message = _message(slack, channel, args)
    if message.user != slack.world.bot_user_id:
        raise Refused("cant_delete_message")
    slack.remove(message)
    return {"channel": channel.channel_id, "ts": message.ts}


def replies(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    root = _message(slack, channel, args)
    found = slack.world.thread(channel.channel_id, root.thread_ts or root.ts)
    return _page(sorted(found, key=lambda each: each.ts), args)


def history(slack: SlackTwin, args: Json) -> Json:
    channel = _channel(slack, args)
    top = (
        each
        for each in slack.world.posted.values()
        if each.channel == channel.channel_id and each.thread_ts in (None, each.ts)
    )
    return _page(sorted(top, key=lambda each: each.ts, reverse=True), args)


def channel_info(slack: SlackTwin, args: Json) -> Json:
    return {"channel": _channel(slack, args).to_json()}


def user_info(slack: SlackTwin, args: Json) -> Json:
    user = slack.world.users.get(str(args.get("user")))
    if user is None:
        raise Refused("user_not_found")
    return {"user": user.to_json()}


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
        raise Refused("invalid_thread_ts")
    return str(thread)


def _content(args: Json) -> tuple[Json, Json]:
    """What is kept of the arguments, and the warning to add to the answer."""
    text, blocks = str(args.get("text") or ""), args.get("blocks")
    if not text and not blocks:
        raise Refused("no_text")
    _check_blocks(blocks or [])
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


def _check_blocks(blocks: list[Json]) -> None:
    if len(blocks) > BLOCKS:
        raise Refused("invalid_blocks")
    if any(block.get("type") != "markdown" or not block.get("text") for block in blocks):
        raise Refused("invalid_blocks")
    if sum(len(block["text"]) for block in blocks) > MARKDOWN_CHARS:
        raise Refused("msg_blocks_too_long")


def _bot_message(slack: SlackTwin, channel: Channel, sent: Json, thread: str | None) -> Posted:
    world = slack.world
    return Posted(world.new_ts(), channel.channel_id, world.bot_user_id, sent, thread, world.bot_id)


def _page(found: list[Posted], args: Json) -> Json:
    limit, at = int(args.get("limit") or 100), int(args.get("cursor") or 0)
    with_metadata = str(args.get("include_all_metadata", "")).lower() in ("1", "true")
    more = at + limit < len(found)
    return {
        "messages": [each.to_json(with_metadata=with_metadata) for each in found[at : at + limit]],
        "has_more": more,
        "response_metadata": {"next_cursor": str(at + limit) if more else ""},
    }


METHODS: dict[str, Callable[[SlackTwin, Json], Json]] = {
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
    "users.info": user_info,
}
_READ_HISTORY = frozenset({"channels:history", "groups:history", "im:history", "mpim:history"})
_READ_CHANNELS = frozenset({"channels:read", "groups:read", "im:read", "mpim:read"})
SCOPES = {
    "chat.delete": frozenset({"chat:write"}),
    "chat.postEphemeral": frozenset({"chat:write"}),
    "chat.postMessage": frozenset({"chat:write"}),
    "chat.update": frozenset({"chat:write"}),
    "conversations.history": _READ_HISTORY,
    "conversations.info": _READ_CHANNELS,
    "conversations.replies": _READ_HISTORY,
    "files.info": frozenset({"files:read"}),
    "reactions.add": frozenset({"reactions:write"}),
    "users.info": frozenset({"users:read"}),
}
