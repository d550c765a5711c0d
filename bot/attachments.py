"""Attachments of a turn: fetched, read in the sandbox, seen by vision, kept by hash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import msgspec
import structlog

from adapters.chat.safe_text import unhidden
from adapters.chat.sentences import mark, say
from adapters.chat.types import Activity, Attachment, AttachmentError, ChatAdapter, ReplyFile
from adapters.decoding.errors import FileRefused
from adapters.decoding.files import Decoded, Picture, decode_file
from adapters.decoding.sandbox import Sandbox
from adapters.models.openai_wire import estimate_tokens
from adapters.stores.blobs import Blob, RedisBlobs
from adapters.stores.claim import Lease
from agents.budget import Allowance
from agents.errors import AgentError
from agents.ports import ImageData
from agents.turns import Document, Image
from agents.vision import Eyes
from bot.file_sentences import cut_short, pages_left_out, refusal
from tools.contract import Opened, Seen, ToolError
from tools.identity import ConversationKey
from tools.labels import Integrity, Label

log = structlog.get_logger(__name__)

SEEN = mark("Picture {number}, as I saw it.")
_MOST_SHOWN = 4  # beside a card
_MOST_CHARS_PER_TOKEN = 4
_TEXTS = {".csv": "CSV", ".tsv": "CSV", ".md": "Markdown", ".json": "JSON", ".log": "log"}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a turn asks of the vision routes."""

    pin: str | None = None
    local_only: bool = False
    allowance: Allowance | None = None
    waiting: Callable[[int], None] = lambda position: None


class ReadAttachments(msgspec.Struct, frozen=True):
    """What could be read, and one sentence for each file that could not, or not whole."""

    images: tuple[Image, ...] = ()
    refusals: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()


Keep = Callable[[bytes, str], Awaitable[str]]


