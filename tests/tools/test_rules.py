"""The rules at the call: every combination, every branch, and no mutant that passes (G12)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.tools.mutants import module_of, mutants_of
from tests.tools.rules_checks import CHECKS
from tools import rules

SOURCE = inspect.getsource(rules)


@pytest.mark.parametrize("check", CHECKS)
def test_the_rules_hold(check: Callable[[Any], None]) -> None:
    check(rules)


def test_every_branch_of_the_rules_is_taken(tmp_path: Path) -> None:
    watch = coverage.Coverage(branch=True, include=[rules.__file__], data_file=None)
    watch.start()
    try:
        module = module_of(compile(SOURCE, rules.__file__, "exec"), "tools.rules")
        for check in CHECKS:
            check(module)
    finally:
        watch.stop()
    watch.json_report(outfile=str(tmp_path / "report.json"))
    totals = json.loads((tmp_path / "report.json").read_text())["totals"]

    assert totals["num_branches"] > 10
    assert (totals["missing_lines"], totals["missing_branches"]) == (0, 0)


def test_no_mutant_of_the_rules_passes_their_checks() -> None:
    mutants = list(mutants_of(SOURCE, "tools.rules"))
    survivors = [told for told, module in mutants if _passes(module)]

    assert len(mutants) > 60
    assert survivors == []


def _passes(module: Any) -> bool:
    try:
        for check in CHECKS:
            check(module)
    except Exception:  # noqa: BLE001 (however a mutant fails, it is noticed)
        return False
    return True
