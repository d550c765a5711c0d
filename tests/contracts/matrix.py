"""The matrix of `docs/models.md`: from the catalogue and the last run of the contract.

python -m tests.contracts.matrix          writes the table anew
python -m tests.contracts.matrix --run    runs the contract first and keeps its results
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from adapters.models.catalogue import Cell, Model, catalogue

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "models" / "contract.json"
PAGE = ROOT / "docs" / "models.md"
SUITE = "tests/contracts/test_model_backends.py"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
# The contract that runs real weights, and their architecture.
_REAL = {"openvino": ("llama", "SmolLM2's real weights")}
_ARCHITECTURES = (  # by what the rest of a contract's name says; the first that fits counts
    ("moe", "phimoe"),
    ("vision", "phi3v"),
    ("phi3v", "phi3v"),
    ("small", "phi3small"),
    ("multimodal", "phi4mm"),
    ("llama", "llama"),
    ("smollm", "llama"),
    ("", "phi3"),
)


class Result(msgspec.Struct):
    """One contract's last run; `versions` of the packages behind it."""

    passed: int = 0
    skipped: int = 0
    failed: int = 0
    on: str = ""
    versions: dict[str, str] = {}


class Proof(msgspec.Struct, frozen=True):
    """A contract that passed: which architecture ran, and how."""

    contract: str
    architecture: str
    how: str


class Recorder:
    """A pytest plugin that counts outcomes by the name of the backend under contract.

    A backend that can't be made, for want of its packages, leaves nothing.
    """

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, _, ids = report.nodeid.partition("[")
        name = ids.rstrip("]").partition("-")[0]
        if name and (report.when == "call" or report.outcome == "skipped"):
            result = self.results.setdefault(name, Result())
            setattr(result, report.outcome, getattr(result, report.outcome) + 1)


def run_contract(extra: tuple[str, ...] = ()) -> dict[str, Result]:
    """Run the suite on every backend that is installed; a result for each that ran."""
    recorder = Recorder()
    pytest.main(["-q", "-m", "not drill", SUITE, *extra], plugins=[recorder])
    today = datetime.now(UTC).date().isoformat()
    ran = {name: each for name, each in recorder.results.items() if each.passed or each.failed}
    for name, result in ran.items():
        result.on, result.versions = today, _versions(name)
    return ran


def proofs(results: Mapping[str, Result]) -> dict[tuple[str, str], Proof]:
    """The contracts without a failure, by backend and architecture."""
    found: dict[tuple[str, str], Proof] = {}
    for contract, result in sorted(results.items()):
        backend = backend_of(contract)
        if backend is None or result.failed or not result.passed:
            continue
        if catalogue().backends[backend].kind != "local":
            continue  # a client's contract runs against a server of ours
        architecture = architecture_of(contract, backend)
        kind = f"tiny random weights of this architecture ({architecture})"
        weights = _REAL[contract][1] if contract in _REAL else kind
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        how = f"contract `{contract}` on {weights}, "
        how += f"{result.passed} passed, {result.skipped} skipped on {result.on}"
        found[backend, architecture] = Proof(contract, architecture, f"{how}; {versions}")
    return found


def backend_of(contract: str) -> str | None:
    """The catalogue's backend whose name the contract's begins with."""
    fitting = [each for each in catalogue().backends if f"{contract}_".startswith(f"{each}_")]
    return max(fitting, key=len, default=None)


def architecture_of(contract: str, backend: str) -> str:
    if contract in _REAL:
        return _REAL[contract][0]
    rest = contract.removeprefix(backend)
    return next(name for part, name in _ARCHITECTURES if part in rest)


def matrix(results: Mapping[str, Result]) -> str:
    """The table and its notes as Markdown."""
    known, proved, notes = catalogue(), proofs(results), dict[str, int]()
    lines = [
        f"| model | {' | '.join(known.backends)} |",
        "|---" * (len(known.backends) + 1) + "|",
    ]
    for name, model in known.models.items():
        cells = []
        for backend in known.backends:
            word, note = cell_text(backend, model, proved, results)
            number = notes.setdefault(note, len(notes) + 1)
            cells.append(f"{word} <sup>{number}</sup>")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for note, number in notes.items())])


def cell_text(
    backend: str,
    model: Model,
    proved: Mapping[tuple[str, str], Proof],
    results: Mapping[str, Result],
) -> tuple[str, str]:
    """What the cell says in a word, and the note that says how, why, or what instead."""
    cell = model.cells[backend]
    if not cell.usable:
        return _unusable(cell)
    proof = proved.get((backend, model.architecture))
    if proof is not None:
        return "proved here", f"Proved here: {proof.how}."
    return "built", f"Built, not provable here: {_why_unproved(backend, model, proved, results)}."


def _unusable(cell: Cell) -> tuple[str, str]:
    instead = f" Instead: {cell.replacement}." if cell.replacement else ""
    if cell.status == "retired":
        when = f"{cell.retired_on:%Y-%m-%d}" if cell.retired_on else ""
        return f"retired {when}", f"Retired {when}: {cell.reason}.{instead}"
    word = cell.status.replace("_", " ")
    return word, f"{word.capitalize()}: {cell.reason}.{instead}"


def _why_unproved(
    backend: str,
    model: Model,
    proved: Mapping[tuple[str, str], Proof],
    results: Mapping[str, Result],
) -> str:
    info = catalogue().backends[backend]
    if info.kind != "local":  # its contract proves our client, against a twin of ours
        run = results.get(backend, Result())
        ran = f" (contract `{backend}`: {run.passed} passed, {run.failed} failed on {run.on})"
        return info.unprovable + ran if run.on else f"{info.unprovable}; it has not run"
    others = [each.architecture for (name, _), each in proved.items() if name == backend]
    if others:
        ran = f"the contract ran here on other architectures ({', '.join(others)})"
        return f"{ran}, not on {model.architecture}"
    return info.unprovable


def _versions(contract: str) -> dict[str, str]:
    backend = backend_of(contract)
    found = {}
    for package in catalogue().backends[backend].packages if backend else ():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_results(path: Path = RESULTS) -> dict[str, Result]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Result])


def with_matrix(page: str, table: str) -> str:
    """The page with the table between its markers."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", action="store_true", help="run the contract first")
    parser.add_argument("pytest", nargs="*", help="options for the run, such as -k mlx")
    options = parser.parse_args()
    results = read_results() if RESULTS.exists() else {}
    if options.run:
        results |= run_contract(tuple(options.pytest))
        RESULTS.parent.mkdir(exist_ok=True)
        ordered = dict(sorted(results.items()))
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(ordered)) + b"\n")
    PAGE.write_text(with_matrix(PAGE.read_text(encoding="utf-8"), matrix(results)), "utf-8")
    return 1 if any(each.failed for each in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
