from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("bot", "adapters", "agents", "tools")
HEAVY = (
    "openvino_genai",
    "rapidocr",
    "discord",
    "slack_bolt",
    "torch",
    "langchain",
    "langchain_core",
    "langgraph",
    "openai",
    "PIL",
)
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
MAX_LINES = 400


def test_no_installed_dependency_ships_a_package_with_one_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ())) <= {"firstline"}


def test_the_command_line_starts_without_any_heavy_sdk() -> None:
    code = f"import sys, bot.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(  # noqa: S603 (our own interpreter)
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_source_file_reads_no_environment_and_stays_short(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    if file != ROOT / "bot" / "settings.py":
        assert not _environment_reads(ast.parse(text))


def _environment_reads(tree: ast.AST) -> list[int]:
    names = {"environ", "environb", "getenv", "getenvb"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
            found += [node.lineno] if node.attr in names else []
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            found += [node.lineno for alias in node.names if alias.name in names]
    return found


def test_the_compose_file_keeps_accepted_work() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    redis = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis
    assert compose["services"]["ollama"]["profiles"] == ["ollama"]
    assert compose["services"]["vllm"]["profiles"] == ["vllm"]
    assert set(compose["volumes"]) == {"firstline", "redis", "ollama", "vllm"}


def test_the_constraints_are_exact_and_hold_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin and "/" not in pin and "@" not in pin for pin in pins)
    assert not any(pin.startswith(("torch", "torchvision")) for pin in pins)
