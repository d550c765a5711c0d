"""Whether a model fits the memory that is free, told before it is loaded."""

from __future__ import annotations

from pathlib import Path

from adapters.models.catalogue import gb
from agents.errors import BackendError

_WEIGHTS = frozenset({".gguf", ".bin", ".safetensors", ".onnx", ".data", ".npz"})
# What an engine needs beside the weights: its own code, buffers, the prompt's memory. The
# least that was measured (llama.cpp, ONNX GenAI); what does not fit with it fits with no engine.
_BESIDE_BYTES = 200_000_000
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def check_memory(
    backend: str, needed_bytes: int, *, available: int | None = None, remedy: str = ""
) -> None:
    """Raises `BackendError` naming both figures when the model can't fit.

    `available` unset is what this machine, or the container, has free; where nothing tells
    that, nothing is refused.
    """
    free = available_bytes() if available is None else available
    if free is None or needed_bytes <= free:
        return
    remedy = remedy or "free some, take a smaller model, or route to a server"
    detail = f"needs about {gb(needed_bytes)} of memory, {gb(free)} are free; {remedy}"
    raise BackendError(backend, detail, retryable=True)


def needed_bytes(weights: Path, *, measured_bytes: int = 0) -> int:
    """What loading a file or folder takes: what was measured, or at least its weights."""
    files = weights.rglob("*") if weights.is_dir() else [weights]
    size = sum(each.stat().st_size for each in files if each.suffix in _WEIGHTS and each.is_file())
    return max(measured_bytes, size + _BESIDE_BYTES if size else 0)


def available_bytes(*, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Memory free for us: the machine's, or what the container's limit leaves if that is less."""
    known = [each for each in (_machine(meminfo), _container(cgroup)) if each is not None]
    return min(known, default=None)


def _machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None  # no Linux
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(found.split()[1]) * 1024 if found else None


def _container(cgroup: Path) -> int | None:
    """By control groups, version 2; page cache in the figure counts as free."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        stats = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None  # "max"
    return max(int(limit) - used + int(stats.get("inactive_file", 0)), 0)
