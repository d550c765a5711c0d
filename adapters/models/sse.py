"""Server-sent events: bytes in, the data of whole events out, wherever the bytes are cut."""

from __future__ import annotations

MAX_EVENT_BYTES = 1024 * 1024


class EventTooLong(ValueError):
    """A line or an event is over the limit; the stream is not worth reading on."""


class EventReader:
    """Collects the `data` of each event (WHATWG HTML, 9.2) and ignores its other fields.

    Tolerant where servers differ: LF or CRLF, a missing space after the colon, comments,
    several data lines, a last event without its empty line, and bare lines of JSON, which
    is how some servers report an error in an open stream.
    """

    __slots__ = ("_data", "_limit", "_pending", "_pending_bytes")

    def __init__(self, *, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_bytes
        self._pending: list[bytes] = []  # a line's beginning; joined once, when it ends
        self._pending_bytes = 0
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes. Raises `EventTooLong`."""
        lines = chunk.split(b"\n")
        self._pending.append(lines[0])
        self._pending_bytes += len(lines[0])
        if self._pending_bytes > self._limit:
            raise EventTooLong(f"a line is over {self._limit} bytes")
        if len(lines) == 1:
            return []
        lines[0] = b"".join(self._pending)
        rest = lines.pop()
        self._pending, self._pending_bytes = [rest], len(rest)
        return self._events(lines)

    def flush(self) -> list[bytes]:
        """What the end of the stream completes."""
        lines = [b"".join(self._pending), b""]
        self._pending, self._pending_bytes = [], 0
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if line[-1:] == b"\r":
                line = line[:-1]
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
            elif line.startswith(b"data:"):
                self._keep(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"{"):
                self._keep(line)
        return events

    def _keep(self, value: bytes) -> None:
        self._data.append(value)
        if len(self._data) > 1 and sum(map(len, self._data)) > self._limit:
            raise EventTooLong(f"an event is over {self._limit} bytes")
