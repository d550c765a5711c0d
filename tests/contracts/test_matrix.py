"""The matrix of `docs/models.md` says what the catalogue and the last contract run say."""

from __future__ import annotations

from tests.contracts.backends import BACKENDS
from tests.contracts.engines import ENGINE_BACKENDS
from tests.contracts.matrix import (
    PAGE,
    RESULTS,
    Result,
    architecture_of,
    backend_of,
    matrix,
    proofs,
    read_results,
    with_matrix,
)


def row(table: str, model: str) -> dict[str, str]:
    """A model's cells by backend, each with its note."""
    lines = table.splitlines()
    notes = {line.partition(". ")[0]: line for line in lines if line[:1].isdigit()}
    heads = lines[0].strip("| ").split(" | ")
    cells = next(line for line in lines if line.startswith(f"| {model} |")).strip("| ").split(" | ")
    told = {}
    for head, cell in zip(heads, cells, strict=True):
        number = cell.partition("<sup>")[2].partition("<")[0]
        told[head] = f"{cell} {notes.get(number, '')}"
    return told


def test_the_committed_table_is_the_one_the_generator_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert with_matrix(page, matrix(read_results())) == page, "run: make models-matrix"


def test_the_committed_results_hold_no_failure() -> None:
    assert [name for name, each in read_results(RESULTS).items() if each.failed] == []


def test_a_contract_proves_its_architecture_on_its_backend_and_no_other() -> None:
    run = Result(passed=13, on="2026-11-23", versions={"mlx": "0.32.4"})
    table = matrix({"mlx_moe": run})

    moe, mini = row(table, "phi-3.5-moe"), row(table, "phi-3.5-mini")
    assert moe["mlx"].startswith("proved here")
    assert "contract `mlx_moe` on tiny random weights" in moe["mlx"]
    assert "13 passed, 0 skipped on 2026-11-23; mlx 0.32.4" in moe["mlx"]
    assert "ran here on other architectures (phimoe), not on phi3" in mini["mlx"]
    assert moe["llama_cpp"].startswith("built")


def test_a_failed_contract_proves_nothing() -> None:
    assert proofs({"mlx": Result(passed=12, failed=1, on="2026-11-23")}) == {}


def test_a_client_against_our_own_server_is_no_proof_of_a_service() -> None:
    run = Result(passed=14, on="2026-11-23")
    table = matrix({"vllm": run, "foundry": run})

    assert row(table, "phi-3.5-moe")["vllm"].startswith("built")
    assert "needs a GPU" in row(table, "phi-3.5-moe")["vllm"]
    assert "`foundry`: 14 passed, 0 failed" in row(table, "phi-4")["foundry"]
    assert "it has not run" in row(table, "phi-3.5-moe")["nim"]


def test_what_cannot_be_used_says_why_since_when_and_what_instead() -> None:
    moe = row(matrix({}), "phi-3.5-moe")

    assert "Retired 2026-07-30" in moe["github_models"]
    assert "Instead: phi-4 on foundry" in moe["github_models"]
    assert moe["onnx_genai"].startswith("not possible")
    assert "Instead: phi-3.5-moe on openvino" in moe["onnx_genai"]


def test_each_engines_contract_belongs_to_a_backend_and_an_architecture() -> None:
    named = {name: backend_of(name) for name in {**BACKENDS, **ENGINE_BACKENDS}}

    assert {name for name, each in named.items() if each is None} == {
        "scripted",
        "langchain",
        "openai_api",
    }
    assert architecture_of("openvino", "openvino") == "llama"
    assert architecture_of("openvino_vision", "openvino") == "phi3v"
    assert architecture_of("mlx_moe", "mlx") == "phimoe"
    assert architecture_of("onnx_genai", "onnx_genai") == "phi3"
