"""The walls a worker puts around itself; nothing in it can take them down again."""

from __future__ import annotations

import contextlib
import os

MEMORY_BYTES = 512 * 1024 * 1024
CPU_S = 5
_NOBODY = 65534


def bound_memory() -> None:
    """Before any decoder is loaded."""
    _set("RLIMIT_AS", MEMORY_BYTES)
    _set("RLIMIT_CORE", 0)
    _set("RLIMIT_FSIZE", 0)


def lock() -> None:
    """After everything is loaded: no file, socket or process can be opened any more.

    A limit of no descriptors leaves the open pipes alone and forbids every new one.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # root is above limits
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _set("RLIMIT_NOFILE", 0)
    _set("RLIMIT_NPROC", 0)


def allow_cpu() -> None:
    """A fresh allowance for one file: past it the system ends this process."""
    used = os.times()
    _set("RLIMIT_CPU", int(used.user + used.system) + CPU_S, soft_only=True)


def _set(name: str, limit: int, *, soft_only: bool = False) -> None:
    """What a system lacks is left out (macOS has no limit of the address space)."""
    try:
        import resource
    except ImportError:
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1] if soft_only else limit
        resource.setrlimit(kind, (limit, hard))
