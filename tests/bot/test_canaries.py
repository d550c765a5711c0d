"""Twelve planted secrets: in no reply, no prompt, no log line and no record (rows G8, I6, K1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.models.scripted import Fail, Garble
from agents.errors import BackendError
from bot.logs import configure_logs
from bot.testing.conversation import Conversation

CANARIES = [f"canary-{n:02d}-7f3a9c" for n in range(12)]
TOOLS = f'''
"""Tools that know secrets and behave badly."""

from tools.contract import ToolError
from tools.decorator import tool

KEY = "{CANARIES[0]}"


@tool(effect="read")
def leak() -> str:
    """Fails with a secret in its exception."""
    raise RuntimeError(f"password {{KEY}} was refused at /srv/{CANARIES[1]}/db.py")


@tool(effect="read")
def leak_quietly() -> str:
    """Fails with the secret in an argument of the exception."""
    raise KeyError(KEY)


@tool(effect="read")
def leave() -> str:
    """Ends the process, if it can."""
    raise SystemExit("{CANARIES[2]}")
'''


@pytest.fixture
def firstline_settings(tmp_path: Path) -> Mapping[str, Any]:
    file = tmp_path / "own_tools.py"
    file.write_text(TOOLS)
    route = {"backend": "openai_api", "base_url": "http://127.0.0.1:1", "model": "m"}
    routes = {
        f"models.routes.spare{n}": {**route, "context_tokens": 4096, "api_key": CANARIES[n]}
        for n in (3, 4, 5)
    }
    return {
        "tools.file": str(file),
        "tools.search": {"provider": "brave", "key": CANARIES[6]},
        "tools.tickets": {"url": f"http://127.0.0.1:1/{CANARIES[7]}", "key": CANARIES[8]},
        "tools.mcp.away": {"command": ["/nowhere/server"], "env": {"KEY": CANARIES[9]}},
        "tools.mcp.far": {"url": "http://127.0.0.1:1/mcp", "key": CANARIES[10]},
        "slack.signing_secret": CANARIES[11],
        "roles.planner": ["scripted", "spare3", "spare4", "spare5"],
        **routes,
    }


async def test_no_planted_secret_ever_leaves(
    capsys: pytest.CaptureFixture[str], slack_conversation: Conversation
) -> None:
    bot = slack_conversation.bot
    configure_logs(level="debug", form="json", secrets=bot.settings.secrets())
    model = slack_conversation.model
    for name in ("leak", "leak_quietly", "leave"):
        model.calls(name)
    model.says("All failed.")
    await slack_conversation.ask("Try everything")
    model.calls("create_ticket", title="Printer", description="broken").says("It failed.")
    reply = await slack_conversation.ask("File a ticket")
    if slack_conversation.ended and slack_conversation.ended.state == "asked":
        reply = await slack_conversation.press("approve")
    broken = Fail(BackendError("scripted", "broken", retryable=True))
    model.calls("search_web", query="x").replies(Garble(), broken)
    await slack_conversation.ask("Search the web")

    prompts = "\n".join(each.text for request in model.requests for each in request.messages)
    shown = "\n".join(each.text for each in slack_conversation.recorder.shown)
    written = capsys.readouterr()
    stored = await everything_in(bot.stores.redis)
    places = {"prompts": prompts, "replies": shown + reply, "store": stored}
    places |= {"logs": written.out + written.err}
    found = [(where, each) for where, text in places.items() for each in CANARIES if each in text]
    assert found == []
    assert "RuntimeError" in prompts, "a failure is told by its class"
    assert "Printer" in stored, "what is stored can be searched"


async def everything_in(redis: Any) -> str:
    """Every value of the store, whatever its type."""
    await redis.config_set("rdbcompression", "no")
    names = [name async for name in redis.scan_iter()]
    return "\n".join([f"{name}{await redis.dump(name)}" for name in names])
