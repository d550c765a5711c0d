"""The examples of docs/testing.md and README.md, run as they stand by another pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"```python\n# (?P<name>test_\w+\.py)[^\n]*\n(?P<code>.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(found["name"], found["code"], id=found["name"])
    for found in _BLOCK.finditer((ROOT / "docs/testing.md").read_text(encoding="utf-8"))
]
MOST_LINES = 15


def tools_of_the_readme() -> str:
    found = re.search(r"  ```python\n  # my_tools.py(.*?)  ```", README, re.DOTALL)
    assert found is not None
    return re.sub(r"^  ", "", found[0].split("\n", 2)[2].removesuffix("  ```"), flags=re.MULTILINE)


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize(("name", "code"), EXAMPLES)
def test_an_example_passes_in_a_folder_of_its_own(name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(tools_of_the_readme())
    (tmp_path / name).write_text(code)
    done = subprocess.run(  # noqa: S603 (our own interpreter)
        [sys.executable, "-m", "pytest", "-q", "-p", "no:langsmith_plugin", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(("name", "code"), [each for each in EXAMPLES if each.id != "test_echo.py"])
def test_a_conversation_takes_at_most_fifteen_lines(name: str, code: str) -> None:
    assert len([line for line in code.splitlines() if line.strip()]) <= MOST_LINES, name
