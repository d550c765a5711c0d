"""Safe arithmetic: a small expression language, read from Python's syntax tree, never run."""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from tools.contract import Labelled, ToolError
from tools.decorator import tool
from tools.labels import Label

Number = int | float

MAX_CHARS = 200
MAX_DEPTH = 50
MAX_BITS = 2048  # about 600 digits: exact, and printed in no time
MAX_PLACES = 300  # of `round`; a float has no more
_SPOKEN = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**"}
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")  # 1,234,567 outside of a call


def _rounded(value: Number, places: Number | None = None) -> Number:
    if places is not None and not (isinstance(places, int) and abs(places) <= MAX_PLACES):
        raise ToolError(f"round takes a whole number of places, at most {MAX_PLACES}")
    return round(value, places)


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (math.sqrt, 1, 1),
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "min": (min, 2, 20),
    "max": (max, 2, 20),
}


@tool(
    effect="read",
    idempotency="natural",
    timeout_s=5,
    example=("How much is 12 times 31?", {"expression": "12*31"}),
)
async def calculate(
    expression: Annotated[str, Field(min_length=1, max_length=MAX_CHARS)],
) -> Labelled:
    """Exact result of an arithmetic expression: + - * / // % ** ( ) sqrt abs round min max."""
    return Labelled(shown(evaluate(expression)), Label())


def evaluate(expression: str) -> Number:
    """The value: exact for integers, IEEE double for the rest. Raises `ToolError` only."""
    if len(expression) > MAX_CHARS:
        raise ToolError(f"the expression is over {MAX_CHARS} characters")
    text = "".join(_SPOKEN.get(character, character) for character in expression)
    if "(" not in text:  # in a call, a comma separates arguments
        text = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's advice on style, such as 1if
            tree = ast.parse(text.strip(), mode="eval")
        return _value(tree.body, 0)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ToolError("not an arithmetic expression; write it like 17*23") from error
    except ZeroDivisionError as error:
        raise ToolError("division by zero") from error
    except OverflowError as error:
        raise ToolError("the result is too large") from error


def shown(value: Number) -> str:
    """Integers in full, other numbers with up to 12 significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise ToolError(f"nested deeper than {MAX_DEPTH}")
    match node:
        case ast.Constant(value=bool()):
            raise ValueError
        case ast.Constant(value=int() | float() as value):
            return _bounded(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth + 1)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, depth + 1), _value(right, depth + 1))
        case ast.BinOp(left=left, op=op, right=right):
            return _bounded(_binary(op)(_value(left, depth + 1), _value(right, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, [_value(arg, depth + 1) for arg in args])
    raise ValueError


def _binary(op: ast.operator) -> Callable[[Number, Number], Number]:
    if type(op) not in _BINARY:
        raise ValueError
    return _BINARY[type(op)]


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) > 1 and exponent * base.bit_length() > MAX_BITS:
            raise OverflowError
        return int(base**exponent)
    result = float(base) ** exponent
    if isinstance(result, complex):
        raise ToolError("the result is not a real number")
    return _bounded(result)


def _call(name: str, values: list[Number]) -> Number:
    if name not in _FUNCTIONS:
        raise ToolError(f"only {', '.join(sorted(_FUNCTIONS))} can be called")
    function, least, most = _FUNCTIONS[name]
    if not least <= len(values) <= most:
        raise ToolError(f"{name} takes {least} to {most} values")
    return _bounded(function(*values))


def _bounded(value: Number) -> Number:
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise OverflowError
    elif not math.isfinite(value):
        raise OverflowError
    return value
