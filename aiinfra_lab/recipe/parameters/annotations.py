"""The kind of a parameter: from its annotation, or where it has none from its default."""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from .defaults import Computed, plain_value
from .imports import Meanings, meaning
from .kinds import (
    SCALARS,
    AnyKind,
    ChoiceKind,
    ListKind,
    MappingKind,
    Misfit,
    OptionalKind,
    RangedKind,
    TupleKind,
    UnionKind,
    ValueKind,
)
from .marks import Range, Secret

_TYPES: Mapping[str, str] = {
    **{name: name for name in ("int", "float", "bool", "str")},
    "datetime.date": "date",
    "datetime.datetime": "datetime",
    **{f"pathlib.{name}": "Path" for name in ("Path", "PurePath", "PosixPath", "PurePosixPath")},
    "decimal.Decimal": "Decimal",
    "aiinfra_lab.recipe.Secret": "Secret",
}
_CONTAINERS: Mapping[str, type] = {
    **dict.fromkeys(("list", "typing.List", "typing.Sequence", "typing.Iterable", "typing.Collection"), list),
    **dict.fromkeys(("set", "typing.Set"), set),
    **dict.fromkeys(("frozenset", "typing.FrozenSet"), frozenset),
}
_TUPLES, _MAPPINGS = ("tuple", "typing.Tuple"), ("dict", "typing.Dict", "typing.Mapping")


class WrongAnnotation(Exception):
    """An annotation that contradicts itself."""


def kind_of(node: ast.expr, names: Meanings) -> tuple[ValueKind, str]:
    """The kind that an annotation means, and the text that describes it; WrongAnnotation where it can be none.

    A type that is none of those that are read here says nothing: every value is taken.
    """
    match node:
        case ast.Constant(value=str(text)):
            return kind_of(_expression(text), names)
        case ast.Subscript(value=owner, slice=inside):
            items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            if meaning(owner, names) == "typing.Annotated":
                return _annotated(items, names)
            return _subscripted(node, meaning(owner, names), items, names), ""
    return _plain(node, names), ""


def _plain(node: ast.expr, names: Meanings) -> ValueKind:
    match node:
        case ast.BinOp(op=ast.BitOr()):
            return _union(_options(node), names)
        case ast.Constant(value=None):
            return ChoiceKind((None,))
    known = meaning(node, names)
    if known in _TYPES:
        return SCALARS[_TYPES[known]]
    if known in _CONTAINERS:
        return ListKind(AnyKind(), _CONTAINERS[known])
    if known in _TUPLES:
        return ListKind(AnyKind(), tuple)
    return MappingKind(AnyKind(), AnyKind()) if known in _MAPPINGS else AnyKind(ast.unparse(node))


def _subscripted(node: ast.expr, owner: str, items: list[ast.expr], names: Meanings) -> ValueKind:
    if owner == "typing.Literal":
        return ChoiceKind(tuple(_values(items, names)))
    if owner == "typing.Optional":
        return OptionalKind(kind_of(items[0], names)[0])
    if owner == "typing.Union":
        return _union(items, names)
    if owner in _CONTAINERS:
        return ListKind(kind_of(items[0], names)[0], _CONTAINERS[owner])
    if owner in _TUPLES:
        if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is ...:
            return ListKind(kind_of(items[0], names)[0], tuple)
        return TupleKind(tuple(kind_of(each, names)[0] for each in items))
    if owner in _MAPPINGS and len(items) == 2:
        return MappingKind(kind_of(items[0], names)[0], kind_of(items[1], names)[0])
    return AnyKind(ast.unparse(node))


def _annotated(items: list[ast.expr], names: Meanings) -> tuple[ValueKind, str]:
    kind, text = kind_of(items[0], names)
    for mark in items[1:]:
        try:
            found = plain_value(mark, names)
        except Computed:
            continue  # somebody else's mark
        if isinstance(found, str):
            text = text or found
        elif isinstance(found, Range):
            kind = _ranged(kind, found)
    return kind, text


def _ranged(kind: ValueKind, found: Range) -> ValueKind:
    if isinstance(kind, AnyKind | ChoiceKind | ListKind | TupleKind | MappingKind):
        raise WrongAnnotation(f"{kind.name} has no range")
    try:
        low, high = (None if each is None else kind.read(each) for each in (found.low, found.high))
        if low is not None and high is not None and low > high:
            raise WrongAnnotation(f"the range begins at {low} and ends at {high}, which is less")
    except (Misfit, TypeError) as problem:
        raise WrongAnnotation(f"the range is none of {kind.name}: {problem}") from None
    return RangedKind(kind, low, high)


def _union(items: list[ast.expr], names: Meanings) -> ValueKind:
    kinds = [kind_of(each, names)[0] for each in items]
    options = tuple(each for each in kinds if each != ChoiceKind((None,)))
    if not options:
        return ChoiceKind((None,))
    kind: ValueKind = options[0] if len(options) == 1 else UnionKind(options)
    return OptionalKind(kind) if len(options) < len(kinds) else kind


def _options(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_options(node.left), *_options(node.right)]
    return [node]


def _values(items: list[ast.expr], names: Meanings) -> list[Any]:
    try:
        return [plain_value(each, names) for each in items]
    except Computed as problem:
        raise WrongAnnotation(f"Literal takes plain values: {problem}") from None


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        raise WrongAnnotation(f"the annotation {text!r} is no type") from None


def kind_like(value: object) -> ValueKind:
    """The kind of a parameter without an annotation, by its default."""
    match value:
        case list() | set() | frozenset():
            return ListKind(_common(value), type(value))
        case tuple():
            return ListKind(_common(value), tuple)
        case dict():
            return MappingKind(_common(value.keys()), _common(value.values()))
    for kinds, name in _SCALAR_TYPES:
        if isinstance(value, kinds):
            return SCALARS[name]
    return AnyKind()


def _common(values: Any) -> ValueKind:
    kinds = {kind_like(each) for each in values}
    return kinds.pop() if len(kinds) == 1 else AnyKind()


# In this order: a bool is an int, and a datetime is a date.
_SCALAR_TYPES = (
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (str, "str"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (PurePath, "Path"),
    (Decimal, "Decimal"),
    (Secret, "Secret"),
)
