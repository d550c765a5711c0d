"""`firstline knowledge` and `firstline eval`, as an operator runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bot.test_cli import firstline
from tests.knowledge.handbook import PAGES

QUESTIONS = """How many days of vacation do I have?\tvacation.md
How do I reset the VPN password?\tvpn.md
Who approves flights?\ttravel.rst
Which Stripe API key do I need?\t-
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handbook").mkdir()
    for name, text in PAGES.items():
        (tmp_path / "handbook" / name).write_text(text, encoding="utf-8")
    (tmp_path / "handbook" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / "questions.tsv").write_text(QUESTIONS, encoding="utf-8")
    (tmp_path / "firstline.toml").write_text('[channel_defaults]\nknowledge = ["default"]\n')
    return tmp_path


def test_what_is_added_is_listed_found_measured_asked_and_removed(folder: Path) -> None:
    added = firstline(folder, "knowledge", "add", "handbook", "--url", "https://h.example")
    again = firstline(folder, "knowledge", "add", "handbook", "--url", "https://h.example")
    listed = firstline(folder, "knowledge", "list", COLUMNS="200")
    found = firstline(folder, "knowledge", "search", "reset the VPN password")
    measured = firstline(folder, "eval", "questions.tsv", "--plot", "plot.png")
    asked = firstline(folder, "chat", "--once", "How many days of vacation do I have?")
    removed = firstline(folder, "knowledge", "remove", str(folder / "handbook"))

    assert "4 read (8 passages), 0 unchanged, 0 dropped, 1 not read." in added.stdout
    assert "broken.pdf: is damaged" in added.stdout
    assert "0 read (0 passages), 4 unchanged" in again.stdout
    assert str(folder / "handbook") in listed.stdout
    assert "It would be answered" in found.stdout
    assert "3 questions with an answer, 1 without" in measured.stdout
    assert "refuses 100.0%" in measured.stdout
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "28 days of vacation a year. [1]" in asked.stdout
    assert "[Vacation](https://h.example/vacation.md)" in asked.stdout
    assert "with 4 documents" in removed.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("knowledge", "add", "nowhere"), "there is no such file or folder"),
        (("knowledge", "remove", "nothing"), "there is no source 'nothing'"),
        (("eval", "firstline.toml"), "write a question, a tab, and its documents"),
        (("eval", "nowhere.tsv"), "No such file"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    folder: Path, arguments: tuple[str, ...], reason: str
) -> None:
    done = firstline(folder, *arguments)

    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