@dataclass(slots=True)
class _Reading:
    """One message's files as they are read."""

    keep: Keep
    terms: Terms
    locale: str
    tokens_left: int
    images: list[Image] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class AttachmentReader:
    """Turns platform attachments into described images and the text of documents."""

    def __init__(
        self,
        blobs: RedisBlobs,
        eyes: Eyes,
        *,
        sandbox: Sandbox,
        max_bytes: int,
        max_count: int,
        max_document_tokens: int,
    ) -> None:
        self._blobs, self._eyes, self._sandbox = blobs, eyes, sandbox
        self._max_bytes, self._max_count = max_bytes, max_count
        self._max_document_tokens = max_document_tokens

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
        untrusted = label.lowered_to(Integrity.UNTRUSTED)

        async def keep(data: bytes, media_type: str) -> str:
            return await self._blobs.put(lease, turn_id, Blob(data, media_type, untrusted))

        reading = _Reading(keep, terms, locale, self._max_document_tokens)
        for attachment in attachments[: self._max_count]:
            show(Activity("reading the attachment", "running"))
            try:
                await self._read_one(adapter, attachment, reading)
            except AttachmentError as error:
                reading.told.append(say(locale, str(error)))
            except FileRefused as error:
                log.info("attachment.refused", reason=error.reason, size=attachment.size_bytes)
                reading.told.append(refusal(error, attachment.name, locale))
            else:
                show(Activity("reading the attachment", "done"))
                continue
            show(Activity("reading the attachment", "failed"))
        if len(attachments) > self._max_count:
            reading.told.append(
                say(locale, "I read the first {count} attachments only.", count=self._max_count)
            )
        return ReadAttachments(tuple(reading.images), tuple(reading.told), tuple(reading.documents))

    async def _read_one(
        self, adapter: ChatAdapter, attachment: Attachment, reading: _Reading
    ) -> None:
        limit = min(self._max_bytes, adapter.limits.max_attachment_bytes)
        if attachment.size_bytes > limit:
            raise AttachmentError(
                say(
                    reading.locale,
                    "The attachment is {size} MB; I read up to {limit} MB.",
                    size=f"{attachment.size_bytes / 1e6:.0f}",
                    limit=f"{limit / 1e6:.0f}",
                )
            )
        raw = await adapter.fetch(attachment, max_bytes=limit)
        found = await decode_file(raw, self._sandbox, claimed=attachment.media_type)
        name = attachment.name[:200]
        if found.text:
            await self._add_document(found, name, reading)
        elif found.kind == "PDF":  # scanned: every page is a picture of its own
            for number, page in enumerate(found.pictures, 1):
                reading.images.append(await self._see((page,), f"{name}, {number}", reading))
        else:
            reading.images.append(await self._see(found.pictures, name, reading))
        if found.kind == "PDF" and found.read < found.total:
            reading.told.append(
                pages_left_out(name, reading.locale, read=found.read, total=found.total)
            )

    async def _add_document(self, found: Decoded, name: str, reading: _Reading) -> None:
        """The whole text is kept by hash; a prompt gets what its budget has left."""
        sha256 = await reading.keep(found.text.encode(), "text/plain")
        beginning = within_tokens(found.text, reading.tokens_left)
        whole = len(beginning) == len(found.text) and not found.cut
        text = unhidden(beginning)
        tokens = estimate_tokens(text)
        reading.tokens_left = max(0, reading.tokens_left - tokens)
        reading.documents.append(Document(sha256, name, _kind_of(found, name), text, whole))
        if not whole:
            reading.told.append(cut_short(name, reading.locale, tokens=tokens))

    async def _see(self, frames: Sequence[Picture], name: str, reading: _Reading) -> Image:
        hashes = [await reading.keep(frame.data, frame.media_type) for frame in frames]
        first, *more = [ImageData(frame.data, frame.media_type) for frame in frames]
        image = Image(hashes[0], frames[0].media_type, name, more=tuple(hashes[1:]))
        try:
            seen = await self._describe(first, None, reading.terms, more=more)
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
        image = images[number - 1]
        frames = [await self._kept(key, sha256) for sha256 in (image.sha256, *image.more)]
        first, *more = frames
        if first is None:
            raise ToolError(f"image {number} is no longer kept; ask for it to be sent again")
        try:
            later = [frame for frame in more if frame is not None]
            return await self._describe(first, question, terms, more=later)
        except AgentError as error:
            raise ToolError("no vision model can look at it just now") from error

    async def opened(
        self, key: ConversationKey, documents: Sequence[Document], number: int
    ) -> Opened:
        """The whole text of document `number` (1 is the first); raises `ToolError`."""
        if not 1 <= number <= len(documents):
            raise ToolError(f"there is no file {number}; there are {len(documents)}")
        document = documents[number - 1]
        blob = await self._blobs.get(key, document.sha256)
        if blob is None:
            raise ToolError(f"file {number} is no longer kept; ask for it to be sent again")
        return Opened(document.name, blob.data.decode(errors="replace"), blob.label)

    async def pictures(
        self, key: ConversationKey, images: Sequence[Image], *, locale: str
    ) -> tuple[ReplyFile, ...]:
        """The very pictures that vision saw, for who must decide on what came of them (row F7)."""
        found = []
        for number, image in enumerate(images[:_MOST_SHOWN], 1):
            if (kept := await self._kept(key, image.sha256)) is not None:
                name = f"seen-{number}.{kept.media_type.removeprefix('image/')}"
                sentence = say(locale, SEEN, number=number)
                found.append(ReplyFile(name, kept.data, sentence))
        return tuple(found)

    async def _kept(self, key: ConversationKey, sha256: str) -> ImageData | None:
        blob = await self._blobs.get(key, sha256)
        if blob is None:
            return None
        return ImageData(blob.data, "image/png" if blob.media_type == "image/png" else "image/jpeg")

    async def _describe(
        self,
        picture: ImageData,
        question: str | None,
        terms: Terms,
        *,
        more: Sequence[ImageData] = (),
    ) -> Seen:
        return await self._eyes.describe(
            picture,
            question=question,
            more=more,
            pin=terms.pin,
            local_only=terms.local_only,
            allowance=terms.allowance,
            waiting=terms.waiting,
        )


def _kind_of(found: Decoded, name: str) -> str:
    """Plain text by the name's ending: nothing but what it is called depends on it."""
    return (
        _TEXTS.get(PurePath(name).suffix.casefold(), "text") if found.kind == "TEXT" else found.kind
    )


def within_tokens(text: str, tokens: int) -> str:
    """The longest beginning of at most about `tokens` tokens; whole lines where that is near."""
    kept = text[: tokens * _MOST_CHARS_PER_TOKEN]
    while kept and (cost := estimate_tokens(kept)) > tokens:
        kept = kept[: min(len(kept) - 1, int(len(kept) * tokens / cost))]
    if len(kept) == len(text):
        return text
    whole_lines = kept.rfind("\n")
    return kept[:whole_lines] if whole_lines > len(kept) * 0.8 else kept
