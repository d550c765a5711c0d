"""Slash commands: the 3-second answer, follow-ups, and the private answers people got."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from aiohttp import web

from bot.testing.discord.gateway import Gateway
from bot.testing.discord.limits import Refused, json_answer
from bot.testing.discord.rest import Rest, body_of
from bot.testing.discord.world import Channel, Json, Posted, User, World

ANSWER_WITHIN_S = 3.0
TOKEN_LIVES_S = 900.0


@dataclass(eq=False)
class Interaction:
    id: int
    token: str
    channel: Channel
    user: User
    asked_at: float = field(default_factory=time.monotonic)
    answered_at: float = 0.0
    original: Posted | None = None
    deferred_flags: int = 0
    choices: list[str] | None = None  # what was proposed while somebody typed
    modal: Json | None = None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.asked_at


class Interactions:
    """Keeps every interaction by its token."""

    def __init__(self, world: World, gateway: Gateway, rest: Rest) -> None:
        self._world, self._gateway, self._rest = world, gateway, rest
        self.by_token: dict[str, Interaction] = {}
        self.locale = "en-US"  # of everybody's client

    def routes(self) -> list[web.RouteDef]:
        hook = "/api/v10/webhooks/{app}/{token}"
        return [
            web.post("/api/v10/interactions/{id}/{token}/callback", self._callback),
            web.post(hook, self._follow_up),
            web.get(hook + "/messages/@original", self._original),
            web.patch(hook + "/messages/@original", self._edit_original),
            web.delete(hook + "/messages/@original", self._delete_original),
        ]

    async def start(self, user: User, channel: Channel, name: str, options: Json) -> Interaction:
        asked = Interaction(self._world.new_id(), secrets.token_hex(16), channel, user)
        self.by_token[asked.token] = asked
        command = next((c for c in self._world.commands if c["name"] == name), None)
        if command is None:
            raise AssertionError(f"the bot has no command {name!r}")
        given = [{"name": key, "type": 3, "value": value} for key, value in options.items()]
        data = {"id": command["id"], "name": name, "type": 1, "options": given}
        await self._dispatch(asked, {"type": 2, "data": data})
        return asked

    async def complete(
        self, user: User, channel: Channel, name: str, option: str, typed: str
    ) -> Interaction:
        """A person types the option of a command, which must ask to be completed."""
        asked = Interaction(self._world.new_id(), secrets.token_hex(16), channel, user)
        self.by_token[asked.token] = asked
        command = next(c for c in self._world.commands if c["name"] == name)
        wanted = next(each for each in command["options"] if each["name"] == option)
        if not wanted.get("autocomplete"):
            raise AssertionError(f"{name} {option} is not completed")
        given = {"name": option, "type": wanted["type"], "value": typed, "focused": True}
        data = {"id": command["id"], "name": name, "type": 1, "options": [given]}
        await self._dispatch(asked, {"type": 4, "data": data})
        return asked

    async def press(self, user: User, message: Posted, custom_id: str) -> Interaction:
        """A person presses a button; it must stand under the message."""
        if custom_id not in message.buttons:
            raise AssertionError(f"no button {custom_id!r} under {message.content!r}")
        channel = message.channel
        asked = Interaction(self._world.new_id(), secrets.token_hex(16), channel, user)
        self.by_token[asked.token] = asked
        shown = self._world.message_payload(message)
        data = {"custom_id": custom_id, "component_type": 2, "id": 1}
        await self._dispatch(asked, {"type": 3, "data": data, "message": shown})
        return asked

    async def pick(self, user: User, message: Posted, name: str) -> Interaction:
        """A person picks a message, and from its menu the app's command of this name."""
        command = next(c for c in self._world.commands if c["name"] == name and c["type"] == 3)
        asked = Interaction(self._world.new_id(), secrets.token_hex(16), message.channel, user)
        self.by_token[asked.token] = asked
        shown = {str(message.id): self._world.message_payload(message)}
        data = {"id": command["id"], "name": name, "type": 3, "target_id": str(message.id)}
        await self._dispatch(asked, {"type": 2, "data": {**data, "resolved": {"messages": shown}}})
        return asked

    async def send(self, user: User, answered: Interaction, text: str) -> Interaction:
        """A person fills in the modal that an interaction was answered with, and sends it."""
        if answered.modal is None:
            raise AssertionError("no modal was shown")
        asked = Interaction(self._world.new_id(), secrets.token_hex(16), answered.channel, user)
        self.by_token[asked.token] = asked
        field = answered.modal["components"][0]["component"]
        value = {"type": field["type"], "id": 2, "custom_id": field["custom_id"], "value": text}
        label = {"type": 18, "id": 1, "component": value}
        data = {"custom_id": answered.modal["custom_id"], "components": [label]}
        await self._dispatch(asked, {"type": 5, "data": data})
        return asked

    async def _dispatch(self, asked: Interaction, what: Json) -> None:
        channel, user = asked.channel, asked.user
        payload: Json = {
            "id": str(asked.id),
            "application_id": str(self._world.application_id),
            "token": asked.token,
            "version": 1,
            "channel": self._world.channel_payload(channel),
            "channel_id": str(channel.id),
            **what,
            "entitlements": [],
            "locale": self.locale,
            "attachment_size_limit": 10 * 1024 * 1024,
            "app_permissions": "0",
            "authorizing_integration_owners": {},
        }
        if channel.kind == "dm":
            payload |= {"user": user.payload(), "context": 1}
        else:
            payload |= {"guild_id": str(self._world.guild_id), "context": 0}
            payload |= {"member": self._world.member_payload(user)}
        await self._gateway.broadcast("INTERACTION_CREATE", payload)

    def _known(self, request: web.Request, limit_s: float) -> Interaction:
        asked = self.by_token.get(request.match_info["token"])
        if asked is None or asked.age_s > limit_s:
            raise Refused(404, 10062, "Unknown interaction")
        return asked

    async def _callback(self, request: web.Request) -> web.Response:
        asked = self.by_token.get(request.match_info["token"])
        if asked is not None and asked.answered_at:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        asked, body = self._known(request, ANSWER_WITHIN_S), await body_of(request)
        given: Json = body.get("data") or {}
        told: Json = {"id": str(asked.id), "type": 2}
        resource: Json = {"type": body["type"]}
        if body["type"] == 4:
            asked.original = self._rest.write(asked.channel, given)
            told["response_message_id"] = str(asked.original.id)
            told["response_message_ephemeral"] = asked.original.ephemeral
            resource["message"] = self._world.message_payload(asked.original)
        elif body["type"] == 9:
            if not 0 < len(given["title"]) <= 45 or not 0 < len(given["components"]) <= 5:
                raise Refused(400, 50035, "Invalid Form Body")
            asked.modal = given
        elif body["type"] == 8:
            if len(given["choices"]) > 25:
                raise Refused(400, 50035, "Invalid Form Body")
            asked.choices = [each["value"] for each in given["choices"]]
        else:
            asked.deferred_flags = int(given.get("flags") or 0)
            told["response_message_loading"] = True
        asked.answered_at = time.monotonic()
        if asked.original is not None and not asked.original.ephemeral:
            await self._gateway.message("MESSAGE_CREATE", asked.original)
        if request.query.get("with_response") != "1":
            return json_answer(204, None)
        return json_answer(200, {"interaction": told, "resource": resource})

    async def _follow_up(self, request: web.Request) -> web.Response:
        asked, body = self._known(request, TOKEN_LIVES_S), await body_of(request)
        posted = self._rest.write(asked.channel, body)
        if asked.original is None:
            posted.flags |= asked.deferred_flags
            asked.original = posted
        return json_answer(200, self._world.message_payload(posted))

    def _answered(self, request: web.Request) -> Posted:
        asked = self._known(request, TOKEN_LIVES_S)
        if asked.original is None:
            raise Refused(404, 10008, "Unknown Message")
        return asked.original

    async def _original(self, request: web.Request) -> web.Response:
        return json_answer(200, self._world.message_payload(self._answered(request)))

    async def _edit_original(self, request: web.Request) -> web.Response:
        asked, body = self._known(request, TOKEN_LIVES_S), await body_of(request)
        if asked.original is None and asked.answered_at:
            asked.original = self._rest.write(asked.channel, body)
            asked.original.flags |= asked.deferred_flags
        else:
            self._rest.rewrite(self._answered(request), body)
        return json_answer(200, self._world.message_payload(self._answered(request)))

    async def _delete_original(self, request: web.Request) -> web.Response:
        posted = self._answered(request)
        self._world.messages.pop(posted.id, None)
        return json_answer(204, None)
