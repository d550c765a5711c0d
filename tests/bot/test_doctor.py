from __future__ import annotations

import io
import socket
from pathlib import Path

from rich.console import Console

from bot.doctor import examine
from bot.settings import load_settings

LOST = {"backend": "openai_api", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


async def test_each_fault_comes_with_its_one_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        overrides = {
            "data_dir": tmp_path,
            "redis.url": "redis://:canary@127.0.0.1:1/0",
            "web.port": port,
            "models.routes.lost": LOST,
            "roles.planner": ["lost"],
            "roles.vision": [],
        }
        out = io.StringIO()
        code = await examine(
            load_settings(environ={}, overrides=overrides), console=Console(file=out, width=200)
        )
    shown = out.getvalue()

    assert code == 1
    assert "FAULT redis: Redis does not answer" in shown
    assert "FAULT model route lost" in shown
    assert "FAULT role vision: name a route in roles.vision" in shown
    assert f"FAULT port: port {port} on 127.0.0.1 is in use" in shown
    assert "ok    slack: off" in shown
    assert "canary" not in shown


async def test_a_healthy_redis_is_described(tmp_path: Path, redis_url: str) -> None:
    overrides = {"data_dir": tmp_path, "redis.url": redis_url, "web.port": 0}
    overrides |= {"models.routes.play": {"backend": "scripted"}}
    overrides |= {"roles.planner": ["play"], "roles.vision": ["play"]}
    out = io.StringIO()
    settings = load_settings(environ={}, overrides=overrides)
    await examine(settings, console=Console(file=out, width=200))

    assert "noeviction, append-only on" in out.getvalue()
    assert "ok    sandbox: " in out.getvalue()


async def test_slack_over_http_needs_a_free_port_a_key_and_an_https_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        overrides = {
            "data_dir": tmp_path,
            "redis.url": "redis://127.0.0.1:1/0",
            "slack.signing_secret": "canary-signing",
            "slack.client_id": "11.22",
            "slack.client_secret": "canary-client",
            "slack.public_url": "http://bot.example.com",
            "slack.http_port": port,
            "roles.planner": [],
            "roles.vision": [],
        }
        out = io.StringIO()
        settings = load_settings(environ={}, overrides=overrides)
        await examine(settings, console=Console(file=out, width=200))
    shown = out.getvalue()

    assert f"FAULT slack port: port {port} on 127.0.0.1 is in use" in shown
    assert "FAULT slack installations: tokens are kept encrypted only: set memory.key_file" in shown
    assert "FAULT slack.public_url: must begin with https://" in shown
    assert "canary" not in shown
