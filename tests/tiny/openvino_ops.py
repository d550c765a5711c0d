"""The parts of the tiny decoders for OpenVINO, as operations: norms, turns, the kept past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float32]
HIDDEN, HEADS = 128, 4
HEAD = HIDDEN // HEADS


def write_tokenizer_models(folder: Path) -> None:
    """The folder's `tokenizer.json` as the two models that every pipeline loads."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer, detokenizer = convert_tokenizer(fast, with_detokenizer=True)
    openvino.save_model(tokenizer, folder / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, folder / "openvino_detokenizer.xml")


def times(value: Any, matrix: Array) -> Any:
    from openvino import opset13 as ops

    return ops.matmul(value, ops.constant(matrix), False, False)


def normed(value: Any) -> Any:
    from openvino import opset13 as ops

    mean = ops.reduce_mean(ops.multiply(value, value), ops.constant([-1]), keep_dims=True)
    return ops.divide(value, ops.sqrt(ops.add(mean, ops.constant(numpy.float32(1e-5)))))


def heads(value: Any) -> Any:
    """(batch, length, width) to (batch, heads, length, head)."""
    from openvino import opset13 as ops

    split = ops.reshape(value, ops.constant([0, 0, HEADS, HEAD]), special_zero=True)
    return ops.transpose(split, ops.constant([0, 2, 1, 3]))


def speeds() -> Array:
    """How fast each pair of a head's numbers turns."""
    steps = numpy.arange(0, HEAD, 2, dtype=numpy.float32) / numpy.float32(HEAD)
    return (1.0 / 10_000**steps).astype(numpy.float32)


def rotations(positions: Any, turning: Any) -> tuple[Any, Any]:
    """Cosines and sines for `turning`, speeds of shape (1, 1, half a head)."""
    from openvino import opset13 as ops

    places = ops.convert(ops.unsqueeze(positions, ops.constant(2)), numpy.float32)
    wide = ops.unsqueeze(ops.multiply(places, ops.concat([turning, turning], 2)), ops.constant(1))
    return ops.cos(wide), ops.sin(wide)


def rotated(value: Any, turns: tuple[Any, Any]) -> Any:
    from openvino import opset13 as ops

    first, second = ops.split(value, ops.constant(-1), 2).outputs()
    minus = ops.multiply(second, ops.constant(numpy.float32(-1)))
    swapped = ops.concat([minus, first], -1)
    return ops.add(ops.multiply(value, turns[0]), ops.multiply(swapped, turns[1]))


def causal_mask(mask: Any, positions: Any) -> Any:
    """(batch, 1, new, all): 0 where a token may look, far below where not."""
    from openvino import opset13 as ops

    length = ops.gather(ops.shape_of(mask), ops.constant(1), ops.constant(0))
    every = ops.range(ops.constant(0), ops.convert(length, numpy.int64), ops.constant(1), "i64")
    new = ops.unsqueeze(ops.unsqueeze(positions, ops.constant(1)), ops.constant(3))
    seen = ops.less_equal(every, new)
    low = ops.constant(numpy.float32(-65504))
    return ops.select(seen, ops.constant(numpy.float32(0)), low)


def attended(query: Any, key: Any, value: Any, causal: Any) -> Any:
    """What each token reads from those before it: (batch, length, width)."""
    from openvino import opset13 as ops

    read = ops.scaled_dot_product_attention(query, key, value, causal, causal=False)
    turned = ops.transpose(read, ops.constant([0, 2, 1, 3]))
    return ops.reshape(turned, ops.constant([0, 0, HIDDEN]), special_zero=True)


def remembered(new: Any, beams: Any, hidden: Any, name: str) -> tuple[Any, Any]:
    """All keys (or values) so far, and the sink that keeps them."""
    from openvino import opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    info = VariableInfo()
    info.data_shape = _partial([-1, HEADS, -1, HEAD])
    info.data_type = _float_type()
    info.variable_id = f"past_key_values.{name}present.{name}"
    batch = ops.gather(ops.shape_of(hidden), ops.constant([0]), ops.constant(0))
    shape = ops.concat([batch, ops.constant(numpy.array([HEADS, 0, HEAD]))], 0)
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


def result(node: Any, name: str) -> Any:
    from openvino import opset13 as ops

    node_out = ops.result(node)
    node_out.output(0).get_tensor().set_names({name})
    return node_out


def entrance(parameter: Any, name: str) -> Any:
    parameter.output(0).get_tensor().set_names({name})
    return parameter
