"""The pool: what a worker may not do, how it ends, who takes its place."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import structlog

from adapters.decoding import walls
from adapters.decoding.errors import FileRefused
from adapters.decoding.files import decode_file
from adapters.decoding.kinds import Kind
from adapters.decoding.sandbox import Sandbox
from adapters.images import prepare_image
from tests import documents, pictures

NO_BWRAP = "/nowhere/bwrap"
PICTURE = pictures.shapes()
# What a decoder that a file has taken over might try, told by the errors it meets.
ESCAPES = """
import json, os, socket, sys
from adapters.decoding.child import limits
limits.CPU_S = 1
limits.bound_memory(); limits.lock(); limits.allow_cpu()
def tried(act):
    try:
        act()
    except BaseException as error:
        return type(error).__name__
    return "done"
print(json.dumps({
    "file": tried(lambda: open("/etc/passwd")),
    "write": tried(lambda: open("/tmp/sandbox-escape", "w")),
    "socket": tried(lambda: socket.socket()),
    "process": tried(lambda: os.fork() or os._exit(0)),
    "memory": tried(lambda: bytearray(600 * 1024 * 1024)),
}), flush=True)
while True: pass
"""


async def pid_after(sandbox: Sandbox, data: bytes = PICTURE) -> int:
    """The worker that read the picture and waits now."""
    await decode_file(data, sandbox)
    return sandbox.idle_pids[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have fewer limits")
async def test_a_worker_opens_no_file_socket_or_process_and_ends_at_its_limits() -> None:
    root = Path(walls.__file__).parents[2]
    code = f"import sys; sys.path.append({str(root)!r})\n{ESCAPES}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", code, stdout=asyncio.subprocess.PIPE, env={}
    )
    assert process.stdout is not None
    found = json.loads(await process.stdout.readline())

    assert found["file"] == found["write"] == found["socket"] == "OSError"
    assert found["memory"] == "MemoryError"
    assert found["process"] == "BlockingIOError"
    assert await process.wait() == -signal.SIGXCPU


async def test_a_worker_reads_many_files_and_is_replaced_after_its_last() -> None:
    async with Sandbox(size=1, jobs_per_worker=3, bwrap=NO_BWRAP) as sandbox:
        first = [await pid_after(sandbox) for _ in range(2)]
        await decode_file(PICTURE, sandbox)

        assert first[0] == first[1]
        assert sandbox.idle_pids == ()
        assert await pid_after(sandbox) != first[0]


async def test_a_worker_that_met_a_damaged_file_is_thrown_away() -> None:
    async with Sandbox(size=1, bwrap=NO_BWRAP) as sandbox:
        pid = await pid_after(sandbox)
        with pytest.raises(FileRefused, match="damaged"):
            await decode_file(pictures.photo(800, 800, "PNG")[:5000], sandbox)

        assert sandbox.idle_pids == ()
        assert not psutil.pid_exists(pid)
        await decode_file(PICTURE, sandbox)


async def test_a_worker_that_died_in_between_is_replaced_unnoticed() -> None:
    async with Sandbox(size=1, bwrap=NO_BWRAP) as sandbox:
        pid = await pid_after(sandbox)
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 (unheard by the loop)

        assert (await decode_file(PICTURE, sandbox)).pictures


async def test_a_worker_that_hangs_is_killed_in_time() -> None:
    async with Sandbox(size=1, wall_s=0.5, bwrap=NO_BWRAP) as sandbox:
        pid = await pid_after(sandbox)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(FileRefused, match="heavy"):
            await decode_file(PICTURE, sandbox)

        assert not psutil.pid_exists(pid)
        assert (await decode_file(PICTURE, sandbox)).pictures


async def test_a_cancelled_reading_leaves_no_process_behind() -> None:
    async with Sandbox(size=1, bwrap=NO_BWRAP) as sandbox:
        pid = await pid_after(sandbox)
        os.kill(pid, signal.SIGSTOP)
        task = asyncio.create_task(decode_file(PICTURE, sandbox), name="decode")
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not psutil.pid_exists(pid)


async def test_a_closed_sandbox_leaves_no_process_behind() -> None:
    async with Sandbox(bwrap=NO_BWRAP) as sandbox:
        await decode_file(PICTURE, sandbox)
        await decode_file(documents.docx("a text"), sandbox)
        pids = sandbox.idle_pids

    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_worker_gets_nothing_of_the_bots_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    async with Sandbox(size=1, bwrap=NO_BWRAP) as sandbox:
        pid = await pid_after(sandbox)

        assert psutil.Process(pid).environ() == {} or os.geteuid() == 0
        assert "SLACK_BOT_TOKEN" not in psutil.Process(pid).environ()


@pytest.mark.parametrize("works", [False, True])
async def test_where_bubblewrap_does_not_work_limits_alone_are_used_and_told(
    works: bool, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    # Stands in for bubblewrap: forbidden here, or one that starts what follows the `--`.
    bwrap.write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
        if works
        else "#!/bin/sh\nexit 1\n"
    )
    bwrap.chmod(bwrap.stat().st_mode | stat.S_IXUSR)
    with structlog.testing.capture_logs() as logged:
        async with Sandbox(bwrap=str(bwrap)) as sandbox:
            await sandbox.announce()
            await decode_file(PICTURE, sandbox)

    assert [entry["walls"] for entry in logged] == ["bubblewrap" if works else "limits"]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_inside_bubblewrap_every_kind_is_read() -> None:
    async with Sandbox() as sandbox:
        if await sandbox.level() != "bubblewrap":
            pytest.skip("bubblewrap is forbidden here")
        for data in (PICTURE, documents.pdf("a line of text"), documents.docx("x")):
            await decode_file(data, sandbox)
        assert (await decode_file(documents.video(), sandbox)).pictures


async def test_files_of_one_moment_wait_for_each_other() -> None:
    async with Sandbox(size=2, bwrap=NO_BWRAP) as sandbox:
        many = [prepare_image(pictures.photo(600, 400), sandbox=sandbox) for _ in range(10)]
        made = await asyncio.gather(*many)

        assert len({picture.sha256 for picture in made}) == 1
        assert len(sandbox.idle_pids) <= 2


async def test_no_worker_that_starts_is_one_sentence_not_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with Sandbox(bwrap=NO_BWRAP) as sandbox:
        with pytest.raises(FileRefused, match="missing"):
            await decode_file(PICTURE, sandbox)


@pytest.mark.parametrize("kind", ["PNG", "PDF", "OFFICE", "TEXT", "MP4"])
async def test_a_megabyte_of_zeros_is_refused_by_every_decoder(kind: Kind) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    async with Sandbox(size=1, bwrap=NO_BWRAP) as sandbox:
        with pytest.raises(FileRefused, match="damaged"):
            await decode_zeros(sandbox, kind)

    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before < 512 * 1024


async def decode_zeros(sandbox: Sandbox, kind: Kind) -> None:
    await sandbox.read(bytes(1024 * 1024), kind, max_side=100, frames=1)
