"""Attachments of a turn: fetched, decoded in the sandbox, read by vision, kept by hash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from adapters.chat.sentences import say
from adapters.chat.types import Activity, Attachment, AttachmentError, ChatAdapter
from adapters.images import ImageRefused, prepare_image
from adapters.stores.blobs import Blob, RedisBlobs
from adapters.stores.claim import Lease
from agents.budget import Allowance
from agents.errors import AgentError
from agents.ports import ImageData
from agents.turns import Image
from agents.vision import Eyes
from tools.contract import Seen, ToolError
from tools.identity import ConversationKey
from tools.labels import Integrity, Label

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a turn asks of the vision routes."""

    pin: str | None = None
    local_only: bool = False
    allowance: Allowance | None = None
    waiting: Callable[[int], None] = lambda position: None


class ReadAttachments(msgspec.Struct, frozen=True):
    """What could be read, and one sentence for each file that could not."""

    images: tuple[Image, ...] = ()
    refusals: tuple[str, ...] = ()


class AttachmentReader:
    """Turns platform attachments into described images."""

    def __init__(self, blobs: RedisBlobs, eyes: Eyes, *, max_bytes: int, max_count: int) -> None:
        self._blobs, self._eyes = blobs, eyes
        self._max_bytes, self._max_count = max_bytes, max_count

    async def read(
        self,
        adapter: ChatAdapter,
        lease: Lease,
        attachments: Sequence[Attachment],
        *,
        turn_id: str,
        label: Label,
        terms: Terms,
        show: Callable[[Activity], None],
        locale: str = "en",
    ) -> ReadAttachments:
        """One after another: a local vision model reads one picture at a time anyway."""
        images: list[Image] = []
        refusals: list[str] = []
        untrusted = label.lowered_to(Integrity.UNTRUSTED)

        async def keep(data: bytes, media_type: str) -> str:
            return await self._blobs.put(lease, turn_id, Blob(data, media_type, untrusted))

        for attachment in attachments[: self._max_count]:
            show(Activity("reading the attachment", "running"))
            try:
                images.append(await self._read_one(adapter, attachment, keep, terms, locale))
            except (AttachmentError, ImageRefused) as error:
                refusals.append(say(locale, str(error)))
                show(Activity("reading the attachment", "failed"))
            else:
                show(Activity("reading the attachment", "done"))
        if len(attachments) > self._max_count:
            refusals.append(
                say(locale, "I read the first {count} attachments only.", count=self._max_count)
            )
        return ReadAttachments(tuple(images), tuple(refusals))

    async def _read_one(
        self,
        adapter: ChatAdapter,
        attachment: Attachment,
        keep: Callable[[bytes, str], Awaitable[str]],
        terms: Terms,
        locale: str,
    ) -> Image:
        limit = min(self._max_bytes, adapter.limits.max_attachment_bytes)
        if attachment.size_bytes > limit:
            raise AttachmentError(
                say(
                    locale,
                    "The attachment is {size} MB; I read up to {limit} MB.",
                    size=f"{attachment.size_bytes / 1e6:.0f}",
                    limit=f"{limit / 1e6:.0f}",
                )
            )
        raw = await adapter.fetch(attachment, max_bytes=limit)
        prepared = await prepare_image(raw)
        sha256 = await keep(prepared.data, prepared.media_type)
        picture = ImageData(prepared.data, prepared.media_type)
        image = Image(sha256, prepared.media_type, attachment.name[:200])
        try:
            seen = await self._describe(picture, None, terms)
        except AgentError as error:  # none can serve, or the one that did broke off
            log.warning("vision.failed", why=str(error))
            return image
        return msgspec.structs.replace(image, seen=seen.text, seen_by=seen.route)

    async def look(
        self,
        key: ConversationKey,
        images: Sequence[Image],
        number: int,
        question: str,
        *,
        terms: Terms,
    ) -> Seen:
        """Ask vision again about image `number` (1 is the first); raises `ToolError`."""
        if not 1 <= number <= len(images):
            raise ToolError(f"there is no image {number}; there are {len(images)}")
        blob = await self._blobs.get(key, images[number - 1].sha256)
        if blob is None:
            raise ToolError(f"image {number} is no longer kept; ask for it to be sent again")
        picture = ImageData(
            blob.data, "image/png" if blob.media_type == "image/png" else "image/jpeg"
        )
        try:
            return await self._describe(picture, question, terms)
        except AgentError as error:
            raise ToolError("no vision model can look at it just now") from error

    async def _describe(self, picture: ImageData, question: str | None, terms: Terms) -> Seen:
        return await self._eyes.describe(
            picture,
            question=question,
            pin=terms.pin,
            local_only=terms.local_only,
            allowance=terms.allowance,
            waiting=terms.waiting,
        )
