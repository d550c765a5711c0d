"""The chat completions format: requests to bytes, chunks and refusals to values."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from adapters.models.openai_schema import ENFORCED, SchemaMode, schema_fields
from agents.ports import FinishReason, ModelRequest, PromptMessage


class ChunkText(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None  # thinking is a sign of life, not part of the answer
    reasoning_content: str | None = None


class Choice(msgspec.Struct, gc=False):
    delta: ChunkText | None = None
    message: ChunkText | None = None  # from servers that do not stream
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None


class Tokenized(msgspec.Struct):
    """What `POST /tokenize` answers: vLLM gives both, llama-server the tokens."""

    count: int | None = None
    tokens: list[Any] = []


class Listed(msgspec.Struct):
    """A model in `GET /models`; vLLM tells its window."""

    id: str = ""
    max_model_len: int | None = None


class Listing(msgspec.Struct):
    data: list[Listed] = []


chunk_decoder = msgspec.json.Decoder(Chunk)
tokenized_decoder = msgspec.json.Decoder(Tokenized)
listing_decoder = msgspec.json.Decoder(Listing)
_encoder = msgspec.json.Encoder()

# Reasons that end a text which is not whole are absent on purpose.
FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "length": "length",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server is known or was found to understand."""

    schema_modes: tuple[SchemaMode, ...] = ("json_schema", "json_object", "none")  # what is left
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    asks_usage: bool = True
    sends_temperature: bool = True

    @property
    def schema_mode(self) -> SchemaMode:
        return self.schema_modes[0]

    @property
    def enforces(self) -> bool:
        """Whether an answer is bound to its schema while it is written."""
        return self.schema_mode in ENFORCED

    def without_mode(self) -> Dialect:
        """With the next way to send a schema; the last one stays."""
        return replace(self, schema_modes=self.schema_modes[1:] or self.schema_modes)


def encode_request(request: ModelRequest, *, model: str, dialect: Dialect) -> bytes:
    messages = [_message(each) for each in request.messages]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        dialect.max_tokens_field: request.max_tokens,
        "stream": True,
    }
    if dialect.sends_temperature:
        body["temperature"] = request.temperature
    if dialect.asks_usage:
        body["stream_options"] = {"include_usage": True}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None:
        body |= schema_fields(dialect.schema_mode, request.schema)
        if not dialect.enforces:
            messages.append(_schema_in_words(request.schema))
    return _encoder.encode(body)


def _message(message: PromptMessage) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}  # "" is sent as "", never null
    parts: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {
                "url": f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
            },
        }
        for image in message.images
    ]
    if message.text:
        parts.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": parts}


def _schema_in_words(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The last message, so that the prompt's beginning stays the same for the prefix cache."""
    shape = _encoder.encode(schema).decode()
    text = f"Answer with one JSON value that fits this JSON schema, and nothing else:\n{shape}"
    return {"role": "user", "content": text}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer that is not 200. `said` may quote user text: match it, never show it."""

    status: int
    said: str
    code: str = ""  # the machine-readable kind, safe to show
    prompt_tokens: int = 0
    context_tokens: int = 0
    retry_after_s: float | None = None  # what the server asks for

    @property
    def is_too_long(self) -> bool:
        if self.status not in (400, 413, 422):
            return False
        return "context" in self.code or bool(_TOO_LONG.search(self.said))

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered a little later."""
        if self.status == 429:
            return "quota" not in self.code  # a spent budget does not come back by waiting
        return self.status >= 500 and self.status not in (501, 505)

    @property
    def is_template_trap(self) -> bool:
        """llama-server could not start a grammar after its model's chat template."""
        return self.status == 400 and "initialize samplers" in self.said

    @property
    def is_unknown_model(self) -> bool:
        """410 always is; a 404 is, unless the body says that the path is unknown."""
        if self.status == 410 or "model" in self.code:
            return True
        return self.status == 404 and not (
            not self.said or (_NO_PATH.search(self.said) and "model" not in self.said.lower())
        )


_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|max_model_len|too many tokens|prompt is too long", re.I
)
_NO_PATH = re.compile(
    r"page not found|file not found|invalid url|<html|^\W*(detail)?\W*not found", re.I
)
_ABOUT_FORMAT = re.compile(
    r"response_format|json_schema|json_object|nvext|schema|grammar|structured|guided|template", re.I
)
_ABOUT_TEMPERATURE = re.compile(r"unsupported (?:value|parameter): '?temperature", re.I)
_SAFE_CODE = re.compile(r"[A-Za-z_.-]{1,48}")


def parse_refusal(status: int, body: bytes) -> Refusal:
    """Read the error bodies of the usual servers; anything else is text."""
    text = body.decode(errors="replace")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal(status, text)
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return Refusal(status, str(error))
    kinds = (error.get("code"), error.get("type"))
    code = next((k for k in kinds if isinstance(k, str) and _SAFE_CODE.fullmatch(k)), "")
    said = str(error.get("message") or error.get("detail") or text)
    sizes = (_count(error.get("n_prompt_tokens")), _count(error.get("n_ctx")))
    return Refusal(status, said, code, *sizes)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def simpler(
    dialect: Dialect, refusal: Refusal, *, with_schema: bool, probing: bool = False
) -> Dialect | None:
    """The dialect to try after this refusal, or None when another one would not help.

    While `probing` for schemas, any refusal of the request is taken to be about them.
    """
    if refusal.status not in (400, 422, 500) or refusal.is_too_long or refusal.is_template_trap:
        return None
    old_field = dialect.max_tokens_field == "max_tokens"
    if old_field and "max_completion_tokens" in refusal.said:
        return replace(dialect, max_tokens_field="max_completion_tokens")
    if dialect.asks_usage and "stream_options" in refusal.said:
        return replace(dialect, asks_usage=False)
    if dialect.sends_temperature and _ABOUT_TEMPERATURE.search(refusal.said):
        return replace(dialect, sends_temperature=False)
    about_format = _ABOUT_FORMAT.search(refusal.said) or (probing and refusal.status != 500)
    if with_schema and about_format and dialect.schema_mode != "none":
        return dialect.without_mode()
    return None


_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz \t\n"
_HIGH = bytes(range(128, 256))


def estimate_tokens(text: str) -> int:
    """An estimate that errs upwards, for servers that can't count.

    A token for 3 letters or spaces (English has 4 or more), one for each digit and sign
    (Phi's tokenizer splits numbers), 0.6 for each byte of a non-ASCII character (a CJK
    character: 1.8). Real prompts come out 10 to 60 % above the true count.
    """
    data = text.encode(errors="replace")
    rest = data.translate(None, _LETTERS)
    signs = rest.translate(None, _HIGH)
    letters, high = len(data) - len(rest), len(rest) - len(signs)
    return -(-letters // 3) + len(signs) + -(-high * 6 // 10)
