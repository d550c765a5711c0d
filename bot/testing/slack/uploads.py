"""Files that an app shares: an address for the bytes, then one call that puts them in place."""

from __future__ import annotations

import json
import mimetypes
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot.testing.slack.methods import METHODS, SCOPES, Refused
from bot.testing.slack.world import Posted

if TYPE_CHECKING:
    from bot.testing.slack import SlackTwin

Json = dict[str, Any]


class Uploads:
    """What was begun: by file id, its name and length, and the bytes once they came."""

    def __init__(self) -> None:
        self.begun: dict[str, tuple[str, int]] = {}
        self.sent: dict[str, bytes] = {}

    async def receive(self, request: web.Request) -> web.Response:
        """As `files.slack.com/upload/v1`: plain text, no token, the address is the key."""
        file_id, content = request.match_info["file_id"], await request.read()
        if file_id not in self.begun:
            return web.Response(status=404)
        if len(content) != self.begun[file_id][1]:
            return web.Response(status=400, text="length_mismatch")
        self.sent[file_id] = content
        return web.Response(text=f"OK - {len(content)}")


def begin(slack: SlackTwin, args: Json) -> Json:
    name, length = str(args.get("filename") or ""), str(args.get("length") or "")
    if not name or not length.isdecimal() or int(length) == 0:
        raise Refused("invalid_arguments")
    file_id = slack.world.new_id("F")
    slack.uploads.begun[file_id] = (name, int(length))
    return {"file_id": file_id, "upload_url": f"{slack.base_url}/upload/v1/{file_id}"}


def complete(slack: SlackTwin, args: Json) -> Json:
    """Shares in a channel when one is named; a thread's `ts` must be its root's."""
    given = args.get("files") or []
    wanted: list[Json] = json.loads(given) if isinstance(given, str) else given
    channel_id = args.get("channel_id")
    channel = slack.world.channels.get(str(channel_id))
    if channel_id is not None and channel is None:
        raise Refused("channel_not_found")
    if channel is not None and not channel.with_bot:
        raise Refused("not_in_channel")
    if not wanted or any(each.get("id") not in slack.uploads.sent for each in wanted):
        raise Refused("file_not_found")
    thread = args.get("thread_ts")
    if thread is not None and (str(channel_id), thread) not in slack.world.posted:
        raise Refused("invalid_thread_ts")
    files = [_file(slack, str(each["id"]), each.get("title")) for each in wanted]
    if channel is not None:
        world, sent = slack.world, {"text": str(args.get("initial_comment") or "")}
        message = Posted(
            world.new_ts(),
            channel.channel_id,
            world.bot_user_id,
            sent,
            thread,
            world.bot_id,
            files,
            subtype="file_share",
        )
        world.add(message)
        slack.tell(channel, message.to_json() | {"app_id": world.app_id})
    return {"files": [{"id": each["id"], "title": each["title"]} for each in files]}


def delete(slack: SlackTwin, args: Json) -> Json:
    """The file goes from every message; a message that said nothing else goes too."""
    file_id = str(args.get("file"))
    if slack.world.files.pop(file_id, None) is None:
        raise Refused("file_not_found")
    for message in list(slack.world.posted.values()):
        if any(each["id"] == file_id for each in message.files):
            message.files = [each for each in message.files if each["id"] != file_id]
            if not message.files and not message.text:
                slack.remove(message)
    return {}


def _file(slack: SlackTwin, file_id: str, title: object) -> Json:
    content, (name, _) = slack.uploads.sent.pop(file_id), slack.uploads.begun.pop(file_id)
    url = f"{slack.base_url}/files-pri/{file_id}/download/{name}"
    file: Json = {
        "id": file_id,
        "name": name,
        "title": str(title or name),
        "filetype": name.rpartition(".")[2],
        "mimetype": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "size": len(content),
        "user": slack.world.bot_user_id,
        "mode": "snippet" if name.endswith((".md", ".txt")) else "hosted",
        "url_private": url,
        "url_private_download": url,
    }
    slack.world.files[file_id] = (file, content)
    return file


METHODS["files.getUploadURLExternal"] = begin
METHODS["files.completeUploadExternal"] = complete
METHODS["files.delete"] = delete
_WRITE = frozenset({"files:write"})
SCOPES["files.getUploadURLExternal"] = SCOPES["files.completeUploadExternal"] = _WRITE
SCOPES["files.delete"] = _WRITE
