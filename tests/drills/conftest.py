"""What every drill can use; a drill elsewhere imports the fixture from `tests.drills.figures`."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.drills.figures import record_figure as record_figure


@pytest.fixture(autouse=True)
def quiet_servers() -> Iterator[None]:
    """Clients that were killed leave the twins' servers with something to complain about."""
    logger = logging.getLogger("aiohttp.server")
    before, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = before
