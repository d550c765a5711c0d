"""Does a payload have the shape that an SDK's own type says? `TypedDict`s, checked at run time."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

LATER = 0x1000000  # `from __future__ import annotations`, as a flag of the compiler
SNOWFLAKE = frozenset({str, int})  # typed as either, and on the wire always a string


class Shapes:
    """The types of one package, found by module and name."""

    def __init__(self, package: str, *, beside: frozenset[str] = frozenset()) -> None:
        """`beside`: keys that the types leave out, `Message.extra`, or `Base.*` for all of one."""
        self._modules, self._beside = load_types(package), beside

    @functools.cached_property
    def _names(self) -> dict[str, Any]:
        """What forward references may mean that no module imports at run time."""
        return {k: v for each in self._modules.values() for k, v in vars(each).items()}

    def deviations(self, payload: object, kind: str) -> list[str]:
        """Where `payload` is not a `kind` (`message.Message`), and why; nothing where it is."""
        module, _, name = kind.rpartition(".")
        return list(self._check(payload, vars(self._modules[module])[name], name))

    def _fields(self, kind: Any) -> dict[str, tuple[Any, bool]]:
        """By key: its type, and whether it must be there."""
        if kind not in self._known:
            hints = get_type_hints(kind, None, self._names, include_extras=True)
            total = kind.__required_keys__
            self._known[kind] = {k: _unwrapped(v, k in total) for k, v in hints.items()}
        return self._known[kind]

    @functools.cached_property
    def _known(self) -> dict[Any, dict[str, tuple[Any, bool]]]:
        return {}

    def _check(self, given: object, kind: Any, where: str) -> Iterator[str]:
        if is_typeddict(kind):
            yield from self._check_dict(given, kind, where)
        elif (origin := get_origin(kind)) in (Union, types.UnionType):
            yield from self._check_union(given, get_args(kind), where)
        elif origin is Literal:
            if given not in get_args(kind):
                yield f"{where}: {given!r:.60} is none of the known values"
        elif origin is list:
            yield from self._check_list(given, get_args(kind)[0], where)
        else:
            yield from _check_plain(given, origin or kind, where)

    def _check_dict(self, given: object, kind: Any, where: str) -> Iterator[str]:
        if not isinstance(given, dict):
            yield f"{where}: {given!r:.60} is no {kind.__name__}"
            return
        fields = self._fields(kind)
        for key, (hint, is_required) in fields.items():
            if key in given:
                yield from self._check(given[key], hint, f"{where}.{key}")
            elif is_required:
                yield f"{where}.{key}: missing"
        if f"{kind.__name__}.*" not in self._beside:
            for key in given.keys() - fields.keys():
                if f"{kind.__name__}.{key}" not in self._beside:
                    yield f"{where}.{key}: unknown to {kind.__name__}"

    def _check_list(self, given: object, kind: Any, where: str) -> Iterator[str]:
        if not isinstance(given, list):
            yield f"{where}: {given!r:.60} is no list"
            return
        for number, each in enumerate(given):
            yield from self._check(each, kind, f"{where}[{number}]")

    def _check_union(self, given: object, kinds: tuple[Any, ...], where: str) -> Iterator[str]:
        """Of several that don't fit, the nearest is told: the one with the fewest deviations."""
        if frozenset(kinds) == SNOWFLAKE and not isinstance(given, str):
            yield f"{where}: {given!r:.60} must be a string"
            return
        tried = [list(self._check(given, kind, where)) for kind in kinds]
        yield from min(tried, key=len)


def load_types(package: str) -> dict[str, types.ModuleType]:
    """The modules of a package that only type checkers import: they import each other in rings.

    Each statement is run once what it needs is there.
    """
    root = importlib.import_module(package)
    modules, left = dict[str, types.ModuleType](), list[tuple[types.ModuleType, ast.stmt]]()
    for each in pkgutil.iter_modules(root.__path__, f"{package}."):
        file = Path(root.__path__[0], each.name.rpartition(".")[2] + ".py")
        module = types.ModuleType(each.name)
        module.__package__ = package
        modules[each.name.rpartition(".")[2]] = sys.modules[each.name] = module
        left += [(module, stmt) for stmt in ast.parse(file.read_text(encoding="utf-8")).body]
    while left:
        waiting = [(module, stmt) for module, stmt in left if not _ran(module, stmt)]
        if len(waiting) == len(left):
            raise ImportError(f"{package}: {ast.unparse(left[0][1])!r} cannot be run")
        left = waiting
    return modules


def _ran(module: types.ModuleType, stmt: ast.stmt) -> bool:
    tree = ast.Module([stmt], [])
    code = compile(tree, module.__name__, "exec", flags=LATER, dont_inherit=True)
    try:
        exec(code, vars(module))  # noqa: S102 (an installed package's own source)
    except (ImportError, NameError):
        return False
    return True


def _unwrapped(hint: Any, is_required: bool) -> tuple[Any, bool]:
    while get_origin(hint) in (Required, NotRequired, Annotated):
        if get_origin(hint) is not Annotated:
            is_required = get_origin(hint) is Required
        hint = get_args(hint)[0]
    return hint, is_required


def _check_plain(given: object, kind: Any, where: str) -> Iterator[str]:
    if kind in (Any, object) or (kind is float and type(given) is int):
        return
    if not isinstance(kind, type) or not isinstance(given, kind):
        yield f"{where}: {given!r:.60} is no {getattr(kind, '__name__', kind)}"
    elif isinstance(given, bool) and kind is not bool:
        yield f"{where}: {given!r} is no {kind.__name__}"
