"""The tiny models as GGUF files for llama.cpp, written tensor by tensor."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.tiny.hf import Array, TextModel, tiny_hf
from tests.tiny.kept import kept
from tests.tiny.tokens import FIRST_SPECIAL, special_tokens, vocabulary

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "model.norm.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
    "lm_head.bias": "output.bias",
}
_PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "block_sparse_moe.gate": "ffn_gate_inp",
}
_EXPERT_PARTS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}


def tiny_gguf(name: TextModel) -> Path:
    """The folder with one GGUF file in it."""
    if not importlib.util.find_spec("gguf"):
        pytest.skip("needs gguf (make test-engines installs it)")
    source = tiny_hf(name)
    recipe = f"{source.name} {version('gguf')} {Path(__file__).read_text()}"
    return kept(f"gguf-{name}", recipe, lambda folder: _write(source, folder / "tiny.gguf"))


def _write(source: Path, file: Path) -> None:
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text())
    writer = GGUFWriter(file, config["model_type"])
    _add_settings(writer, config)
    _add_vocabulary(writer)
    for name, values in _tensors(load_file(source / "model.safetensors"), config).items():
        writer.add_tensor(name, numpy.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_settings(writer: Any, config: dict[str, Any]) -> None:
    head = config["hidden_size"] // config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    if experts := config.get("num_local_experts"):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if scaling := config["rope_scaling"]:
        writer.add_rope_scaling_attn_factors(1.19)
        for kind in ("long", "short"):
            factors = numpy.array(scaling[f"{kind}_factor"], numpy.float32)
            writer.add_tensor(f"rope_factors_{kind}.weight", factors)


def _add_vocabulary(writer: Any) -> None:
    from gguf import TokenType

    pieces, _ = vocabulary()
    kinds = [TokenType.NORMAL] * len(pieces) + [TokenType.CONTROL] * len(special_tokens())
    kinds[0], kinds[1], kinds[2] = TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL
    for byte in range(256):
        kinds[3 + byte] = TokenType.BYTE
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*pieces, *special_tokens()])
    writer.add_token_scores([-float(number) for number in range(len(kinds))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(FIRST_SPECIAL)
    writer.add_pad_token_id(FIRST_SPECIAL)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)


def _tensors(weights: dict[str, Array], config: dict[str, Any]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    experts: dict[str, list[Array]] = {}
    for name, values in weights.items():
        if name in _NAMES:
            found[_NAMES[name]] = values
            continue
        _, _, layer, part = name.split(".", 3)
        if "experts" in part:
            key = _EXPERT_PARTS[part.split(".")[3]]
            experts.setdefault(f"blk.{layer}.{key}.weight", []).append(values)
            continue
        stem, kind = part.rsplit(".", 1)
        found[f"blk.{layer}.{_PARTS[stem]}.{kind}"] = values
    assert all(len(each) == config["num_local_experts"] for each in experts.values())
    return found | {name: numpy.stack(each) for name, each in experts.items()}
