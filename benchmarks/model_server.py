"""A model that costs next to nothing: fixed answers in the OpenAI wire format, sent in a burst.

It plans one tool call, and answers with 64 tokens once it sees the tool's result. Run in a
process of its own, so that its cost is nobody's: `python -m benchmarks.model_server`. With
`--delay-ms` every answer comes that much later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from functools import partial

TOKENS = 64
ANSWER = " ".join(f"w{n:03d}" for n in range(TOKENS))
PLAN = {
    "thought": "",
    "step": [{"action": "calculate", "arguments": {"expression": "17*23"}}],
}
FINAL = {"thought": "", "step": [{"action": "final", "arguments": {"answer": ANSWER}}]}


def _stream(text: str, pieces: int) -> bytes:
    """The whole HTTP answer: `text` in `pieces` chunks, then usage and the end."""
    size = -(-len(text) // pieces)
    events: list[dict[str, object]] = [
        {"choices": [{"index": 0, "delta": {"content": text[at : at + size]}}]}
        for at in range(0, len(text), size)
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": TOKENS}})
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [f"data: {json.dumps(head | event)}\n\n" for event in events]
    body = "".join([*lines, "data: [DONE]\n\n"]).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


_MISSING = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
# A plan comes in nine chunks, as a model's tool call does; the same text bound to a schema or not.
_REPLIES = {
    (False, False): _stream(json.dumps(PLAN), 9),
    (True, False): _stream(json.dumps(PLAN), 9),
    (False, True): _stream(ANSWER, TOKENS),
    (True, True): _stream(json.dumps(FINAL), TOKENS),
}


class ModelProtocol(asyncio.Protocol):
    """Just enough HTTP/1.1: keep-alive, Content-Length, one request at a time."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self._received, self._delay_s = b"", delay_s
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            self._answer(_reply(head, body))

    def _answer(self, reply: bytes) -> None:
        assert self._transport is not None
        if self._delay_s and reply is not _MISSING:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, reply)
        else:
            self._transport.write(reply)


def _reply(head: bytes, body: bytes) -> bytes:
    if b"/chat/completions" not in head:
        return _MISSING
    newest = body.find(b"Result of ", body.rfind(b'"role"'))
    return _REPLIES[b'"response_format"' in body, newest >= 0]


async def main(delay_s: float) -> None:
    protocol = partial(ModelProtocol, delay_s)
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    try:
        asyncio.run(main(parser.parse_args().delay_ms / 1000))
    except KeyboardInterrupt:
        sys.exit(0)
