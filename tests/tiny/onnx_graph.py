"""Tiny Phi-3 and Phi-3.5 for ONNX Runtime GenAI without its builder, and so without torch.

The operations are those that the builder writes for CPUs at full precision; the weights are
those of `tiny_hf`, so other engines say the same.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

from tests.tiny.hf import HIDDEN, TextModel, phi3_config, tiny_hf
from tests.tiny.kept import kept
from tests.tiny.tokens import VOCABULARY

Array = NDArray[Any]
_NEEDS = ("onnxruntime_genai", "onnx", "safetensors")
_OPSET, _IR = 21, 10
_LONGEST = 16_384  # rows of turns; the real model's 131,072 would be 16 MB of them
_STOPS = [32000, 32001, 32007]


def tiny_onnx_graph(name: TextModel) -> Path:
    """A GenAI folder (CPU, 32 bits); takes a second the first time."""
    if not all(importlib.util.find_spec(each) for each in _NEEDS):
        pytest.skip("needs onnxruntime-genai and onnx (make test installs them)")
    source = tiny_hf(name)
    recipe = f"{source.name} {Path(__file__).read_text()}"
    return kept(f"onnx-graph-{name}", recipe, lambda folder: _make(name, source, folder))


def _make(name: TextModel, source: Path, folder: Path) -> None:
    import onnx
    from safetensors.numpy import load_file

    config = phi3_config(name)
    graph = _Graph(load_file(source / "model.safetensors"), config)
    onnx.save(graph.model(), folder / "model.onnx")
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / each, folder / each)
    (folder / "genai_config.json").write_text(json.dumps(_settings(config), indent=1))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    past, present = "past_key_values.%d", "present.%d"
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": HIDDEN // heads,
        "hidden_size": HIDDEN,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": f"{past}.key",
            "past_value_names": f"{past}.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": f"{present}.key",
            "present_value_names": f"{present}.value",
        },
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "sliding_window": {
            "window_size": config["sliding_window"],
            "slide_key_value_cache": False,
            "slide_inputs": False,
        },
    }
    longest = min(config["max_position_embeddings"], _LONGEST)
    model = {
        "type": "phi3",
        "bos_token_id": 1,
        "eos_token_id": _STOPS,
        "pad_token_id": 32000,
        "vocab_size": VOCABULARY,
        "context_length": longest,
        "decoder": decoder,
    }
    search = {"max_length": longest, "past_present_share_buffer": True}
    return {"model": model, "search": search}


class _Graph:
    """The nodes and constants of one model, in the order they are added."""

    def __init__(self, weights: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        self._weights, self._config = weights, config
        self._heads = config["num_attention_heads"]
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> Any:
        from onnx import TensorProto, helper

        self._lengths()
        self._turns()
        state = self._add("Gather", "words", self._weight("model.embed_tokens"), "input_ids")
        said = ""
        for layer in range(self._config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            value, state = self._normed(f"{at}.input_layernorm", state, said)
            read = self._attended(layer, value)
            said = self._times(read, f"{at}.self_attn.o_proj")
            value, state = self._normed(f"{at}.post_attention_layernorm", state, said)
            said = self._gated(at, value)
        value, _ = self._normed("model.norm", state, said)
        self._add("MatMul", "logits", value, self._weight("lm_head", turned=True))
        logits = _value("logits", TensorProto.FLOAT, "batch", "new", VOCABULARY)
        tokens = [
            _value("input_ids", TensorProto.INT64, "batch", "new"),
            _value("attention_mask", TensorProto.INT64, "batch", "all"),
        ]
        graph = helper.make_graph(
            self._nodes, "phi3", [*tokens, *self._past("past_key_values", "past")],
            [logits, *self._past("present", "all")], self._constants,
        )  # fmt: skip
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)

    def _past(self, name: str, length: str) -> list[Any]:
        from onnx import TensorProto

        return [
            _value(f"{name}.{layer}.{kind}", TensorProto.FLOAT,
                   "batch", self._heads, length, HIDDEN // self._heads)
            for layer in range(self._config["num_hidden_layers"])
            for kind in ("key", "value")
        ]  # fmt: skip

    def _add(self, kind: str, output: str, *inputs: str, domain: str = "", **options: Any) -> str:
        from onnx import helper

        node = helper.make_node(kind, list(inputs), [output], output, domain=domain, **options)
        self._nodes.append(node)
        return output

    def _constant(self, name: str, value: Array) -> str:
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(numpy.ascontiguousarray(value), name))
        return name

    def _weight(self, name: str, *, turned: bool = False) -> str:
        value = self._weights[f"{name}.weight"]
        return self._constant(f"{name}.weight", value.T if turned else value)

    def _lengths(self) -> None:
        """How much of the past each prompt has, and how long the longest is."""
        from onnx import TensorProto

        last = self._constant("last", numpy.array([1], numpy.int64))
        one = self._constant("one", numpy.array(1, numpy.int64))
        self._add("ReduceSum", "used", "attention_mask", last, keepdims=0)
        self._add("Cast", "before", self._add("Sub", "less", "used", one), to=TensorProto.INT32)
        self._add("Shape", "shape", "attention_mask")
        self._add("Gather", "length", "shape", one)
        self._add("Cast", "total", "length", to=TensorProto.INT32)

    def _turns(self) -> None:
        """Plain, or LongRoPE: other turns once the text is longer than was trained."""
        from onnx import helper

        scaling, names = self._config["rope_scaling"], ("cosines", "sines")
        if scaling is None:
            for name, value in zip(names, self._table(None, _LONGEST), strict=True):
                self._constant(name, value)
            return
        trained = self._config["original_max_position_embeddings"]
        limit = self._constant("trained", numpy.array(trained, numpy.int64))
        short = _branch("short", names, self._table(scaling["short_factor"], trained))
        long = _branch("long", names, self._table(scaling["long_factor"], _LONGEST))
        self._add("Greater", "beyond", "length", limit)
        node = helper.make_node("If", ["beyond"], names, then_branch=long, else_branch=short)
        self._nodes.append(node)

    def _table(self, factors: list[float] | None, rows: int) -> tuple[Array, Array]:
        head = HIDDEN // self._heads
        speeds = 1.0 / 10_000 ** (numpy.arange(0, head, 2) / head)
        gain = 1.0
        if factors is not None:
            trained = self._config["original_max_position_embeddings"]
            stretch = self._config["max_position_embeddings"] / trained
            speeds /= numpy.array(factors)
            gain = numpy.sqrt(1 + numpy.log(stretch) / numpy.log(trained))
        angles = numpy.arange(rows)[:, None] * speeds
        cosines, sines = numpy.cos(angles) * gain, numpy.sin(angles) * gain
        return cosines.astype(numpy.float32), sines.astype(numpy.float32)

    def _normed(self, at: str, state: str, said: str) -> tuple[str, str]:
        """The norm of the sum, and the sum itself, on which the layers build."""
        from onnx import helper

        epsilon = self._config["rms_norm_eps"]
        gain = self._weight(at)
        if not said:
            norm = self._add(
                "SimplifiedLayerNormalization", at, state, gain,
                axis=-1, epsilon=epsilon, stash_type=1,
            )  # fmt: skip
            return norm, state
        total = f"{at}.sum"
        node = helper.make_node(
            "SkipSimplifiedLayerNormalization", [state, said, gain], [at, "", "", total], at,
            domain="com.microsoft", epsilon=epsilon,
        )  # fmt: skip
        self._nodes.append(node)
        return at, total

    def _attended(self, layer: int, value: str) -> str:
        from onnx import helper

        at = f"model.layers.{layer}.self_attn"
        packed = self._times(value, f"{at}.qkv_proj")
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        inputs = [packed, "", "", *past, "before", "total", "cosines", "sines"]
        outputs = [at, *(f"present.{layer}.{kind}" for kind in ("key", "value"))]
        node = helper.make_node(
            "GroupQueryAttention", inputs, outputs, at, domain="com.microsoft",
            num_heads=self._heads, kv_num_heads=self._heads, do_rotary=1, rotary_interleaved=0,
            scale=(HIDDEN // self._heads) ** -0.5,
            local_window_size=self._config["sliding_window"],
        )  # fmt: skip
        self._nodes.append(node)
        return at

    def _times(self, value: str, at: str) -> str:
        return self._add("MatMul", f"{at}.out", value, self._weight(at, turned=True))

    def _gated(self, at: str, value: str) -> str:
        halves = numpy.split(self._weights[f"{at}.mlp.gate_up_proj.weight"], 2)
        gate, up = (
            self._add("MatMul", f"{at}.{name}", value, self._constant(f"{at}.{name}.w", half.T))
            for name, half in zip(("gate", "up"), halves, strict=True)
        )
        open_ = self._add("Mul", f"{at}.act", gate, self._add("Sigmoid", f"{at}.sigmoid", gate))
        inner = self._add("Mul", f"{at}.inner", open_, up)
        return self._times(inner, f"{at}.mlp.down_proj")


def _branch(name: str, outputs: tuple[str, str], values: tuple[Array, Array]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    nodes, results = [], []
    for output, value in zip(outputs, values, strict=True):
        inner = f"{name}_{output}"
        nodes.append(
            helper.make_node("Constant", [], [inner], value=numpy_helper.from_array(value))
        )
        results.append(_value(inner, TensorProto.FLOAT, *value.shape))
    return helper.make_graph(nodes, name, [], results)


def _value(name: str, kind: int, *shape: str | int) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, shape)
