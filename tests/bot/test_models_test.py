"""`firstline models test`: a line for each check, a file, and the exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from adapters.models.scripted_server import ScriptedServer
from bot.models_test import UnknownRoute, last_report, report_path, run_models_test
from bot.settings import Settings, load_settings
from tests.contracts.backends import talk


def settings_of(folder: Path, url: str) -> Settings:
    config = folder / "firstline.toml"
    config.write_text(
        f'data_dir = "{folder}"\n[models.routes.near]\nbackend = "openai_api"\n'
        f'model = "scripted"\nbase_url = "{url}"\n'
    )
    return load_settings(config, environ={})


async def outcome_of(settings: Settings, route: str) -> tuple[int, str]:
    out = io.StringIO()
    code = await run_models_test(route, settings, console=Console(file=out, width=200))
    return code, out.getvalue()


async def test_a_sound_route_passes_line_by_line_and_the_run_is_kept(tmp_path: Path) -> None:
    async with ScriptedServer(talk) as url:
        settings = settings_of(tmp_path, url)
        code, text = await outcome_of(settings, "near")

    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("pass    load")
    assert any(line.startswith("pass    schema") and "10 of 10" in line for line in lines)
    kept = json.loads(report_path(settings, "near").read_text())
    assert (kept["route"], kept["backend"], len(kept["checks"])) == ("near", "openai_api", 12)
    report = last_report(settings, "near")
    assert report
    assert report.verdict == "12 pass"


async def test_a_route_that_does_not_answer_fails_each_check_and_the_command(
    tmp_path: Path,
) -> None:
    code, text = await outcome_of(settings_of(tmp_path, "http://127.0.0.1:1/v1"), "near")

    assert code == 1
    assert "fail    streaming" in text


async def test_a_route_that_cannot_be_loaded_ends_there(tmp_path: Path) -> None:
    config = tmp_path / "firstline.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[models.routes.near]\nbackend = "openvino"\npath = "absent"\n'
    )
    code, text = await outcome_of(load_settings(config, environ={}), "near")

    assert code == 1
    assert text.startswith("fail    load")
    assert "1 fail. Kept in" in " ".join(text.split())


async def test_the_reader_of_images_is_checked_for_what_it_does(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    code, text = await outcome_of(settings_of(tmp_path, "http://127.0.0.1:1/v1"), "ocr")

    assert code == 0
    assert "8 taken, 9 refused" in text
    assert "skipped streaming" in text


async def test_an_unknown_route_gets_the_list(tmp_path: Path) -> None:
    with pytest.raises(UnknownRoute, match=r"mean near\?.*: embedded, near, ocr"):
        await outcome_of(settings_of(tmp_path, "http://127.0.0.1:1/v1"), "naer")
