from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def firstline(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bot", *arguments]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), **environ}
    return subprocess.run(  # noqa: S603 (our own interpreter)
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_version_is_one_line(tmp_path: Path) -> None:
    done = firstline(tmp_path, "version")
    assert (done.returncode, done.stdout) == (0, "firstline 0.1.0\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("chat", "--once", "hi"),
        ("check-config",),
        ("doctor",),
        ("models",),
        ("models", "pull", "x"),
        ("models", "test", "x"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_two(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = firstline(tmp_path, *arguments, SLACK_BOT_TOKEN="canary")

    assert done.returncode == 2
    assert done.stderr.startswith("firstline: slack.bot_token: must be a token")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr + done.stdout


def test_an_image_without_a_question_or_without_a_file_is_wrong_usage(tmp_path: Path) -> None:
    assert firstline(tmp_path, "chat", "--image", "x.png").returncode == 2
    assert firstline(tmp_path, "chat", "--once", "a", "--image", "x.png").returncode == 2


def test_check_config_tells_who_may_talk_and_shouts_about_everyone(tmp_path: Path) -> None:
    done = firstline(
        tmp_path,
        "check-config",
        SLACK_BOT_TOKEN="xoxb-canary",
        SLACK_APP_TOKEN="xapp-canary",
        REDIS_URL="redis://:canary@redis.example.com:6379/0",
        FIRSTLINE_SLACK__ALLOW__USERS="*",
        FIRSTLINE_SLACK__ALLOW__WORKSPACES="T0123",
    )
    assert done.returncode == 0
    for shown in ("nobody", "EVERYONE (*)", "T0123", "redis://redis.example.com:6379/0"):
        assert shown in done.stdout
    assert "WARNING: slack.allow.users" in done.stdout
    assert "embedded" in done.stdout
    assert "http://127.0.0.1:8321/" in done.stdout
    assert "canary" not in done.stdout


def test_a_redis_that_does_not_answer_is_one_reason(tmp_path: Path) -> None:
    done = firstline(tmp_path, "run", REDIS_URL="redis://127.0.0.1:1/0")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("firstline: Redis does not answer")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models", "list", "phi35mini"), "no model 'phi35mini' in the catalogue; there are: phi-"),
        (("models", "test", "embeded"), "no route 'embeded' (did you mean embedded?)"),
        (
            ("models", "pull", "phi-3.5-moe", "--backend", "github_models"),
            "phi-3.5-moe on github_models was retired on 2026-07-30",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_explained_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = firstline(tmp_path, *arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(f"firstline: {said}")
    assert done.stderr.count("\n") == 1


def test_models_alone_lists_what_is_here(tmp_path: Path) -> None:
    done = firstline(tmp_path, "models")

    assert done.returncode == 0
    assert "smollm2-135m-instruct" in done.stdout
