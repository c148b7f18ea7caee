"""The value that an expression of a parameters cell is, worked out without running it: literals, and calls of the
types that a parameter may have."""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any

from ...errors import LabError
from .imports import Meanings, meaning
from .marks import Range, Secret

_CALLS: Mapping[str, Callable[..., Any]] = {
    "datetime.date": dt.date,
    "datetime.date.fromisoformat": dt.date.fromisoformat,
    "datetime.datetime": dt.datetime,
    "datetime.datetime.fromisoformat": dt.datetime.fromisoformat,
    "datetime.timezone": dt.timezone,
    "datetime.timedelta": dt.timedelta,
    **{f"pathlib.{name}": Path for name in ("Path", "PurePath", "PosixPath", "PurePosixPath")},
    "decimal.Decimal": Decimal,
    "aiinfra_lab.recipe.Range": Range,
    "aiinfra_lab.recipe.Secret": Secret,
    **{kind.__name__: kind for kind in (float, int, str, list, tuple, set, frozenset, dict)},
}
_CONSTANTS: Mapping[str, Any] = {"datetime.timezone.utc": dt.UTC, "datetime.UTC": dt.UTC}


class Computed(Exception):
    """An expression that is no plain value."""


def plain_value(node: ast.expr, names: Meanings) -> Any:
    """What it is; Computed where that is only known when it runs, or where it raises."""
    try:
        return _value(node, names)
    except (ValueError, TypeError, ArithmeticError, DecimalException, RecursionError, LabError) as problem:
        raise Computed(getattr(problem, "what", "") or str(problem)) from None


def _value(node: ast.expr, names: Meanings) -> Any:
    match node:
        case ast.List(elts=items):
            return [_value(item, names) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, names) for item in items)
        case ast.Set(elts=items):
            return {_value(item, names) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {_value(key, names): _value(value, names) for key, value in pairs if key is not None}
        case ast.BinOp(left=left, op=ast.Div(), right=right) if isinstance(path := _path(left, names), Path):
            return path / _value(right, names)
        case ast.Call(func=function, args=arguments, keywords=keywords):
            return _called(node, meaning(function, names), arguments, keywords, names)
        case ast.Name() | ast.Attribute() if (known := meaning(node, names)) in _CONSTANTS:
            return _CONSTANTS[known]
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is no plain value") from None


def _path(node: ast.expr, names: Meanings) -> Any:
    return _value(node, names) if isinstance(node, ast.Call | ast.BinOp) else None


def _called(node: ast.Call, known: str, arguments: list[ast.expr], keywords: list[ast.keyword], names: Meanings) -> Any:
    if known not in _CALLS:
        raise ValueError(f"{ast.unparse(node)} is no plain value")
    named = {each.arg: _value(each.value, names) for each in keywords if each.arg}
    if len(named) < len(keywords):
        raise ValueError(f"{ast.unparse(node)} is no plain value")
    return _CALLS[known](*(_value(each, names) for each in arguments), **named)
