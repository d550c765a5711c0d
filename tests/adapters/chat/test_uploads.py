"""Uploaded files on disk, and what may happen to them meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from adapters.chat.page.uploads import KEPT_S, Uploads


async def test_a_file_that_goes_away_during_a_sweep_does_not_end_it(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    for number in range(3):  # listed, but gone when looked at
        (tmp_path / f"{number:032x}").symlink_to(tmp_path / "gone")
    old = await uploads.keep(b"x", name="a.png", media_type="image/png")
    os.utime(tmp_path / old.locator, (1.0, 1.0))

    await uploads.sweep(KEPT_S + 100)

    assert await uploads.preview(old.locator) is None
    assert not (tmp_path / old.locator).exists()
