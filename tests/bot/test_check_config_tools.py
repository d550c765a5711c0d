"""Who may do what where, as `firstline check-config` tells it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from bot.check_config import print_config
from bot.settings import load_settings
from tests.bot.approval_bot import TOOLS


def told(folder: Path, settings: str) -> tuple[bool, str]:
    (folder / "own.py").write_text(TOOLS.format(trace=str(folder / "trace")))
    file = folder / "firstline.toml"
    file.write_text(f'[tools]\nfile = "{folder / "own.py"}"\n{settings}')
    out = StringIO()
    is_fine = print_config(
        load_settings(file, environ={}), config=file, console=Console(file=out, width=220)
    )
    return is_fine, out.getvalue()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if f" {name} " in line)


def test_every_tool_is_told_with_its_effect_its_grant_and_its_press(tmp_path: Path) -> None:
    pin = f'[tools.mcp.shop]\ncommand = ["x"]\n[tools.mcp.shop.tools.stock]\nhash = "{"0" * 64}"\n'
    grants = '[tools.grants.file_ticket]\nusers = ["U1"]\nchannels = []\n'
    is_fine, text = told(tmp_path, grants + pin)

    assert is_fine
    assert "always" in row(text, "delete_page")
    assert "never" in row(text, "read_page")
    assert "all of them" in row(text, "read_page")
    assert "users: U1; channels: nobody" in row(text, "file_ticket")
    assert "destructive" in row(text, "shop__stock")


def test_a_grant_of_a_tool_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    is_fine, text = told(tmp_path, '[tools.grants.fil_ticket]\nusers = ["U1"]\n')
    assert not is_fine
    assert "tools.grants.fil_ticket: there is no tool of that name" in text
