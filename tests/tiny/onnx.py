"""The tiny models as int4 folders for ONNX Runtime GenAI, by its own builder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.tiny.hf import TextModel, tiny_hf
from tests.tiny.kept import kept

_BUILD_S = 300
NEEDS = ("onnxruntime_genai", "onnx_ir", "torch", "transformers")  # of its builder


def tiny_onnx(name: TextModel) -> Path:
    """A GenAI folder (CPU, int4); takes about 8 s the first time."""
    if not all(importlib.util.find_spec(each) for each in NEEDS):
        pytest.skip("needs onnxruntime-genai and its builder (make test-engines installs them)")
    source = tiny_hf(name)
    recipe = f"{source.name} {version('onnxruntime-genai')} int4"
    return kept(f"onnx-{name}", recipe, lambda folder: build(source, folder))


def build(source: Path, folder: Path, *more: str) -> None:
    """Run the builder; `more` are its extra options, such as `exclude_embeds=true`."""
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    options = ["-m", str(source), "-o", str(folder), "-p", "int4", "-e", "cpu"]
    extra = ["--extra_options", *more] if more else []
    done = subprocess.run(  # noqa: S603
        [*builder, *options, "-c", str(folder / "cache"), *extra],
        capture_output=True, text=True, timeout=_BUILD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
