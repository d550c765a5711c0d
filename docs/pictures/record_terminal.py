"""Records `firstline chat` in a real terminal, and draws what was on it.

`python docs/pictures/record_terminal.py` from the project's folder makes
`docs/pictures/terminal.svg`. It needs tmux and rich. The planner is the scripted demo model,
and the first line of the picture says so; the text of the picture is read by the real OCR.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from adapters.models.scripted_server import ScriptedServer  # noqa: E402
from tests.end_to_end.support_script import QUESTION, support  # noqa: E402
from tests.pictures import error_window  # noqa: E402

SIZE = (96, 26)  # columns, rows
TITLE = "firstline chat (a scripted model answers; bot, tool and OCR are real)"
SETTINGS = """
[models.routes.script]
backend = "openai_api"
base_url = "{url}"
model = "scripted"
context_tokens = 8192
[roles]
planner = ["script"]
vision = ["ocr"]
"""
TYPED = (
    ("/attach error.png", "goes with your next message"),
    (QUESTION, "no vision model is set up"),
    ("What was the error code?", "on web-07."),
    ("/model", "back with"),
)


async def main() -> None:
    async with ScriptedServer(support) as url:
        await asyncio.to_thread(record, url)


def record(url: str) -> None:
    socket = f"firstline-{os.getpid()}"
    tmux = [shutil.which("tmux") or "tmux", "-L", socket]
    with tempfile.TemporaryDirectory(prefix="fl-") as folder:
        prepare(Path(folder), url)
        command = f"clear; echo '$ firstline chat'; {sys.executable} -m bot chat"
        environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": folder}
        environ |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        size = ["-x", str(SIZE[0]), "-y", str(SIZE[1])]
        run([*tmux, "-u", "new-session", "-d", *size, "-c", folder, command], environ)
        try:
            wait_for(tmux, environ, "›")
            time.sleep(1)  # the prompt draws itself anew when it has asked the terminal
            for line, ending in TYPED:
                run([*tmux, "send-keys", "-l", line], environ)
                run([*tmux, "send-keys", "Enter"], environ)
                wait_for(tmux, environ, ending)
                time.sleep(1)
            draw(screen(tmux, environ, "-e"))
            run([*tmux, "send-keys", "-l", "/quit"], environ)
            run([*tmux, "send-keys", "Enter"], environ)
            time.sleep(2)
        finally:
            subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)  # noqa: S603


def prepare(folder: Path, url: str) -> None:
    (folder / "firstline.toml").write_text(SETTINGS.format(url=url))
    (folder / "error.png").write_bytes(error_window())


def run(command: list[str], environ: dict[str, str]) -> str:
    ended = subprocess.run(  # noqa: S603 (our own words)
        command, env=environ, check=True, capture_output=True, timeout=20
    )
    return ended.stdout.decode()


def screen(tmux: list[str], environ: dict[str, str], *options: str) -> str:
    return run([*tmux, "capture-pane", "-p", "-S", "-200", *options], environ)


def wait_for(tmux: list[str], environ: dict[str, str], ending: str) -> None:
    deadline = time.monotonic() + 30
    while ending not in (shown := screen(tmux, environ)):
        if time.monotonic() > deadline:
            raise SystemExit(f"{ending!r} did not appear on the terminal:\n{shown}")
        time.sleep(0.1)


def draw(captured: str) -> None:
    console = Console(record=True, width=SIZE[0], file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(captured.rstrip()))
    svg = console.export_svg(title=TITLE)
    # A picture in a README may load nothing from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(__file__).with_name("terminal.svg").write_text(svg)


if __name__ == "__main__":
    asyncio.run(main())
