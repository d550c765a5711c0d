"""A fake Slack on a loopback port: Web API, Socket Mode, files, slash commands.

`async with SlackTwin() as slack:` and point any Slack SDK at `slack.api_url`. People act by
`say`, `edit`, `remove`, `press`, `command`; tests look by `messages`,
`edits_of`, `wait_for`. Numbers of the platform (`slack.web.limits`,
`slack.socket.ack_timeout_s`, …) may be set by the test.
"""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from bot.testing.loopback import Loopback
from bot.testing.previews import Previewer
from bot.testing.slack.faults import SlackFaults
from bot.testing.slack.presses import press_payload
from bot.testing.slack.previews import fetched
from bot.testing.slack.scopes import ALL_SCOPES
from bot.testing.slack.socket import Envelope, SocketMode
from bot.testing.slack.streams import Streams
from bot.testing.slack.uploads import Uploads
from bot.testing.slack.views import Views
from bot.testing.slack.web_api import WebApi
from bot.testing.slack.world import Channel, Edit, Posted, World

Json = dict[str, Any]
RESPONSE_URL_USES = 5
LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Slack</title></head><body>Sign in</body></html>"


@dataclass(slots=True)
class CommandRun:
    """A command or a press on its way; `answers` are the texts its author saw, and only they."""

    envelope: Envelope
    answers: list[str] = field(default_factory=list)
    uses: int = 0
    thread: str | None = None  # where the last answer was shown


