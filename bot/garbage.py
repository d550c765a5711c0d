"""What the garbage collector need not walk."""

from __future__ import annotations

import gc


def keep_for_good() -> None:
    """What was made by now lives as long as the process.

    Modules, settings and SDKs are some hundred thousand objects; not walking them again and
    again saves a sixth to a quarter of the CPU of taking events in (`benchmarks intake`).
    """
    gc.collect()
    gc.freeze()
