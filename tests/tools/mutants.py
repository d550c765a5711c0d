"""Mutants of one small module: each differs in one place, and some check must notice."""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, cast

_OTHER: dict[type, tuple[type[ast.AST], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.BitOr: (ast.BitAnd,),
}


def mutants_of(source: str, name: str) -> Iterator[tuple[str, ModuleType]]:
    """(what was changed, the module so changed); those that don't even load are left out."""
    tree = ast.parse(source)
    _drop_docstrings(tree)
    types = {id(part) for node in ast.walk(tree) for part in _only_types(node)}
    for index, node in enumerate(ast.walk(tree)):
        for told, change in () if id(node) in types else _changes(node):
            mutant = copy.deepcopy(tree)
            change(list(ast.walk(mutant))[index])
            line = getattr(node, "lineno", 0)
            code = compile(ast.fix_missing_locations(mutant), f"<{name}>", "exec")
            try:
                module = module_of(code, name)
            except Exception:  # noqa: BLE001, S112 (a mutant may be any nonsense)
                continue
            yield f"line {line}: {told}", module


def module_of(code: CodeType, name: str) -> ModuleType:
    """The code as a module; known by its name while it runs, which dataclasses ask for."""
    module = ModuleType(f"{name} (loaded by hand)")
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 (our own source, one place changed at most)
    finally:
        del sys.modules[module.__name__]
    return module


def _changes(node: Any) -> Iterator[tuple[str, Callable[[Any], None]]]:
    if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp):
        was = node.ops[0] if isinstance(node, ast.Compare) else node.op
        for other in _OTHER.get(type(was), ()):
            yield f"{type(was).__name__} → {other.__name__}", _with_operator(other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", _without_not
    elif isinstance(node, ast.Constant) and _matters(node.value):
        yield f"{node.value!r} changed", _other_constant
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition always true", _always(True)
        yield "condition always false", _always(False)


def _only_types(node: ast.AST) -> Iterator[ast.AST]:
    """What nothing does at run time: annotations, `Literal`, and whether a class has slots."""
    told = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal":
        told.append(node)
    if isinstance(node, ast.keyword) and node.arg == "slots":
        told.append(node.value)
    for each in told:
        if isinstance(each, ast.AST):
            yield from ast.walk(each)


def _matters(value: object) -> bool:
    return isinstance(value, bool | int | str)


def _with_operator(other: type[ast.AST]) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        if isinstance(node, ast.Compare):
            node.ops[:1] = [cast("ast.cmpop", other())]
        else:
            node.op = other()

    return change


def _without_not(node: Any) -> None:
    node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)


def _other_constant(node: Any) -> None:
    value = node.value
    if isinstance(value, bool):
        node.value = not value
    else:
        node.value = f"{value}x" if isinstance(value, str) else value + 1


def _always(value: bool) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.test = ast.Constant(value)

    return change


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and _is_text(body[0] if body else None):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]


def _is_text(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
