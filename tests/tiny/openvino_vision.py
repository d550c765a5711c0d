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

from tests.tiny.kept import kept
from tests.tiny.openvino_ops import (
    HIDDEN,
    Array,
    attended,
    causal_mask,
    entrance,
    heads,
    normed,
    remembered,
    result,
    rotated,
    rotations,
    speeds,
    times,
    write_tokenizer_models,
)
from tests.tiny.tokens import VOCABULARY, write_tokenizer

NUM_CROPS = 4
_LAYERS, _INNER = 2, 256
_FEATURES, _MERGED = 1024, 4096
_END = 32007
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_NEEDS = ("openvino_tokenizers", "transformers")


def tiny_openvino_vision() -> Path:
    """The folder; takes a few seconds the first time."""
    if not all(importlib.util.find_spec(name) for name in _NEEDS):
        pytest.skip("needs openvino-tokenizers and transformers (make test-engines)")
    sources = [Path(__file__), *map(Path(__file__).with_name, ("openvino_ops.py", "tokens.py"))]
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
    write_tokenizer_models(folder)
    _write_settings(folder, weights)


def _write_settings(folder: Path, weights: Any) -> None:
    config = {
        "model_type": "phi3_v",
        "hidden_size": HIDDEN,
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
    return Model(
        [result(features, "last_hidden_state")], [entrance(pixels, "pixel_values")], "tower"
    )


def _projection(weights: Any) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    merged = ops.parameter([-1, -1, _MERGED], numpy.float32, name="input")
    hidden = ops.gelu(times(merged, weights(_MERGED, HIDDEN)), "erf")
    out = times(hidden, weights(HIDDEN, HIDDEN))
    return Model([result(out, "last_hidden_state")], [entrance(merged, "input")], "projection")


def _embeddings(weights: Any) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], numpy.int64, name="input_ids")
    table = ops.constant(weights(VOCABULARY, HIDDEN, spread=0.5))
    out = ops.gather(table, ids, ops.constant(0))
    return Model([result(out, "inputs_embeds")], [entrance(ids, "input_ids")], "embeddings")


def _language(weights: Any) -> Any:
    """A stateful decoder of the shape that the paged-attention rewrite looks for."""
    from openvino import Model
    from openvino import opset13 as ops

    mask = ops.parameter([-1, -1], numpy.int64, name="attention_mask")
    positions = ops.parameter([-1, -1], numpy.int64, name="position_ids")
    hidden = ops.parameter([-1, -1, HIDDEN], numpy.float32, name="inputs_embeds")
    beams = ops.parameter([-1], numpy.int32, name="beam_idx")
    turns = rotations(positions, ops.constant(speeds()[None, None]))
    causal = causal_mask(mask, positions)
    state: Any = hidden
    sinks: list[Any] = []
    for layer in range(_LAYERS):
        query, key, value = (heads(times(normed(state), weights(HIDDEN, HIDDEN))) for _ in range(3))
        kept_key, key_sink = remembered(rotated(key, turns), beams, hidden, f"{layer}.key")
        kept_value, value_sink = remembered(value, beams, hidden, f"{layer}.value")
        sinks += [key_sink, value_sink]
        joined = attended(rotated(query, turns), kept_key, kept_value, causal)
        # Weak: the engine keeps the past in 8 bits, and that must not change the next token.
        state = ops.add(state, times(joined, weights(HIDDEN, HIDDEN, spread=0.003)))
        inner = ops.swish(times(normed(state), weights(HIDDEN, _INNER)))
        state = ops.add(state, times(inner, weights(_INNER, HIDDEN)))
    logits = times(normed(state), weights(HIDDEN, VOCABULARY, spread=0.3))
    inputs = [
        entrance(hidden, "inputs_embeds"),
        entrance(mask, "attention_mask"),
        entrance(positions, "position_ids"),
        entrance(beams, "beam_idx"),
    ]
    return Model([result(logits, "logits")], sinks, inputs, "language")
