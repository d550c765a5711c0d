"""Logging: one event is one line, with every secret taken out.

What may be logged: ids, counts, durations, names of tools, routes and error classes. What
people write, what files hold and what models say is never passed to a logger.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import unquote, urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_HIDDEN = "***"
_MAX_FIELD_CHARS = 4000
_SHORTEST_SECRET = 4  # a shorter one would blot out ordinary words
_TOKEN_SHAPES = re.compile(
    r"xox[a-z]-[\w-]+|xapp-[\w-]+|\bsk-[\w-]{8,}"
    r"|\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}"  # Discord: user id, time, signature
    r"|(?<=://)[^/\s@]+(?=@)"  # user and password of a URL
)


class Redactor:
    """Takes the exact secret values, and whatever is shaped like a token, out of events."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {part for secret in secrets for part in _parts_of(secret)}
        known = {part for part in known if len(part) >= _SHORTEST_SECRET}
        # The longest first, so that a secret that holds another one goes as a whole.
        exact = "|".join(re.escape(part) for part in sorted(known, key=len, reverse=True))
        self._exact = re.compile(exact) if exact else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {self.text(key): self._clean(value) for key, value in event.items()}

    def text(self, text: str) -> str:
        if self._exact is not None:
            text = self._exact.sub(_HIDDEN, text)
        text = _TOKEN_SHAPES.sub(_HIDDEN, text)
        if len(text) > _MAX_FIELD_CHARS:
            text = f"{text[:_MAX_FIELD_CHARS]}… ({len(text)} characters)"
        return text

    def _clean(self, value: object) -> Any:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if self.text(str(value)) == str(value) else _HIDDEN
        if isinstance(value, dict):
            return {self.text(str(key)): self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item) for item in value]
        return self.text(value if isinstance(value, str) else repr(value))


def configure_logs(
    *,
    level: str = "info",
    form: Literal["console", "json"] = "console",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send all logging to `stream` (stderr); libraries speak from WARNING on only."""
    out = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    render: Processor = structlog.processors.JSONRenderer() if form == "json" else _one_line
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _where_it_failed,
        Redactor(secrets),
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _cap_libraries(_LibraryHandler(out, [*shared, render]))


def _where_it_failed(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the error's class and the way to it.

    Its message stays out: it may quote what a person wrote.
    """
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if given is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__name__
        event["at"] = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return event


class _LibraryHandler(logging.Handler):
    """Third-party records, through the same processors."""

    def __init__(self, out: TextIO, processors: list[Processor]) -> None:
        super().__init__(logging.WARNING)
        self._out, self._processors = out, processors

    def emit(self, record: logging.LogRecord) -> None:
        event: EventDict = {"event": "library.said", "logger": record.name}
        event["message"] = record.getMessage()
        if record.exc_info:
            event["exc_info"] = record.exc_info
        line: Any = event
        for processor in self._processors:
            line = processor(None, record.levelname.lower(), line)
        self._out.write(f"{line}\n")


def _cap_libraries(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _LibraryHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("discord", "slack_sdk", "slack_bolt", "aiohttp", "asyncio", "uvicorn", "redis"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns at every start that voice, which we don't use, lacks its packages.
    logging.getLogger("discord.client").setLevel(logging.ERROR)


def _parts_of(secret: str) -> Iterable[str]:
    yield secret
    if "://" in secret:
        try:
            password = urlsplit(secret).password
        except ValueError:
            password = None
        if password:
            yield password
            yield unquote(password)


def _one_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """`time level event key=value …`; quoting keeps line breaks and control characters out."""
    head = [str(event.pop("timestamp", "")), str(event.pop("level", method)).ljust(7)]
    head.append(_bare(str(event.pop("event", ""))))
    return " ".join([*head, *(f"{_bare(str(key))}={_bare(value)}" for key, value in event.items())])


def _bare(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if text.isprintable() and " " not in text and text else ascii(text)
