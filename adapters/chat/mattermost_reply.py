"""One reply on Mattermost: a placeholder, paced edits, then the final parts, each once.

Mattermost knows a `pending_post_id` for half a minute and gives back the post it made of it.
After that we look for the token ourselves: each post carries it in its props.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from adapters.chat.mattermost_api import MattermostApi, MattermostError
from adapters.chat.pacing import PacedEdits, Pool, Urgency
from adapters.chat.splitting import clip
from adapters.chat.types import NO_OFFERS, Draft, MayShow, Message, Offers, ReplyFile, always

PART_CHARS = 12_000  # a post takes 16,383 (MaxPostSize of a server that was not migrated: 4,000)
PENDING_KNOWN_S = 20.0  # the server's cache keeps a pending post's id for 30 s
MARK = "firstline_part"
WAITING = "_Thinking…_"
_PING = re.compile(r"(?<![A-Za-z0-9])@|@(?=(?:all|channel|here)(?![\w.-]))", re.IGNORECASE)
_IMAGE = re.compile(r"!(?=\[[^\]\n]{0,1000}\][(\[])")
# Only what every reader takes for code: a fence that is not closed is none in Mattermost's apps
_CODE = re.compile(
    r"^ {0,3}(?P<run>`{3,}|~{3,})[^\s`]* *\n(?:.*?\n)??[ ]{0,3}(?P=run) *$",
    re.MULTILINE | re.DOTALL,
)
_NAMED = re.compile(r"\]:")  # somewhere an address has a name that a picture may have


def safe(text: str) -> str:
    """Markdown that pings nobody and loads no picture; never longer than it was.

    Mattermost reads `@name` anywhere, so the sign is written wide; in an address it stays.
    """
    text, done, at = _PING.sub("＠", text), [], 0
    named = _NAMED.search(text) is not None
    for code in _CODE.finditer(text):
        done += [_without_pictures(text[at : code.start()], named), code[0]]
        at = code.end()
    return "".join([*done, _without_pictures(text[at:], named)])


def _without_pictures(text: str, named: bool) -> str:
    """`![a](b)` is a link; what else may turn out to be a picture has a wide sign."""
    text = _IMAGE.sub("", text)
    end = len(text) if named else max(text.rfind("]("), text.rfind("][")) + 1
    return text[:end].replace("![", "！[") + text[end:]


class MattermostReply:
    """Implements `ReplyStream`; ids are those of posts. `who` tells the bot's own id, or raises
    `DeliveryError` while nobody has asked the server."""

    def __init__(
        self,
        api: MattermostApi,
        edits: Pool,
        message: Message,
        *,
        who: Callable[[], str],
        may_show: MayShow = always,
    ) -> None:
        self._api, self._who, self._may_show = api, who, may_show
        self._channel, self._root = message.conversation.channel, message.conversation.thread
        self._since_ms = int(message.sent_at * 1000)
        self._key = hashlib.sha256(message.event_id.encode()).hexdigest()[:25]
        self._placeholder = ""
        self._shown: list[str] = []
        self._tried: set[str] = set()  # tokens whose post may have got through
        name = f"mattermost {message.event_id}"
        self._edits = PacedEdits(edits, self._edit, name=name, may_show=may_show)

    async def open(self, placeholder: str | None, *, again: bool = False) -> str:
        if placeholder is None:
            tried_s_ago = PENDING_KNOWN_S if again else None
            placeholder = await self._post_once(
                WAITING, token=self._key, urgency=Urgency.FIRST, tried_s_ago=tried_s_ago
            )
        self._placeholder = placeholder
        return self._seen(placeholder)

    def show(self, draft: Draft) -> None:
        if self._placeholder and (text := _preview(draft)):
            self._edits.show(text)

    async def deliver(
        self,
        index: int,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None = None,
        offers: Offers = NO_OFFERS,
    ) -> str:
        """`offers` show nothing: buttons would need an address of ours on the server."""
        await self._edits.aclose()
        if index == 0 and self._placeholder:
            try:
                await self._patch(text, Urgency.FINAL)
                return self._placeholder
            except MattermostError as error:
                if error.status != 404:  # gone: somebody deleted it
                    raise
        posted = await self._post_once(text, token=token, tried_s_ago=tried_s_ago)
        if index == 0:
            self._placeholder = posted
        return posted

    async def attach(
        self, index: int, file: ReplyFile, *, token: str, tried_s_ago: float | None = None
    ) -> str:
        await self._edits.aclose()
        return await self._post_once(file.sentence, token=token, tried_s_ago=tried_s_ago, file=file)

    async def remove(self) -> None:
        await self._edits.aclose()
        while self._shown:
            await delete(self._api, self._shown[-1])
            self._shown.pop()
        self._placeholder = ""

    async def aclose(self) -> None:
        await self._edits.aclose()

    async def _edit(self, text: str) -> None:
        await self._patch(text, Urgency.EDIT)

    async def _patch(self, text: str, urgency: Urgency) -> None:
        path, body = f"posts/{self._placeholder}/patch", {"message": safe(text) or "…"}
        await self._api.call("PUT", path, json=body, urgency=urgency, may_show=self._may_show)

    async def _post_once(
        self,
        text: str,
        *,
        token: str,
        tried_s_ago: float | None,
        urgency: Urgency = Urgency.FINAL,
        file: ReplyFile | None = None,
    ) -> str:
        """Post; where an earlier try may have got through, look for it first."""
        if (tried_s_ago is not None or token in self._tried) and (found := await self._find(token)):
            return self._seen(found)
        self._tried.add(token)
        files = []
        if file is not None:
            upload = self._api.upload(
                self._channel, file.name, file.content, may_show=self._may_show
            )
            files.append(await upload)
        body = {
            "channel_id": self._channel,
            "root_id": self._root or "",
            "message": safe(text) or "…",
            "file_ids": files,
            "pending_post_id": f"{self._who()}:{token}",
            "props": {MARK: token, "unsafe_links": "true"},  # the server previews none of them
        }
        posted = await self._api.call(
            "POST", "posts", json=body, urgency=urgency, may_show=self._may_show
        )
        return self._seen(str(posted["id"]))

    async def _find(self, token: str) -> str:
        """Our post that carries `token`, if it stands there."""
        path = f"channels/{self._channel}/posts"
        found = await self._api.call("GET", path, params={"since": self._since_ms})
        for post in found["posts"].values():
            if is_ours(post, self._who()) and post["props"].get(MARK) == token:
                return str(post["id"])
        return ""

    def _seen(self, post_id: str) -> str:
        if post_id not in self._shown:
            self._shown.append(post_id)
        return post_id


def is_ours(post: dict[str, Any], bot_id: str) -> bool:
    return bool(post["user_id"] == bot_id and not post.get("delete_at") and post.get("props"))


async def delete(api: MattermostApi, post_id: str) -> None:
    """Delete a post of ours; one that is gone is fine."""
    try:
        await api.call("DELETE", f"posts/{post_id}")
    except MattermostError as error:
        if error.status != 404:
            raise


def _preview(draft: Draft) -> str:
    if draft.text.strip():
        return clip(draft.text, PART_CHARS)
    running = [each.name for each in draft.activities if each.state == "running"]
    line = draft.status or (f"Using {running[-1]}…" if running else "")
    return f"_{clip(' '.join(line.split()), 200)}_" if line else ""
