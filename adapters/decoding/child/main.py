"""A worker of the sandbox: reads jobs on stdin until it ends, answers on stdout.

Started with `python -I main.py FAMILY`; loads that family's decoders, then locks itself in.
"""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path

FAMILIES = ("pictures", "pages", "documents", "videos")


def main(family: str) -> None:
    sys.path.append(str(Path(__file__).resolve().parents[3]))  # for a checkout not installed
    from adapters.decoding.child import limits, wire

    limits.bound_memory()
    if family not in FAMILIES:
        raise SystemExit(f"unknown family {family!r}")
    try:
        decoder = importlib.import_module(f"adapters.decoding.child.{family}")
    except ImportError:  # an extra that is not installed
        wire.write({"refused": "missing", "fields": {}})
        return
    decoder.warm()
    limits.lock()
    wire.write({"ready": family})
    while job := wire.read_job():
        limits.allow_cpu()
        try:
            made = decoder.read(job)
        except wire.Refusal as refusal:
            wire.write(refusal.header)
        except MemoryError:
            wire.write({"refused": "heavy", "fields": {}})
        except decoder.ERRORS as error:
            if getattr(error, "errno", None) == errno.EMFILE:
                raise  # a module or a file that nothing may open any more: not the file's fault
            wire.write({"refused": "damaged", "fields": {}})
        else:
            wire.write_made(made)


if __name__ == "__main__":
    main(sys.argv[1])
