"""Starts bots by forking a process that has everything imported: 50 ms instead of a second.

Serves one drill after another on the unix socket it is given. Reads one JSON line for each bot,
answers `{"pid": …}`, and later `{"pid": …, "code": …}` when that bot ended (a negative code is the
signal that killed it). A drill's bots end with its connection, and all with the process that
started this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

_PRELOADED = (
    "bot.cli",
    "bot.wiring",
    "bot.settings",
    "bot.logs",
    "adapters.chat.slack",
    "adapters.chat.discord",
    "adapters.models.openai_api",
    "adapters.stores.connection",
    "uvicorn",
    "discord",
)
_DIE_WITH_PARENT = 1  # prctl(PR_SET_PDEATHSIG)


def main() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    _die_with(os.getppid())
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{sys.argv[1]}.new")
        listening.listen()
        os.rename(f"{sys.argv[1]}.new", sys.argv[1])  # from now on it can be found
        while True:
            drill, _ = listening.accept()
            with drill, drill.makefile("rw") as lines:
                _serve(drill, lines, woken)


def _serve(drill: socket.socket, lines: IO[str], woken: int) -> None:
    pids: set[int] = set()
    while True:
        readers: list[Any] = [drill, woken]
        ready, _, _ = select.select(readers, [], [])
        if woken in ready:
            os.read(woken, 4096)
        _reap(pids, lines)
        if drill in ready:
            line = ""
            with contextlib.suppress(ConnectionResetError):  # a drill that failed ends like that
                line = lines.readline()
            if not line:
                break
            pids.add(_start(json.loads(line), lines))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _reap(pids: set[int], lines: IO[str]) -> None:
    for pid in list(pids):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            pids.discard(pid)
            _tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)}, lines)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _start(order: dict[str, Any], lines: IO[str]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _die_with(parent)
            code = _be_a_bot(order)
        except BaseException as error:  # noqa: BLE001 (a fork must never come back from here)
            print(f"drill: {type(error).__name__}: {error}", file=sys.stderr)
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _tell({"pid": pid}, lines)
    return pid


def _be_a_bot(order: dict[str, Any]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, log, log)):
        os.dup2(file, number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    if order["rules"]:
        from tests.drills.crash_rules import obey

        obey(order["rules"])
    from bot.cli import main as run_bot

    sys.argv = ["firstline", *order["arguments"]]
    try:
        run_bot()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _tell(fact: dict[str, Any], lines: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        lines.write(json.dumps(fact) + "\n")
        lines.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
