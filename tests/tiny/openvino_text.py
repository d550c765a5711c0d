"""Tiny Phi-3, Phi-3.5 and Phi-3.5-MoE as folders for OpenVINO's `LLMPipeline`, op by op.

The weights are those of `tiny_hf`; optimum's export would need
torch, torchvision and an older transformers beside ours (phi.md 1.7).
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.tiny.hf import TextModel, phi3_config, tiny_hf
from tests.tiny.kept import kept
from tests.tiny.openvino_ops import (
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

_NEEDS = ("openvino_tokenizers", "transformers", "safetensors")
_COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_JITTER = 0.01  # the hub's router_jitter_noise: how near an expert must be to share the softmax
Weights = Mapping[str, Array]


def tiny_openvino(name: TextModel, *, attention: float = 0.1) -> Path:
    """The folder; takes a few seconds the first time.

    `attention` weakens what is read from the past: the engine keeps that in 8 bits, and a
    prompt from its cache must not change a random model's next word. With 1 it is `tiny_hf`.
    """
    if not all(importlib.util.find_spec(each) for each in _NEEDS):
        pytest.skip("needs openvino-tokenizers, transformers and safetensors (make test)")
    source = tiny_hf(name)
    sources = [Path(__file__), Path(__file__).with_name("openvino_ops.py")]
    recipe = "".join(
        [
            f"{source.name} {attention} ",
            *(file.read_text() for file in sources),
            version("openvino"),
        ]
    )
    return kept(f"openvino-{name}", recipe, lambda folder: _make(name, source, folder, attention))


def _make(name: TextModel, source: Path, folder: Path, attention: float) -> None:
    import openvino
    from safetensors.numpy import load_file

    for each in _COPIED:
        shutil.copyfile(source / each, folder / each)
    weights = load_file(source / "model.safetensors")
    for each in weights:
        if each.endswith("o_proj.weight"):
            weights[each] *= numpy.float32(attention)
    model = _language(phi3_config(name), weights)
    openvino.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    write_tokenizer_models(folder)


def _language(config: Mapping[str, Any], weights: Weights) -> Any:
    """A stateful decoder of the shape that the paged-attention rewrite looks for."""
    from openvino import Model
    from openvino import opset13 as ops

    ids = ops.parameter([-1, -1], numpy.int64, name="input_ids")
    mask = ops.parameter([-1, -1], numpy.int64, name="attention_mask")
    positions = ops.parameter([-1, -1], numpy.int64, name="position_ids")
    beams = ops.parameter([-1], numpy.int32, name="beam_idx")
    table = ops.constant(weights["model.embed_tokens.weight"])
    state = words = ops.gather(table, ids, ops.constant(0))
    turns = _turns(config, positions)
    causal = causal_mask(mask, positions)
    moe = config["model_type"] == "phimoe"
    norm = _layer_normed if moe else normed  # their gains are ones, their biases zeros
    sinks: list[Any] = []
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        query, key, value = (
            heads(times(norm(state), part)) for part in _queries_keys_values(weights, at)
        )
        kept_key, key_sink = remembered(rotated(key, turns), beams, words, f"{layer}.key")
        kept_value, value_sink = remembered(value, beams, words, f"{layer}.value")
        sinks += [key_sink, value_sink]
        read = attended(rotated(query, turns), kept_key, kept_value, causal)
        state = ops.add(state, times(read, weights[f"{at}.self_attn.o_proj.weight"].T))
        inner = (_mixed if moe else _gated)(norm(state), weights, at)
        state = ops.add(state, inner)
    logits = times(norm(state), weights["lm_head.weight"].T)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    named = [entrance(each, name) for name, each in {**inputs, "beam_idx": beams}.items()]
    return Model([result(logits, "logits")], sinks, named, "language")


def _queries_keys_values(weights: Weights, at: str) -> list[Array]:
    whole = weights.get(f"{at}.self_attn.qkv_proj.weight")
    if whole is not None:
        return [part.T for part in numpy.split(whole, 3)]
    return [weights[f"{at}.self_attn.{part}_proj.weight"].T for part in "qkv"]


def _turns(config: Mapping[str, Any], positions: Any) -> tuple[Any, Any]:
    """Plain, or LongRoPE: other speeds and a gain, once the text is longer than was trained."""
    from openvino import opset13 as ops

    scaling = config["rope_scaling"]
    if scaling is None:
        return rotations(positions, ops.constant(speeds()[None, None]))
    trained = config["original_max_position_embeddings"]
    short, long = (
        ops.constant((speeds() / numpy.array(scaling[each], numpy.float32))[None, None])
        for each in ("short_factor", "long_factor")
    )
    last = ops.reduce_max(positions, ops.constant([0, 1]), keep_dims=False)
    beyond = ops.greater_equal(last, ops.constant(numpy.int64(trained)))
    stretch = config["max_position_embeddings"] / trained
    gain = numpy.sqrt(1 + numpy.log(stretch) / numpy.log(trained))
    gain = scaling.get("short_mscale", gain)  # the MoE names its own; here both are one
    factor = ops.constant(numpy.float32(gain))
    cosines, sines = rotations(positions, ops.select(beyond, long, short))
    return ops.multiply(cosines, factor), ops.multiply(sines, factor)


def _gated(value: Any, weights: Weights, at: str) -> Any:
    from openvino import opset13 as ops

    gate, up = numpy.split(weights[f"{at}.mlp.gate_up_proj.weight"], 2)
    inner = ops.multiply(ops.swish(times(value, gate.T)), times(value, up.T))
    return times(inner, weights[f"{at}.mlp.down_proj.weight"].T)


def _mixed(value: Any, weights: Weights, at: str) -> Any:
    """Every expert, each by its share: nothing for all but the two that the router takes."""
    from openvino import opset13 as ops

    block = f"{at}.block_sparse_moe"
    gates = weights[f"{block}.gate.weight"]
    shares = ops.split(_shares(times(value, gates.T), len(gates)), ops.constant(-1), len(gates))
    total: Any = None
    for expert, share in enumerate(shares.outputs()):
        w1, w2, w3 = (weights[f"{block}.experts.{expert}.w{n}.weight"].T for n in (1, 2, 3))
        inner = ops.multiply(ops.swish(times(value, w1)), times(value, w3))
        said = ops.multiply(times(inner, w2), share)
        total = said if total is None else ops.add(total, said)
    return total


def _shares(scores: Any, experts: int) -> Any:
    """PhiMoE's routing: the best, then the best of the rest, each by a softmax of its own."""
    from openvino import opset13 as ops

    least = ops.constant(numpy.float32(-3e38))
    nothing, one = ops.constant(numpy.float32(0)), ops.constant(numpy.float32(1))
    left, total = scores, nothing
    for _ in range(2):
        best = ops.topk(left, ops.constant(1), -1, "max", "value")
        top, place = best.outputs()
        size = ops.maximum(ops.abs(scores), top)
        far = ops.greater(
            ops.divide(ops.subtract(top, scores), size), ops.constant(numpy.float32(2 * _JITTER))
        )
        chances = ops.softmax(ops.select(far, least, left), -1)
        taken = ops.equal(place, ops.constant(numpy.arange(experts, dtype=numpy.int32)))
        total = ops.add(total, ops.multiply(chances, ops.select(taken, one, nothing)))
        left = ops.select(taken, least, left)
    return total


def _layer_normed(value: Any) -> Any:
    from openvino import opset13 as ops

    return ops.mvn(value, ops.constant([-1]), True, 1e-5, "inside_sqrt")
