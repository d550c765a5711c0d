"""Hugging Face folders of tiny Phi-3, Phi-3.5 and Phi-3.5-MoE, laid out as on the hub.

Written with NumPy, so that engines with prebuilt wheels are tested without torch.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy
import pytest
from numpy.typing import NDArray

from tests.tiny.kept import kept
from tests.tiny.tokens import VOCABULARY, write_tokenizer

Array = NDArray[numpy.float32]
TextModel = Literal["phi3", "phi3.5", "phimoe"]
HIDDEN = 128
_HEADS, _LAYERS, _EXPERTS = 4, 2, 4  # heads of 32: some kernels want a multiple of 16
_HALF = HIDDEN // _HEADS // 2
_STOPS = [32000, 32001, 32007]
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS,
    "max_position_embeddings": 131_072,
    "original_max_position_embeddings": 4096,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": 32000,
}
_FACTORS: dict[str, Any] = {
    "type": "longrope",
    "short_factor": [1.0 + place / 100 for place in range(_HALF)],
    "long_factor": [1.0 + place / 2 for place in range(_HALF)],
}
# What each adds; the windows are the hub's own, and so are the names of the classes.
_CONFIGS: dict[TextModel, dict[str, Any]] = {
    "phi3": {
        "model_type": "phi3",
        "architectures": ["Phi3ForCausalLM"],
        "intermediate_size": 256,
        "max_position_embeddings": 4096,
        "rope_scaling": None,
        "sliding_window": 2047,
    },
    "phi3.5": {
        "model_type": "phi3",
        "architectures": ["Phi3ForCausalLM"],
        "intermediate_size": 256,
        "rope_scaling": _FACTORS,
        "sliding_window": 262_144,
    },
    "phimoe": {
        "model_type": "phimoe",
        "architectures": ["PhiMoEForCausalLM"],
        "intermediate_size": 128,
        "num_local_experts": _EXPERTS,
        "num_experts_per_tok": 2,
        "attention_bias": True,
        "lm_head_bias": True,
        "rope_scaling": {**_FACTORS, "short_mscale": 1.0, "long_mscale": 1.0},
        "sliding_window": 131_072,
    },
}


def phi3_config(name: TextModel) -> dict[str, Any]:
    return {**_COMMON, **_CONFIGS[name]}


def tiny_hf(name: TextModel) -> Path:
    """The folder of a tiny model: safetensors, tokenizer.json, configs."""
    if not all(importlib.util.find_spec(each) for each in ("tokenizers", "safetensors")):
        pytest.skip("needs tokenizers and safetensors (make test installs them)")
    sources = (Path(__file__), Path(__file__).with_name("tokens.py"))
    recipe = "".join(file.read_text() for file in sources)
    return kept(f"hf-{name}", recipe, lambda folder: _make(name, folder))


def _make(name: TextModel, folder: Path) -> None:
    from safetensors.numpy import save_file

    random = numpy.random.default_rng(3)
    weights = dict(_moe_weights(random) if name == "phimoe" else phi3_weights(random))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    generation = {"bos_token_id": 1, "eos_token_id": _STOPS, "pad_token_id": 32000}
    (folder / "config.json").write_text(json.dumps(phi3_config(name), indent=1))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    write_tokenizer(folder)


def drawn(random: numpy.random.Generator, *shape: int, spread: float = 0.02) -> Array:
    return random.normal(0, spread, shape).astype(numpy.float32)


def _ends(random: numpy.random.Generator) -> Iterator[tuple[str, Array]]:
    yield "model.embed_tokens.weight", drawn(random, VOCABULARY, HIDDEN)
    # The usual small spread would make every token as likely as the next.
    yield "lm_head.weight", drawn(random, VOCABULARY, HIDDEN, spread=0.3)
    yield "model.norm.weight", numpy.ones(HIDDEN, numpy.float32)


def phi3_weights(random: numpy.random.Generator) -> Iterator[tuple[str, Array]]:
    yield from _ends(random)
    inner = _CONFIGS["phi3"]["intermediate_size"]
    for layer in range(_LAYERS):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", numpy.ones(HIDDEN, numpy.float32)
        yield f"{at}.post_attention_layernorm.weight", numpy.ones(HIDDEN, numpy.float32)
        yield f"{at}.self_attn.qkv_proj.weight", drawn(random, 3 * HIDDEN, HIDDEN)
        yield f"{at}.self_attn.o_proj.weight", drawn(random, HIDDEN, HIDDEN)
        yield f"{at}.mlp.gate_up_proj.weight", drawn(random, 2 * inner, HIDDEN)
        yield f"{at}.mlp.down_proj.weight", drawn(random, HIDDEN, inner)


def _moe_weights(random: numpy.random.Generator) -> Iterator[tuple[str, Array]]:
    yield from _ends(random)
    yield "model.norm.bias", numpy.zeros(HIDDEN, numpy.float32)
    yield "lm_head.bias", numpy.zeros(VOCABULARY, numpy.float32)
    inner = _CONFIGS["phimoe"]["intermediate_size"]
    for layer in range(_LAYERS):
        at = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}.{norm}.weight", numpy.ones(HIDDEN, numpy.float32)
            yield f"{at}.{norm}.bias", numpy.zeros(HIDDEN, numpy.float32)
        for part in "qkvo":
            yield f"{at}.self_attn.{part}_proj.weight", drawn(random, HIDDEN, HIDDEN)
            yield f"{at}.self_attn.{part}_proj.bias", numpy.zeros(HIDDEN, numpy.float32)
        yield f"{at}.block_sparse_moe.gate.weight", drawn(random, _EXPERTS, HIDDEN)
        for expert in range(_EXPERTS):
            to = f"{at}.block_sparse_moe.experts.{expert}"
            yield f"{to}.w1.weight", drawn(random, inner, HIDDEN)
            yield f"{to}.w2.weight", drawn(random, HIDDEN, inner)
            yield f"{to}.w3.weight", drawn(random, inner, HIDDEN)
