"""nats-servers of a test's own, with JetStream in a folder: to kill and start again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.redis_servers import free_port

_START_S = 20.0


def nats_binary() -> str:
    """Skips the test where the machine has none."""
    found = shutil.which("nats-server", path="/usr/local/bin:/usr/bin:/usr/sbin")
    if found is None:
        pytest.skip("no nats-server on this machine: apt-get install nats-server")
    return found


class NatsServer:
    """One nats-server on a port of loopback; what it keeps survives `restart`."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.port, self._options = folder, free_port(), options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [nats_binary(), "-a", "127.0.0.1", "-p", str(self.port), *self._options]
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own command line)
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = monotonic() + _START_S
        while not self._answers():
            if monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError("nats-server did not start")
            sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=15)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as spoken:
                return spoken.recv(4) == b"INFO"
        except OSError:
            return False


def jetstream(folder: Path) -> NatsServer:
    return NatsServer(folder, "-js", "-sd", str(folder / "jetstream"))
