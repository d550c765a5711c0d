"""A tiny Phi-3-Vision as the folder that OpenVINO's `VLMPipeline` reads, written op by op.

The official export runs the model's remote code, which is broken under transformers 5
(phi.md 1.3). What the pipeline fixes stays as in the real model: crops of 336 pixels in 24 by
24 patches of 1,024 features, merged by four, a newline and a separator of 4,096 numbers. The
CLIP tower is one convolution here, and the language model two layers of width 128.
"""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

from tests.tiny.kept import kept
from tests.tiny.tokens import VOCABULARY, write_tokenizer

Array = NDArray[numpy.float32]
NUM_CROPS = 4
_HIDDEN, _HEADS, _LAYERS, _INNER = 128, 4, 2, 256
_HEAD = _HIDDEN // _HEADS
_FEATURES, _MERGED = 1024, 4096
_END = 32007
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_NEEDS = ("openvino_tokenizers", "transformers")


def tiny_openvino_vision() -> Path:
    """The folder; takes a few seconds the first time."""
    if not all(importlib.util.find_spec(name) for name in _NEEDS):
        pytest.skip("needs openvino-tokenizers and transformers (make test-engines)")
    sources = [Path(__file__), Path(__file__).with_name("tokens.py")]
    recipe = "".join(file.read_text() for file in sources) + version("openvino")
    return kept("openvino-phi3v", recipe, _make)


def _make(folder: Path) -> None:
    import openvino

    random = numpy.random.default_rng(7)

    def weights(*shape: int, spread: float = 0.05) -> Array:
        return random.normal(0, spread, shape).astype(numpy.float32)

    for name, model in {
        "vision_embeddings": _tower(weights),
        "vision_projection": _projection(weights),
        "text_embeddings": _embeddings(weights),
        "language": _language(weights),
    }.items():
        openvino.save_model(model, folder / f"openvino_{name}_model.xml")
    write_tokenizer(folder)
    _write_tokenizer_models(folder)
    _write_settings(folder, weights)


def _write_tokenizer_models(folder: Path) -> None:
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer, detokenizer = convert_tokenizer(fast, with_detokenizer=True)
    openvino.save_model(tokenizer, folder / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, folder / "openvino_detokenizer.xml")


def _write_settings(folder: Path, weights: Any) -> None:
    config = {
        "model_type": "phi3_v",
        "hidden_size": _HIDDEN,
        "sub_GN": weights(1, 1, 1, _MERGED).tolist(),
        "glb_GN": weights(1, 1, _MERGED).tolist(),
    }
    images = {"num_crops": NUM_CROPS, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD}
    generation = {"eos_token_id": _END, "pad_token_id": 32000}
    for name, values in {
        "config": config,
        "preprocessor_config": images,
        "generation_config": generation,
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(values))


def _tower(weights: Any) -> Any:
    """(crops, 3, 336, 336) to (crops, 576, 1024)."""
    from openvino import Model
    from openvino import opset13 as ops

    pixels = ops.parameter([-1, 3, 336, 336], numpy.float32, name="pixel_values")
    kernel = ops.constant(weights(_FEATURES, 3, 14, 14))
    patches = ops.convolution(pixels, kernel, [14, 14], [0, 0], [0, 0], [1, 1])
    rows = ops.reshape(patches, ops.constant([0, _FEATURES, -1]), special_zero=True)
    features = ops.tanh(ops.transpose(rows, ops.constant([0, 2, 1])))
    return Model([_named(features, "last_hidden_state")], [_input(pixels, "pixel_values")], "tower")


def _projection(weights: Any) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    merged = ops.parameter([-1, -1, _MERGED], numpy.float32, name="input")
    hidden = ops.gelu(_times(merged, weights(_MERGED, _HIDDEN)), "erf")
    out = _times(hidden, weights(_HIDDEN, _HIDDEN))
    return Model([_named(out, "last_hidden_state")], [_input(merged, "input")], "projection")


def _embeddings(weights: Any) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], numpy.int64, name="input_ids")
    table = ops.constant(weights(VOCABULARY, _HIDDEN, spread=0.5))
    out = ops.gather(table, ids, ops.constant(0))
    return Model([_named(out, "inputs_embeds")], [_input(ids, "input_ids")], "embeddings")


