"""One app in several workspaces: installed by OAuth, served beside each other, removed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import structlog

from adapters.chat.slack import HttpSetup, OAuth, SlackAdapter
from adapters.chat.slack_http import ProcessSignatures
from adapters.chat.types import DeliveryError, Message
from bot.public_http import serve_public
from bot.testing.slack import SlackTwin
from bot.testing.slack.oauth import SlackApp
from tests.adapters.chat.slack_bot import RecordingInbox

Answer = tuple[int, str, Any]


@dataclass(slots=True)
class Records:
    """Implements `InstallRecords` in this process."""

    is_sealed: bool = True
    kept: dict[str, bytes] = field(default_factory=dict)
    changes: int = 0

    async def load(self, owner: str) -> bytes | None:
        return self.kept.get(owner)

    async def save(self, owner: str, record: bytes) -> None:
        self.kept[owner] = record
        self.changes += 1

    async def drop(self, owner: str) -> None:
        self.kept.pop(owner, None)
        self.changes += 1

    async def owners(self) -> list[str]:
        return sorted(self.kept)

    async def generation(self) -> int:
        return self.changes


class OneTime(ProcessSignatures):
    async def take(self, name: str) -> bool:
        return self._known.pop(name, None) is not None


@dataclass(slots=True)
class Bench:
    app: SlackApp
    adapter: SlackAdapter
    inbox: RecordingInbox
    records: Records
    url: str

    async def get(self, path: str, cookie: str = "") -> Answer:
        headers = {"Cookie": cookie} if cookie else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text(), answer.headers

    async def begin(self) -> tuple[str, str, str]:
        """State, cookie and where Slack would send the person back to."""
        status, _, headers = await self.get("/slack/install")
        asked = parse_qs(urlsplit(headers["Location"]).query)
        cookie = SimpleCookie(headers["Set-Cookie"])["firstline_install"].OutputString()
        assert status == 302
        return asked["state"][0], cookie.partition(";")[0], asked["redirect_uri"][0]

    async def install(self, team_id: str) -> Answer:
        state, cookie, back = await self.begin()
        code = self.app.approve(team_id, back)
        return await self.get(f"/slack/oauth_redirect?code={code}&state={state}", cookie)

    async def heard(self, text: str) -> Message:
        def found() -> list[Message]:
            return [each for each in self.inbox.kept.values() if each.text == text]

        async with asyncio.timeout(10):
            while not found():  # noqa: ASYNC110 (the inbox has no event)
                await asyncio.sleep(0.01)
        return found()[0]


@contextlib.asynccontextmanager
async def running(*, is_sealed: bool = True, own: str = "") -> AsyncIterator[Bench]:
    """`own` is the workspace whose token the operator set."""
    async with SlackApp() as app:
        if own:
            home = await app.workspace(own)
            home.add_user("U1")
            home.add_channel("C1")
        records, inbox = Records(is_sealed), RecordingInbox()
        once = OneTime()
        oauth = OAuth(
            app.client_id,
            app.client_secret,
            "http://bot.test",
            once,
            "https://slack.test/authorize",
        )
        adapter = SlackAdapter(
            bot_token=f"xoxb-{own}" if own else "",
            api_url=app.api_url,
            edit_every_s=0.02,
            settle_s=0.05,
            http=HttpSetup(app.signing_secret, once, oauth=oauth),
            installs=records,
        )
        assert adapter.door is not None
        async with serve_public("127.0.0.1", 0, adapter.door, setting="slack.http_port") as port:
            url = f"http://127.0.0.1:{port}"
            app.listen_at(url + "/slack/events")
            task = asyncio.create_task(adapter.run(inbox), name="slack adapter")
            try:
                yield Bench(app, adapter, inbox, records, url)
            finally:
                task.cancel()
                await asyncio.wait((task,), timeout=10)


async def workspace(bench: Bench, team_id: str) -> SlackTwin:
    slack = await bench.app.workspace(team_id)
    slack.socket.resend_after_s = (0.2, 0.2)
    slack.add_user("U1")
    slack.add_channel("C1")
    return slack


async def test_two_workspaces_that_installed_the_app_are_served_at_once_and_apart() -> None:
    async with running() as bench:
        slacks = [await workspace(bench, team) for team in ("T0ONE", "T0TWO")]
        pages = [await bench.install(team) for team in ("T0ONE", "T0TWO")]
        for slack in slacks:
            await slack.say("U1", "C1", f"for {slack.world.team_id}", mention_bot=True)
        for slack in slacks:
            message = await bench.heard(f"for {slack.world.team_id}")
            assert message.conversation.tenant == f"slack:{slack.world.team_id}"
            reply = bench.adapter.reply(message)
            await reply.open(None)
            await reply.deliver(0, f"answer to {slack.world.team_id}", token="t0")
            await reply.aclose()
        said = [
            slack.messages("C1", slack.world.thread("C1", _root(slack))[0].ts) for slack in slacks
        ]

    assert [status for status, *_ in pages] == [200, 200]
    assert [each[-1] for each in said] == ["answer to T0ONE", "answer to T0TWO"]
    assert all(slack.web.refused.total() == 0 for slack in slacks)


def _root(slack: SlackTwin) -> str:
    return next(each.ts for each in slack.world.posted.values() if not each.thread_ts)


async def test_a_file_is_fetched_with_the_token_of_its_own_workspace() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        await bench.install("T0ONE")
        await slack.say("U1", "C1", "look", files=[("a.txt", b"abc")], mention_bot=True)
        message = await bench.heard("look")
        content = await bench.adapter.fetch(message.attachments[0], max_bytes=10)

    assert content == b"abc"
    assert slack.file_tokens_seen == ["xoxb-T0ONE"]


async def test_a_state_is_good_once_and_for_who_began_only() -> None:
    async with running() as bench:
        await workspace(bench, "T0ONE")
        state, cookie, back = await bench.begin()
        code = bench.app.approve("T0ONE", back)
        path = f"/slack/oauth_redirect?code={code}&state={state}"
        stranger = await bench.get(path)
        other = await bench.get(path, "firstline_install=else")
        invented = await bench.get("/slack/oauth_redirect?code=1&state=x", "firstline_install=x")
        first = await bench.get(path, cookie)
        second = await bench.get(path, cookie)

    assert [each[0] for each in (stranger, other, invented, second)] == [400] * 4
    assert first[0] == 200
    assert bench.app.exchanged == ["T0ONE"]


async def test_without_a_key_nothing_is_installed_and_the_remedy_is_told() -> None:
    async with running(is_sealed=False) as bench:
        status, page, _ = await bench.get("/slack/install")

    assert status == 503
    assert "memory.key_file" in page
    assert bench.records.kept == {}


async def test_a_workspace_that_never_installed_the_app_gets_401_and_harms_nobody() -> None:
    async with running() as bench:
        one, two = await workspace(bench, "T0ONE"), await workspace(bench, "T0TWO")
        one.socket.resend_after_s = ()
        await bench.install("T0TWO")
        await one.say("U1", "C1", "hello", mention_bot=True)
        await two.say("U1", "C1", "and here", mention_bot=True)
        await bench.heard("and here")
        await one.wait_for(lambda: len(getattr(one.socket, "answers", ())) >= 2)

    assert {status for status, *_ in getattr(one.socket, "answers", ())} == {401}
    assert len(bench.inbox.kept) == 1


async def test_an_uninstalled_workspace_is_paused_at_once_told_once_and_others_go_on() -> None:
    async with running() as bench:
        one, two = await workspace(bench, "T0ONE"), await workspace(bench, "T0TWO")
        for team in ("T0ONE", "T0TWO"):
            await bench.install(team)
        await one.say("U1", "C1", "one", mention_bot=True)
        await two.say("U1", "C1", "two", mention_bot=True)
        first, second = await bench.heard("one"), await bench.heard("two")
        replies = [bench.adapter.reply(message) for message in (first, second)]
        for reply in replies:
            await reply.open(None)
        with structlog.testing.capture_logs() as lines:
            begun = time.monotonic()
            bench.app.uninstall("T0ONE")
            await one.wait_for(lambda: bench.adapter.paused("slack:T0ONE"))
            paused_in_s = time.monotonic() - begun
            calls = len(one.web.calls)
            for _ in range(3):
                with pytest.raises(DeliveryError) as failed:
                    await replies[0].deliver(0, "late", token="t0")
            await replies[1].deliver(0, "in time", token="t1")
        told = [line for line in lines if line["event"] == "slack.token_refused"]
        warned = dict(bench.adapter.warnings)
        for reply in replies:
            await reply.aclose()

    assert paused_in_s < 5
    assert not failed.value.retryable
    assert len(one.web.calls) == calls
    assert len(told) == 1
    assert list(warned) == ["slack T0ONE"]
    assert not bench.adapter.paused("slack:T0TWO")
    assert "T0ONE" not in bench.records.kept


async def test_a_workspace_that_installs_the_app_again_is_served_again() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        await bench.install("T0ONE")
        await slack.say("U1", "C1", "before", mention_bot=True)
        message = await bench.heard("before")
        bench.app.uninstall("T0ONE")
        await slack.wait_for(lambda: bench.adapter.paused("slack:T0ONE"))
        assert bench.adapter.has_left("slack:T0ONE")
        await bench.install("T0ONE")
        assert not bench.adapter.has_left("slack:T0TWO")
        reply = bench.adapter.reply(message)
        await reply.open(None)
        await reply.deliver(0, "again here", token="t0")
        await reply.aclose()

    assert bench.adapter.warnings == {}


async def test_word_of_a_removal_that_comes_after_the_next_installation_removes_nothing() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        await bench.install("T0ONE")
        bench.app.uninstall("T0ONE")
        await slack.wait_for(lambda: bench.adapter.paused("slack:T0ONE"))
        await bench.install("T0ONE")
        late = [
            slack.deliver({"type": "app_uninstalled"}),
            slack.deliver({"type": "tokens_revoked", "tokens": {"bot": [slack.world.bot_user_id]}}),
        ]
        await slack.wait_for(lambda: all(each.acked.is_set() for each in late))

    assert not bench.adapter.paused("slack:T0ONE")
    assert "T0ONE" in bench.records.kept


@pytest.mark.malformed
async def test_the_bots_own_workspace_is_served_beside_one_that_installed_the_app() -> None:
    async with running(own="T0OWN") as bench:
        own, other = bench.app.workspaces["T0OWN"], await workspace(bench, "T0TWO")
        await own.wait_for(lambda: bench.adapter.connected)
        await bench.install("T0TWO")
        await own.say("U1", "C1", "at home", mention_bot=True)
        await other.say("U1", "C1", "abroad", mention_bot=True)
        heard = [await bench.heard(text) for text in ("at home", "abroad")]
        own.socket.send("events_api", {"type": "event_callback", "event": {"type": "message"}})
        await own.wait_for(lambda: 401 in [each[0] for each in getattr(own.socket, "answers", ())])
        bench.app.uninstall("T0OWN")
        await own.wait_for(lambda: bench.adapter.paused("slack:T0OWN"))
        bench.app.uninstall("T0TWO")
        await own.wait_for(lambda: bench.adapter.paused("slack:T0TWO"))
        await asyncio.sleep(2.5)  # the other's removal was heard of by then
        paused = bench.adapter.paused("slack:T0OWN")

    assert [each.conversation.tenant for each in heard] == ["slack:T0OWN", "slack:T0TWO"]
    assert paused


async def test_another_process_learns_of_an_uninstallation_within_five_seconds() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        await bench.install("T0ONE")
        await slack.say("U1", "C1", "hello", mention_bot=True)
        message = await bench.heard("hello")
        worker = SlackAdapter(api_url=bench.app.api_url, installs=bench.records)
        working = asyncio.create_task(worker.answer_only(), name="worker")
        await slack.wait_for(lambda: worker.connected)
        reply = worker.reply(message)
        await reply.open(None)
        begun = time.monotonic()
        await bench.records.drop("T0ONE")
        await slack.wait_for(lambda: worker.paused("slack:T0ONE"))
        took_s = time.monotonic() - begun
        await reply.aclose()
        working.cancel()
        await asyncio.wait((working,))

    assert took_s < 5


async def test_a_token_revoked_without_a_word_pauses_its_workspace_at_the_next_call() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        await bench.install("T0ONE")
        await slack.say("U1", "C1", "hello", mention_bot=True)
        message = await bench.heard("hello")
        slack.bot_token = "xoxb-another"
        reply = bench.adapter.reply(message)
        with pytest.raises(DeliveryError, match="account_inactive"):
            await reply.open(None)
        paused = bench.adapter.paused("slack:T0ONE")
        await reply.aclose()

    assert paused == "account_inactive"


@pytest.mark.malformed
async def test_an_installation_in_a_whole_organisation_serves_each_of_its_workspaces() -> None:
    async with running() as bench:
        slack = await workspace(bench, "T0ONE")
        bench.app.enterprise_id = "E0ORG"
        assert (await bench.install("T0ONE"))[0] == 200
        ts = await slack.say("U1", "C1", "whole")
        body = {
            "type": "event_callback",
            "team_id": "T0ONE",
            "authorizations": [{"enterprise_id": "E0ORG", "is_enterprise_install": True}],
            "event": {
                "type": "app_mention",
                "channel": "C1",
                "user": "U1",
                "text": "whole",
                "ts": ts,
            },
        }
        slack.socket.send("events_api", body)
        message = await bench.heard("whole")
        reply = bench.adapter.reply(message)
        await reply.open(None)
        await reply.aclose()

    assert sorted(bench.records.kept) == ["E0ORG", "T0ONE"]
    assert message.conversation.tenant == "slack:T0ONE"


async def test_no_token_is_shown_on_a_page_or_in_a_log() -> None:
    with structlog.testing.capture_logs() as lines:
        async with running() as bench:
            await workspace(bench, "T0ONE")
            page = await bench.install("T0ONE")

    assert not re.search("xoxb|client-secret", f"{lines}{page[1]}")
