"""A tiny Phi-3-Vision for ONNX Runtime GenAI: its own image processor, our tiny parts behind.

The processor cuts real pictures into crops and counts their tokens. The vision part makes as
many features as it counted, out of their place and the picture's mean colours; the embedding
part puts them where the tokens are, as the hub's export does; the text part is the builder's.
"""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.tiny.hf import tiny_hf
from tests.tiny.kept import kept
from tests.tiny.onnx import NEEDS, build
from tests.tiny.tokens import VOCABULARY

_HIDDEN = 128
_OPSET = 17


def tiny_onnx_vision() -> Path:
    """A GenAI folder of type phi3v; takes about 10 s the first time."""
    if not all(importlib.util.find_spec(each) for each in NEEDS):
        pytest.skip("needs onnxruntime-genai and its builder (make test-engines installs them)")
    source = tiny_hf("phi3.5")
    recipe = f"{source.name} {version('onnxruntime-genai')} {Path(__file__).read_text()}"
    return kept("onnx-phi3v", recipe, lambda folder: _make(source, folder))


def _make(source: Path, folder: Path) -> None:
    import onnx

    build(source, folder, "exclude_embeds=true")
    onnx.save(_vision(), folder / "vision.onnx")
    onnx.save(_embedding(source), folder / "embedding.onnx")
    _write_settings(folder)


def _write_settings(folder: Path) -> None:
    file = folder / "genai_config.json"
    config = json.loads(file.read_text())
    config["model"] |= {
        "type": "phi3v",
        "vision": {
            "filename": "vision.onnx",
            "inputs": {"pixel_values": "pixel_values", "image_sizes": "image_sizes"},
            "outputs": {"image_features": "image_features"},
        },
        "embedding": {
            "filename": "embedding.onnx",
            "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
            "outputs": {"inputs_embeds": "inputs_embeds"},
        },
    }
    file.write_text(json.dumps(config))
    transforms = [
        _step("decode_image", "DecodeImage", {"color_space": "RGB"}),
        _step(
            "phi3_image_transform", "Phi3ImageTransform", {"num_crops": 16, "num_img_tokens": 144}
        ),
    ]
    processor = {"processor": {"name": "image_processing", "transforms": transforms}}
    (folder / "processor_config.json").write_text(json.dumps(processor))


def _step(name: str, kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    domain = "com.microsoft.extensions"
    return {"operation": {"name": name, "domain": domain, "type": kind, "attrs": attributes}}


def _vision() -> Any:
    """(images, crops, 3, 336, 336) and (images, 2) to (tokens, hidden)."""
    from onnx import TensorProto, helper

    random = numpy.random.default_rng(5)
    constants = {
        "side": numpy.array(336, dtype=numpy.int64),
        "zero": numpy.array(0, dtype=numpy.int64),
        "one": numpy.array(1, dtype=numpy.int64),
        "row": numpy.array(12, dtype=numpy.int64),
        "crop": numpy.array(144, dtype=numpy.int64),
        "first": numpy.array([1], dtype=numpy.int64),
        "last": numpy.array([-1], dtype=numpy.int64),
        "halves": numpy.array([1, 1], dtype=numpy.int64),
        "speeds": random.normal(0, 1, (1, _HIDDEN)).astype(numpy.float32),
        "colours": random.normal(0, 3, (3, _HIDDEN)).astype(numpy.float32),
    }
    nodes = [
        helper.make_node("Div", ["image_sizes", "side"], ["crops"]),
        helper.make_node("Split", ["crops", "halves"], ["down", "across"], axis=1),
        helper.make_node("Mul", ["down", "across"], ["area"]),
        helper.make_node("Add", ["area", "one"], ["views"]),
        helper.make_node("Mul", ["views", "crop"], ["patches"]),
        helper.make_node("Add", ["down", "one"], ["rows"]),
        helper.make_node("Mul", ["rows", "row"], ["newlines"]),
        helper.make_node("Add", ["patches", "newlines"], ["both"]),
        helper.make_node("Add", ["both", "one"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens"], ["total"], keepdims=0),
        helper.make_node("Range", ["zero", "total", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "first"], ["column"]),
        helper.make_node("Mul", ["column", "speeds"], ["phases"]),
        helper.make_node("ReduceMean", ["pixel_values"], ["mean"], axes=[0, 1, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["mean", "colours"], ["tint"]),
        helper.make_node("Sin", ["phases"], ["waves"]),
        helper.make_node("Add", ["waves", "tint"], ["image_features"]),
    ]
    inputs = [
        helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", "c", 3, 336, 336]),
        helper.make_tensor_value_info("image_sizes", TensorProto.INT64, ["n", 2]),
    ]
    features = helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["t", _HIDDEN])
    return _model("vision", nodes, inputs, features, constants)


def _embedding(source: Path) -> Any:
    """Ids, negative where a picture stands, to embeddings."""
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    table = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    assert table.shape == (VOCABULARY, _HIDDEN)
    constants = {"table": table, "zero": numpy.array(0, dtype=numpy.int64)}
    nodes = [
        helper.make_node("Max", ["input_ids", "zero"], ["known"]),
        helper.make_node("Gather", ["table", "known"], ["words"]),
        helper.make_node("Less", ["input_ids", "zero"], ["pictured"]),
        helper.make_node("NonZero", ["pictured"], ["coordinates"]),
        helper.make_node("Transpose", ["coordinates"], ["places"]),
        helper.make_node("ScatterND", ["words", "places", "image_features"], ["inputs_embeds"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"]),
        helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["t", _HIDDEN]),
    ]
    out = helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, ["b", "s", _HIDDEN])
    return _model("embedding", nodes, inputs, out, constants)


def _model(name: str, nodes: Any, inputs: Any, output: Any, constants: dict[str, Any]) -> Any:
    from onnx import helper, numpy_helper

    stored = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, [output], stored)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)
