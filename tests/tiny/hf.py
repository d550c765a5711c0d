"""Hugging Face folders of tiny Phi-3, Phi-3.5 and Phi-3.5-MoE with random, seeded weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.tiny.kept import kept
from tests.tiny.tokens import VOCABULARY, write_tokenizer

TextModel = Literal["phi3", "phi3.5", "phimoe"]
_NEEDS = "needs torch and transformers (make test-engines installs them)"
_HIDDEN, _HEADS, _LAYERS = 128, 4, 2  # a head of 32: some kernels want a multiple of 16
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": _HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS,
    "original_max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": 32000,
    "sliding_window": 2047,
}
_HALF = _HIDDEN // _HEADS // 2
_FACTORS = {
    "short_factor": [1.0 + place / 100 for place in range(_HALF)],
    "long_factor": [1.0 + place / 2 for place in range(_HALF)],
}
_MSCALES = {"short_mscale": 1.0, "long_mscale": 1.0}
_LONG = {"rope_type": "longrope", **_FACTORS}
_STOPS = [32000, 32001, 32007]


def needs_transformers() -> None:
    """Skip the test where a tiny model can't be made."""
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")):
        pytest.skip(_NEEDS)


def tiny_hf(name: TextModel) -> Path:
    """The folder of a tiny model: safetensors, tokenizer.json, configs."""
    needs_transformers()
    import transformers

    recipe = f"{Path(__file__).read_text()} {transformers.__version__}"
    recipe += Path(__file__).with_name("tokens.py").read_text()
    return kept(f"hf-{name}", recipe, lambda folder: _make(name, folder))


def _make(name: TextModel, folder: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(3)
    model: Any
    if name == "phimoe":
        moe = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 128}
        biases = {"attention_bias": True, "lm_head_bias": True}
        config: Any = transformers.PhimoeConfig(
            **_COMMON,
            **moe,
            **biases,
            max_position_embeddings=131_072,
            rope_scaling={**_LONG, **_MSCALES},
        )
        model = transformers.PhimoeForCausalLM(config)
    else:
        options: dict[str, Any] = {"max_position_embeddings": 4096}
        if name == "phi3.5":
            options = {"max_position_embeddings": 131_072, "rope_scaling": _LONG}
        config = transformers.Phi3Config(**_COMMON, intermediate_size=256, **options)
        model = transformers.Phi3ForCausalLM(config)
    with torch.no_grad():  # the usual small spread makes every token as likely as the next
        model.lm_head.weight.normal_(0, 0.3)
    model.generation_config.eos_token_id = _STOPS
    model.eval().save_pretrained(folder)
    _write_config_as_on_the_hub(folder / "config.json", name)
    write_tokenizer(folder)


def _write_config_as_on_the_hub(file: Path, name: TextModel) -> None:
    """Version 5 writes its own dialect, which converters do not read (phi.md 1.3)."""
    config = json.loads(file.read_text())
    config |= {"rope_theta": config.pop("rope_parameters")["rope_theta"], "rope_scaling": None}
    if name != "phi3":
        config["rope_scaling"] = {"type": "longrope", **_FACTORS}
    if name == "phimoe":
        config["rope_scaling"] |= _MSCALES
        config["architectures"] = ["PhiMoEForCausalLM"]
    file.write_text(json.dumps(config, indent=1))