class SlackTwin:
    def __init__(self) -> None:
        self.bot_token = "xoxb-twin-bot"
        self.app_token = "xapp-twin-app"
        self.scopes: set[str] = set(ALL_SCOPES)
        self.world = World()
        self.web, self.uploads, self.views = WebApi(self), Uploads(), Views(self)
        self.socket, self.streams, self.previews = SocketMode(), Streams(), Previewer()
        self.faults = SlackFaults(self)
        self.ephemeral: list[Posted] = []
        self.reactions: list[tuple[str, str, str]] = []
        self.is_agent = False  # declared as one in the app's settings
        self.sessions: list[tuple[str, str, str]] = []  # channel, thread, each status in turn
        self.redirects: dict[str, str] = {}  # file id to another place
        self.file_tokens_seen: list[str] = []
        self.base_url = ""
        self._commands: dict[str, CommandRun] = {}
        self._server = Loopback()
        self.add_user, self.add_channel = self.world.add_user, self.world.add_channel

    @property
    def api_url(self) -> str:
        return self.base_url + "/api/"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api/{method}", self.web.serve)
        app.router.add_get("/link", self.socket.serve)
        app.router.add_get("/files-pri/{file_id}/download/{name}", self._download)
        app.router.add_post("/commands/{token}", self._respond)
        app.router.add_post("/upload/v1/{file_id}", self.uploads.receive)
        self.base_url = await self._server.open(app)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.socket.aclose()
        await self.previews.settle()
        await self._server.close()

    async def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        thread: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
        mention_bot: bool = False,
    ) -> str:
        """A person (or another bot) says something; returns its ts."""
        place, author = self.world.channels[channel], self.world.users[user]
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        escaped = f"<@{self.world.bot_user_id}> {escaped}" if mention_bot else escaped
        ts, bot_id = self.world.new_ts(), "B0ELSE" if author.kind == "bot" else None
        shared = [self._share(user, name, content) for name, content in files]
        sent = {"text": escaped}
        message = self.world.add(Posted(ts, channel, user, sent, thread, bot_id, shared))
        event = message.to_json() | {"client_msg_id": self.world.new_id("c")}
        if mention_bot and place.kind != "im":
            self.tell(place, event | {"type": "app_mention"})
        self.tell(place, event | ({"subtype": "file_share"} if shared else {}))
        return ts

    def tell(self, channel: Channel, event: Json) -> Envelope:
        """Deliver an event of `channel` to the app."""
        event = {"type": "message", "ts": self.world.new_ts()} | event
        kind = {} if event["type"] == "app_mention" else {"channel_type": channel.event_type}
        where = {"channel": channel.channel_id, "event_ts": event["ts"], **kind}
        return self.deliver(event | where, shared=channel.kind == "ext_shared")

    def deliver(self, event: Json, *, shared: bool = False) -> Envelope:
        """Deliver any event, wrapped as the Events API wraps it."""
        world = self.world
        bot = {"team_id": world.team_id, "user_id": world.bot_user_id, "is_bot": True}
        body = {
            "token": "twin",
            "team_id": world.team_id,
            "api_app_id": world.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": world.new_id("Ev"),
            "event_time": int(time.time()),
            "authorizations": [{"enterprise_id": None, "is_enterprise_install": False, **bot}],
            "is_ext_shared_channel": shared,
        }
        return self.socket.send("events_api", body)

    async def command(
        self, user: str, channel: str, name: str, text: str = "", *, timeout_s: float = 5.0
    ) -> CommandRun:
        """A person runs a slash command; returns when it was acknowledged."""
        token, where = self.response_url()
        payload = {
            "token": "twin",
            "team_id": self.world.team_id,
            "team_domain": "twin",
            "channel_id": channel,
            "channel_name": "somewhere",
            "user_id": user,
            "user_name": user.lower(),
            "command": name,
            "text": text,
            "api_app_id": self.world.app_id,
            "is_enterprise_install": "false",
            "response_url": where,
            "trigger_id": self.world.new_id("trig"),
        }
        run = await self._sent("slash_commands", payload, token, timeout_s)
        if run.envelope.answer and run.envelope.answer.get("text"):
            run.answers.append(str(run.envelope.answer["text"]))
        return run

    def messages(self, channel: str, thread: str | None = None) -> list[str]:
        """The texts as people see them now: of the channel's top, or of a thread."""
        return [each.text for each in self.posted(channel, thread)]

    def posted(self, channel: str, thread: str | None = None) -> list[Posted]:
        if thread is not None:
            return sorted(self.world.thread(channel, thread), key=lambda each: each.ts)
        everything = self.world.posted.values()
        return [each for each in everything if each.channel == channel and not each.thread_ts]

    def edits_of(self, ts: str) -> list[Edit]:
        """All that a message has said, oldest first; `ts` is unique in the twin."""
        found = (each.edits for each in self.world.posted.values() if each.ts == ts)
        return list(next(found))

    def message(self, channel: str, ts: str) -> Posted:
        return self.world.posted[channel, ts]

    def edit(self, channel: str, ts: str, text: str) -> Envelope:
        """A person changes what they said."""
        message = self.message(channel, ts)
        return self.change(message, {"text": text}, by=message.user)

    def change(self, message: Posted, sent: Json, *, by: str) -> Envelope:
        before = message.to_json()
        self.world.change(message, sent, by)
        return self.tell_change(message.channel, message.to_json(), before)

    def unfurl(self, channel: str, ts: str) -> Envelope:
        """A link in a message grows a preview: a change that is not an edit."""
        before = self.message(channel, ts).to_json()
        preview = {"id": 1, "from_url": "https://example.com/", "text": "A page"}
        return self.tell_change(channel, before | {"attachments": [preview]}, before)

    def remove(self, message: Posted) -> Envelope:
        """A message is deleted; of a thread's root a tombstone stays while it has answers."""
        before = message.to_json()
        if len(self.world.thread(message.channel, message.ts)) > 1:
            message.user, message.subtype = "USLACKBOT", "tombstone"
            message.edit({"text": "This message was deleted."})
            left = message.to_json() | {"hidden": True, "thread_ts": message.ts}
            return self.tell_change(message.channel, left, before)
        del self.world.posted[message.channel, message.ts]
        gone = {"subtype": "message_deleted", "hidden": True, "deleted_ts": message.ts}
        event = gone | {"previous_message": before}
        return self.tell(self.world.channels[message.channel], event)

    def stop_session(self, user: str, channel: str, thread: str) -> Envelope:
        """A person presses the platform's own stop button, shown while a session is processing."""
        states = [state for *where, state in self.sessions if where == [channel, thread]]
        assert states[-1:] == ["processing"], "no stop button is shown"
        event = {"type": "agent_session_stopped", "channel": channel, "thread_ts": thread}
        ended = self.streams.stopped_by_user(channel, thread)
        about = {"streaming_message_ts": ended, "user": user, "event_ts": self.world.new_ts()}
        return self.deliver(event | about)

    async def press(
        self, user: str, channel: str, ts: str, action_id: str, *, timeout_s: float = 5.0
    ) -> CommandRun:
        """A person presses a button under a message; returns when it was acknowledged."""
        token, where = self.response_url()
        message = self.message(channel, ts)
        payload = press_payload(self.world, message, user, action_id, response_url=where)
        return await self.interact(payload, token, timeout_s)

    async def interact(self, payload: Json, token: str, timeout_s: float) -> CommandRun:
        """Deliver a press, a shortcut or a modal; returns when it was acknowledged."""
        return await self._sent("interactive", payload, token, timeout_s)

    async def wait_for(self, predicate: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until `predicate()` holds; raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while not predicate():  # noqa: ASYNC110 - a test may look at anything
                await asyncio.sleep(0.01)

    def tell_change(self, channel: str, now: Json, before: Json) -> Envelope:
        changed = {"message": now, "previous_message": before}
        event = {"subtype": "message_changed", "hidden": True, **changed}
        return self.tell(self.world.channels[channel], event)

    def response_url(self) -> tuple[str, str]:
        token = self.world.new_id("resp")
        return token, f"{self.base_url}/commands/{token}"

    async def _sent(self, kind: str, payload: Json, token: str, timeout_s: float) -> CommandRun:
        run = CommandRun(self.socket.send(kind, payload, resend=False))
        self._commands[token] = run
        async with asyncio.timeout(timeout_s):
            await run.envelope.acked.wait()
        return run

    def _share(self, user: str, name: str, content: bytes) -> Json:
        file_id = self.world.new_id("F")
        url = f"{self.base_url}/files-pri/{file_id}/download/{name}"
        file = {
            "id": file_id,
            "name": name,
            "title": name,
            "filetype": name.rpartition(".")[2],
            "mimetype": mimetypes.guess_type(name)[0] or "application/octet-stream",
            "size": len(content),
            "user": user,
            "mode": "hosted",
            "url_private": url,
            "url_private_download": url,
        }
        self.world.files[file_id] = (file, content)
        return file

    async def _download(self, request: web.Request) -> web.StreamResponse:
        file_id = request.match_info["file_id"]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.file_tokens_seen.append(token)
        if file_id in self.redirects:
            raise web.HTTPFound(self.redirects[file_id])
        if token != self.bot_token or "files:read" not in self.scopes:
            return web.Response(text=LOGIN_PAGE, content_type="text/html")
        file, content = self.world.files[file_id]
        return web.Response(body=content, content_type=file["mimetype"])

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        run = self._commands.get(request.match_info["token"])
        if run is None or run.uses >= RESPONSE_URL_USES:
            return web.Response(status=404, text="used_url")
        run.uses += 1
        answer = await request.json()
        self.previews.look("response", fetched("response_url", answer))
        run.thread = answer.get("thread_ts")
        run.answers.append(str(answer.get("text", "")))
        return web.Response(text="ok")
