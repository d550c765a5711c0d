"""The scripted server's side of the chat completions format: read requests, write streams."""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import Any, Literal

import msgspec

from agents.ports import ImageData, ModelRequest, PromptMessage


class _ImageUrl(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    image_url: _ImageUrl | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    content: str | list[_Part]


class _Form(msgspec.Struct):
    schema: dict[str, Any]
    name: str = ""


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Form | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    messages: list[_Message]
    model: str = ""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float = 0.0
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    response_format: ResponseFormat | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class BadRequest(ValueError):
    """The request is not of the format; the text is for the client."""


_decoder = msgspec.json.Decoder(ChatRequest)


def read_chat(body: bytes) -> ChatRequest:
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(str(error)) from error


def to_model_request(chat: ChatRequest) -> ModelRequest:
    form = chat.response_format.json_schema if chat.response_format else None
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
    return ModelRequest(
        messages=tuple(_prompt_message(each) for each in chat.messages),
        max_tokens=chat.max_completion_tokens or chat.max_tokens or 1024,
        temperature=chat.temperature,
        stop=stop,
        schema=form.schema if form else None,
    )


def _prompt_message(message: _Message) -> PromptMessage:
    if isinstance(message.content, str):
        return PromptMessage(message.role, message.content)
    text = "\n".join(part.text for part in message.content if part.type == "text")
    images = tuple(_image(part.image_url.url) for part in message.content if part.image_url)
    return PromptMessage(message.role, text, images)


def _image(url: str) -> ImageData:
    head, _, encoded = url.partition(";base64,")
    try:
        media_type = msgspec.convert(head.removeprefix("data:"), Literal["image/png", "image/jpeg"])
        return ImageData(base64.b64decode(encoded, validate=True), media_type)
    except (msgspec.ValidationError, binascii.Error) as error:
        raise BadRequest("image_url must be a data: URL of a PNG or JPEG in base64") from error


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _chunk(model: str, choices: list[Any], **more: Any) -> bytes:
    value = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": choices,
    }
    return event({**value, **more})


@lru_cache(maxsize=4096)
def delta(model: str, text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return _chunk(model, [choice])


@lru_cache(maxsize=16)
def opening(model: str) -> bytes:
    first = {"role": "assistant", "content": ""}
    return _chunk(model, [{"index": 0, "delta": first, "finish_reason": None}])


@lru_cache(maxsize=16)
def ending(model: str, reason: str) -> bytes:
    return _chunk(model, [{"index": 0, "delta": {}, "finish_reason": reason}])


def usage_chunk(model: str, prompt_tokens: int, completion_tokens: int) -> bytes:
    return _chunk(model, [], usage=usage(prompt_tokens, completion_tokens))


def completion(model: str, text: str, reason: str, counts: dict[str, int]) -> bytes:
    """The answer to a request without `stream`."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": reason,
    }
    return msgspec.json.encode(
        {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [choice],
            "usage": counts,
        }
    )


def error_body(message: str, kind: str, code: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": code}})
