"""A tiny Phi-3-Vision in the hub's own layout: a CLIP tower, the glue and a Phi-3."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from tests.tiny.hf import HIDDEN, Array, drawn, phi3_config, phi3_weights
from tests.tiny.kept import kept
from tests.tiny.tokens import write_tokenizer

NUM_CROPS = 4
_CLIP, _INNER, _LAYERS = 128, 256, 3  # the last layer but one is read
_EYES = "model.vision_embed_tokens"
_TOWER = f"{_EYES}.img_processor.vision_model"


def tiny_hf_vision() -> Path:
    """The folder, with `num_crops` in its preprocessor's settings."""
    if not all(importlib.util.find_spec(each) for each in ("tokenizers", "safetensors")):
        pytest.skip("needs tokenizers and safetensors (make test installs them)")
    here = Path(__file__).parent
    recipe = "".join((here / f"{name}.py").read_text() for name in ("hf", "hf_vision", "tokens"))
    return kept("hf-phi3v", recipe, _make)


def _make(folder: Path) -> None:
    from safetensors.numpy import save_file

    random = numpy.random.default_rng(11)
    weights = {**dict(phi3_weights(random)), **dict(_tower(random)), **dict(_glue(random))}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        **phi3_config("phi3.5"),
        "model_type": "phi3_v",
        "architectures": ["Phi3VForCausalLM"],
        "embd_layer": {"embedding_cls": "image", "num_img_tokens": 144},
        "img_processor": {"name": "clip_vision_model", "image_dim_out": _CLIP},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "preprocessor_config.json").write_text(json.dumps({"num_crops": NUM_CROPS}))
    write_tokenizer(folder)


def _norm(name: str) -> Iterator[tuple[str, Array]]:
    yield f"{name}.weight", numpy.ones(_CLIP, numpy.float32)
    yield f"{name}.bias", numpy.zeros(_CLIP, numpy.float32)


def _tower(random: numpy.random.Generator) -> Iterator[tuple[str, Array]]:
    at = f"{_TOWER}.embeddings"
    yield f"{at}.class_embedding", drawn(random, _CLIP)
    yield f"{at}.patch_embedding.weight", drawn(random, _CLIP, 3, 14, 14, spread=0.1)
    yield f"{at}.position_embedding.weight", drawn(random, 24 * 24 + 1, _CLIP)
    yield from _norm(f"{_TOWER}.pre_layrnorm")  # the hub's spelling
    yield from _norm(f"{_TOWER}.post_layernorm")
    for layer in range(_LAYERS):
        to = f"{_TOWER}.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{to}.self_attn.{part}.weight", drawn(random, _CLIP, _CLIP)
            yield f"{to}.self_attn.{part}.bias", numpy.zeros(_CLIP, numpy.float32)
        yield f"{to}.mlp.fc1.weight", drawn(random, _INNER, _CLIP)
        yield f"{to}.mlp.fc1.bias", numpy.zeros(_INNER, numpy.float32)
        yield f"{to}.mlp.fc2.weight", drawn(random, _CLIP, _INNER)
        yield f"{to}.mlp.fc2.bias", numpy.zeros(_CLIP, numpy.float32)
        yield from _norm(f"{to}.layer_norm1")
        yield from _norm(f"{to}.layer_norm2")


def _glue(random: numpy.random.Generator) -> Iterator[tuple[str, Array]]:
    merged = 4 * _CLIP
    yield f"{_EYES}.sub_GN", drawn(random, 1, 1, 1, merged, spread=0.5)
    yield f"{_EYES}.glb_GN", drawn(random, 1, 1, merged, spread=0.5)
    yield f"{_EYES}.img_projection.0.weight", drawn(random, HIDDEN, merged, spread=0.1)
    yield f"{_EYES}.img_projection.0.bias", numpy.zeros(HIDDEN, numpy.float32)
    yield f"{_EYES}.img_projection.2.weight", drawn(random, HIDDEN, HIDDEN, spread=0.1)
    yield f"{_EYES}.img_projection.2.bias", numpy.zeros(HIDDEN, numpy.float32)
