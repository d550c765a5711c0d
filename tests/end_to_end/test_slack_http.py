"""The whole bot told over HTTP, in two workspaces that installed it: real Redis, real process."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from adapters.models.scripted import Reply, Say, Step, demo_policy
from adapters.models.scripted_server import ScriptedServer
from agents.ports import ModelRequest
from bot.testing.slack import SlackTwin
from bot.testing.slack.oauth import SlackApp
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure
from tests.end_to_end.bot_process import BotProcess, bot_process, free_port
from tests.end_to_end.test_platforms import models

TEAMS = ("T0ONE", "T0TWO")


def in_slow_motion(request: ModelRequest) -> Reply:
    """Whoever asks for it gets an answer that takes its time."""
    reply, asked = demo_policy(request), " ".join(each.text for each in request.messages)
    if "slowly" in asked and isinstance(reply, Say | Step):
        return dataclasses.replace(reply, chunk=6, delay_s=0.2)
    return reply


@dataclass(slots=True)
class Bench:
    app: SlackApp
    bot: BotProcess
    door: str

    async def install(self, team_id: str) -> None:
        async with aiohttp.ClientSession() as http:
            begin = f"{self.door}/slack/install"
            async with http.get(begin, allow_redirects=False) as asked:
                query = parse_qs(urlsplit(asked.headers["Location"]).query)
                crumb = SimpleCookie(asked.headers["Set-Cookie"])["firstline_install"].value
            code = self.app.approve(team_id, query["redirect_uri"][0])
            told = {"code": code, "state": query["state"][0]}
            cookie = {"Cookie": f"firstline_install={crumb}"}
            back = f"{self.door}/slack/oauth_redirect"
            async with http.get(back, params=told, headers=cookie) as done:
                assert done.status == 200, await done.text()

    async def ask(self, team_id: str, text: str) -> str:
        return await self.app.workspaces[team_id].say("U1", "C1", text, mention_bot=True)

    def answer(self, team_id: str, root: str) -> str:
        slack = self.app.workspaces[team_id]
        return " ".join(slack.messages("C1", root)[1:])

    async def answered(self, team_id: str, root: str, ending: str) -> None:
        slack = self.app.workspaces[team_id]
        await slack.wait_for(lambda: ending in self.answer(team_id, root), 25)

    async def readiness(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.bot.url}/readyz") as answer:
            found: dict[str, Any] = await answer.json()
            return found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Bench]:
    port = free_port()
    door = f"http://127.0.0.1:{port}"
    key = folder / "key"
    key.write_text(secrets.token_hex(32))
    async with SlackApp() as app, ScriptedServer(in_slow_motion) as model:
        app.listen_at(f"{door}/slack/events")
        settings = f"""
[memory]
key_file = "{key}"
[slack]
api_url = "{app.api_url}"
http_port = {port}
public_url = "{door}"
client_id = "{app.client_id}"
[slack.allow]
workspaces = ["{TEAMS[0]}", "{TEAMS[1]}"]
channels = ["C1"]
users = ["U1"]
{models(model)}
"""
        environ = {
            "SLACK_SIGNING_SECRET": app.signing_secret,
            "SLACK_CLIENT_SECRET": app.client_secret,
        }
        async with bot_process(folder, settings, environ) as bot:
            for team in TEAMS:
                slack = await app.workspace(team)
                slack.add_user("U1")
                slack.add_channel("C1")
            yield Bench(app, bot, door)


@pytest.mark.timeout(120)
async def test_a_workspace_that_removes_the_app_in_the_middle_of_a_turn_stops_at_once(
    tmp_path: Path, record_figure: RecordFigure
) -> None:
    async with running(tmp_path) as bench:
        one, two = [await _installed(bench, team) for team in TEAMS]
        roots = [await bench.ask(team, "What is 6*7?") for team in TEAMS]
        for team, root in zip(TEAMS, roots, strict=True):
            await bench.answered(team, root, "42")

        slow = await bench.ask(TEAMS[0], "slowly: what is 17*23?")
        other = await bench.ask(TEAMS[1], "slowly: what is 17*23?")
        await one.wait_for(lambda: bench.answer(TEAMS[0], slow))
        await two.wait_for(lambda: bench.answer(TEAMS[1], other))
        begun = time.monotonic()
        bench.app.uninstall(TEAMS[0])
        while not (_log(bench, "turn.ended", state="failed")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        ended_in_s = time.monotonic() - begun
        told = _log(bench, "slack.token_refused")
        ready = await bench.readiness()
        calls = len(one.web.calls)

        await bench.answered(TEAMS[1], other, "391")
        still = len(one.web.calls)
        await bench.install(TEAMS[0])
        again = await bench.ask(TEAMS[0], "And 6*8?")
        await bench.answered(TEAMS[0], again, "48")
        restored = (await bench.readiness())["warnings"]

    figure = f"turn over {ended_in_s:.1f} s after the app was removed, told {len(told)} time"
    record_figure(row="D5", promise="Removed in the middle of a turn: stop at once", figure=figure)
    assert ended_in_s < 5
    assert len(told) == 1
    assert ready["ready"] is True
    assert list(ready["warnings"]) == ["slack T0ONE"]
    assert still == calls
    assert restored == {}


async def test_the_store_keeps_no_token_in_the_clear_and_a_restart_keeps_serving(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as bench:
        slack = await _installed(bench, TEAMS[0])
        await bench.bot.kill()
        kept = await asyncio.to_thread(_all_bytes, tmp_path)
        await bench.bot.start()
        root = await bench.ask(TEAMS[0], "What is 6*7?")
        await bench.answered(TEAMS[0], root, "42")

    assert slack.bot_token.encode() not in kept


async def _installed(bench: Bench, team_id: str) -> SlackTwin:
    await bench.install(team_id)
    return bench.app.workspaces[team_id]


def _log(bench: Bench, event: str, **fields: str) -> list[str]:
    lines = [line for line in bench.bot.log.read_text().splitlines() if event in line]
    return [
        line for line in lines if all(f"{key}={value}" in line for key, value in fields.items())
    ]


def _all_bytes(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())
