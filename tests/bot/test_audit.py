"""`firstline audit`, as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

from adapters.stores.connection import connect
from adapters.stores.keys import Keys
from tests.bot.test_cli import firstline
from tools.identity import ConversationKey

SECRET = "what somebody said"


def settings(folder: Path, prefix: str) -> None:
    (folder / "firstline.toml").write_text(
        f'[redis]\nprefix = "{prefix}"\n[turns]\nlease_s = 1\nrenew_s = 0.1\nsweep_s = 0.1\n'
    )


async def test_a_sound_store_is_told_so(tmp_path: Path, redis_url: str, prefix: str) -> None:
    settings(tmp_path, prefix)

    done = firstline(tmp_path, "audit", REDIS_URL=redis_url)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every rule holds." in done.stdout


async def test_a_broken_rule_is_exit_code_one_and_names_the_conversation_not_its_text(
    tmp_path: Path, redis_url: str, prefix: str
) -> None:
    settings(tmp_path, prefix)
    key = ConversationKey("slack:T1", "public", "C1")
    steps = next(name for name in Keys(prefix).of(key) if name.endswith(":steps"))
    client = connect(redis_url)
    await client.rpush(steps, SECRET)
    await client.aclose()

    done = firstline(tmp_path, "audit", REDIS_URL=redis_url)
    as_json = firstline(tmp_path, "audit", "--json", REDIS_URL=redis_url)

    assert done.returncode == as_json.returncode == 1
    assert "steps.of_closed_turn" in done.stdout
    assert json.loads(as_json.stdout)["violations"] == [
        {"rule": "steps.of_closed_turn", "where": str(key), "detail": "1"}
    ]
    assert SECRET not in done.stdout + done.stderr + as_json.stdout
