from __future__ import annotations

import io
import json
import logging
from typing import Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bot.logs import configure_logs

SECRETS = ("canary-one-123", "redis://user:canary%20two@host:1/0", "12345678")


def _logged(form: Literal["console", "json"], /, **fields: object) -> str:
    out = io.StringIO()
    configure_logs(form=form, secrets=SECRETS, stream=out)
    structlog.get_logger("t").info("a.event", **fields)
    return out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_never_reach_a_line(form: Literal["console", "json"]) -> None:
    line = _logged(
        form,
        plain="canary-one-123",
        nested={"canary-one-123": ["x canary-one-123 y", ("canary two",)]},
        number=12345678,
        shape="xoxb-1-canary xapp-1-canary",
        url="amqp://me:canary@host/",
        thing=ValueError("canary-one-123"),
        raw=b"canary-one-123",
    )
    assert "canary" not in line
    assert "12345678" not in line
    assert line.count("\n") == 1


@given(key=st.from_regex(r"[a-z]{2,9}x", fullmatch=True), value=st.text(max_size=300))
@hypothesis_settings(max_examples=150, deadline=None)
def test_one_event_is_one_line_whatever_a_field_holds(key: str, value: str) -> None:
    for form in ("console", "json"):
        line = _logged(form, **{key: value})
        assert len(line.splitlines()) == 1
        if form == "json":
            assert json.loads(line)["event"] == "a.event"


def test_a_field_of_a_megabyte_is_cut() -> None:
    assert len(_logged("json", big="x y" * 400_000)) < 6000


def test_libraries_speak_from_warning_on_and_through_the_same_filter() -> None:
    out = io.StringIO()
    configure_logs(level="debug", form="json", secrets=SECRETS, stream=out)

    logging.getLogger("slack_sdk.web").debug("payload canary-one-123")
    logging.getLogger("discord.gateway").info("hello")
    logging.getLogger("other").warning("lost %s", "canary-one-123")

    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["message"] == "lost ***"


def test_a_crash_is_logged_by_class_and_place_without_what_a_person_wrote() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    log = structlog.get_logger("test")
    try:
        int("a person's words")
    except ValueError:
        log.exception("turn.crashed")

    line = out.getvalue()
    assert "ValueError" in line
    assert "test_logs.py:" in line
    assert "person" not in line
    assert line.count("\n") == 1
