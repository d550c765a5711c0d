"""The check before loading: both figures and the remedy, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.models.memory import available_bytes, check_memory, needed_bytes
from agents.errors import BackendError


def test_a_model_that_does_not_fit_is_refused_with_both_figures_and_the_remedy() -> None:
    with pytest.raises(BackendError, match=r"needs about 25\.3 GB .* 8\.0 GB are free; free some"):
        check_memory("moe", 25_300_000_000, available=8_000_000_000)


def test_a_model_that_fits_is_not_held_up() -> None:
    check_memory("mini", 2_000_000_000, available=2_000_000_000)


def test_what_this_machine_has_free_is_known_here() -> None:
    with pytest.raises(BackendError, match="are free"):
        check_memory("all", 10**15)


def test_where_nothing_tells_the_free_memory_nothing_is_refused(tmp_path: Path) -> None:
    assert available_bytes(meminfo=tmp_path / "no", cgroup=tmp_path) is None


def test_the_containers_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   8000000 kB\n")
    (tmp_path / "memory.max").write_text("2000000000\n")
    (tmp_path / "memory.current").write_text("1500000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000000\n")

    assert available_bytes(meminfo=meminfo, cgroup=tmp_path) == 800_000_000

    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(meminfo=meminfo, cgroup=tmp_path) == 8_000_000 * 1024


def test_the_need_is_the_weights_and_some_or_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "tokenizer.json").write_bytes(bytes(5000))

    assert needed_bytes(tmp_path) == 200_001_000
    assert needed_bytes(tmp_path / "sub" / "model.safetensors") == 200_001_000
    assert needed_bytes(tmp_path, measured_bytes=10**9) == 10**9
    assert needed_bytes(tmp_path / "missing") == 0