def _language(weights: Any) -> Any:
    """A stateful decoder of the shape that the paged-attention rewrite looks for."""
    from openvino import Model
    from openvino import opset13 as ops

    mask = ops.parameter([-1, -1], numpy.int64, name="attention_mask")
    positions = ops.parameter([-1, -1], numpy.int64, name="position_ids")
    hidden = ops.parameter([-1, -1, _HIDDEN], numpy.float32, name="inputs_embeds")
    beams = ops.parameter([-1], numpy.int32, name="beam_idx")
    turns = _rotations(positions)
    causal = _causal_mask(mask, positions)
    state: Any = hidden
    sinks: list[Any] = []
    for layer in range(_LAYERS):
        query, key, value = (
            _heads(_times(_normed(state), weights(_HIDDEN, _HIDDEN))) for _ in range(3)
        )
        kept_key, key_sink = _remembered(_rotated(key, turns), beams, hidden, f"{layer}.key")
        kept_value, value_sink = _remembered(value, beams, hidden, f"{layer}.value")
        sinks += [key_sink, value_sink]
        read = ops.scaled_dot_product_attention(
            _rotated(query, turns), kept_key, kept_value, causal, causal=False
        )
        joined = ops.reshape(
            ops.transpose(read, ops.constant([0, 2, 1, 3])),
            ops.constant([0, 0, _HIDDEN]),
            special_zero=True,
        )
        # Weak: the engine keeps the past in 8 bits, and that must not change the next token.
        state = ops.add(state, _times(joined, weights(_HIDDEN, _HIDDEN, spread=0.003)))
        inner = ops.swish(_times(_normed(state), weights(_HIDDEN, _INNER)))
        state = ops.add(state, _times(inner, weights(_INNER, _HIDDEN)))
    logits = _times(_normed(state), weights(_HIDDEN, VOCABULARY, spread=0.3))
    inputs = [
        _input(hidden, "inputs_embeds"),
        _input(mask, "attention_mask"),
        _input(positions, "position_ids"),
        _input(beams, "beam_idx"),
    ]
    return Model([_named(logits, "logits")], sinks, inputs, "language")


def _times(value: Any, matrix: Array) -> Any:
    from openvino import opset13 as ops

    return ops.matmul(value, ops.constant(matrix), False, False)


def _normed(value: Any) -> Any:
    from openvino import opset13 as ops

    mean = ops.reduce_mean(ops.multiply(value, value), ops.constant([-1]), keep_dims=True)
    return ops.divide(value, ops.sqrt(ops.add(mean, ops.constant(numpy.float32(1e-5)))))


def _heads(value: Any) -> Any:
    """(batch, length, width) to (batch, heads, length, head)."""
    from openvino import opset13 as ops

    split = ops.reshape(value, ops.constant([0, 0, _HEADS, _HEAD]), special_zero=True)
    return ops.transpose(split, ops.constant([0, 2, 1, 3]))


def _rotations(positions: Any) -> tuple[Any, Any]:
    from openvino import opset13 as ops

    speeds = 1.0 / 10_000 ** (numpy.arange(0, _HEAD, 2, dtype=numpy.float32) / _HEAD)
    both = ops.constant(numpy.concatenate([speeds, speeds])[None, None])
    angles = ops.multiply(
        ops.convert(ops.unsqueeze(positions, ops.constant(2)), numpy.float32), both
    )
    wide = ops.unsqueeze(angles, ops.constant(1))
    return ops.cos(wide), ops.sin(wide)


def _rotated(value: Any, turns: tuple[Any, Any]) -> Any:
    from openvino import opset13 as ops

    first, second = ops.split(value, ops.constant(-1), 2).outputs()
    minus = ops.multiply(second, ops.constant(numpy.float32(-1)))
    swapped = ops.concat([minus, first], -1)
    return ops.add(ops.multiply(value, turns[0]), ops.multiply(swapped, turns[1]))


def _causal_mask(mask: Any, positions: Any) -> Any:
    """(batch, 1, new, all): 0 where a token may look, far below where not."""
    from openvino import opset13 as ops

    length = ops.gather(ops.shape_of(mask), ops.constant(1), ops.constant(0))
    every = ops.range(ops.constant(0), ops.convert(length, numpy.int64), ops.constant(1), "i64")
    new = ops.unsqueeze(ops.unsqueeze(positions, ops.constant(1)), ops.constant(3))
    seen = ops.less_equal(every, new)
    low = ops.constant(numpy.float32(-65504))
    return ops.select(seen, ops.constant(numpy.float32(0)), low)


def _remembered(new: Any, beams: Any, hidden: Any, name: str) -> tuple[Any, Any]:
    """All keys (or values) so far, and the sink that keeps them."""
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    info = VariableInfo()
    info.data_shape = _partial([-1, _HEADS, -1, _HEAD])
    info.data_type = _float_type()
    info.variable_id = f"past_key_values.{name}present.{name}"
    batch = ops.gather(ops.shape_of(hidden), ops.constant([0]), ops.constant(0))
    shape = ops.concat([batch, ops.constant(numpy.array([_HEADS, 0, _HEAD]))], 0)
    empty = ops.broadcast(ops.constant(numpy.float32(0)), shape)
    variable = Variable(info)
    past = ops.read_value(empty, variable)
    chosen = ops.gather(past, beams, ops.constant(0))
    every = ops.concat([chosen, new], 2)
    return every, ops.assign(every, variable)


def _partial(shape: list[int]) -> Any:
    from openvino import PartialShape

    return PartialShape(shape)


def _float_type() -> Any:
    from openvino import Type

    return Type.f32


def _named(node: Any, name: str) -> Any:
    from openvino import opset13 as ops

    result = ops.result(node)
    result.output(0).get_tensor().set_names({name})
    return result


def _input(parameter: Any, name: str) -> Any:
    parameter.output(0).get_tensor().set_names({name})
    return parameter
