"""Rows that come as columns of arrays, checked in one go; what that refuses the contract looks at row by row."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.contract import NUMBER, Column, ColumnRows, Columns
from ...train.inputs import ArrayInputs, RowInputs, TableInputs
from ...train.signature import Tensor

# A column: in an array of numbers NaN is a missing one; a list has values as JSON has them, or an array for each row.
Named = list[Any] | NDArray[Any]
_NUMBERS, _NOTHING = {int, float}, type(None)


def whole(inputs: RowInputs, named: Mapping[str, Named], length: int) -> ColumnRows | None:
    """The rows, where each column is good as a whole; None where the contract must look at them."""
    if isinstance(inputs, TableInputs):
        found = _table(inputs.columns, named, length)
    elif isinstance(inputs, ArrayInputs):
        found = [_tensor(item, named.get(item.name), length) for item in inputs.asked]
    else:
        return None
    given = [column for column in found if column is not None]
    return ColumnRows(given) if len(given) == len(found) else None


def listed(values: Named, *, as_rows: bool) -> list[Any]:
    """A column as a list, for the contract and for the log. as_rows: an array with an array for each row stays so."""
    if isinstance(values, list):
        return values
    if values.ndim > 1:
        return [*values] if as_rows else values.tolist()
    found: list[Any] = values.tolist()
    return [None if isnan(value) else value for value in found] if values.dtype.kind == "f" else found


def _table(columns: Columns, named: Mapping[str, Named], length: int) -> list[Named | None]:
    missing = [None] * length
    return [
        _numbers(item, named.get(item.name, missing))
        if item.type == NUMBER
        else _texts(named.get(item.name, missing), may_lack=not item.required)
        for item in columns
    ]


def _numbers(column: Column, values: Named) -> NDArray[np.float64] | None:
    """float64, NaN where one is missing; None when one is bad."""
    if isinstance(values, list):
        if not {*map(type, values)} <= _NUMBERS | {_NOTHING}:
            return None
        lacking, values = values.count(None), _floats(values)
    else:
        if values.dtype.kind not in "iuf" or values.ndim != 1:
            return None
        values = values.astype(np.float64)
        lacking = -1  # every NaN is one
    low, high = column.bounds
    if len(values) and low <= values.min() and values.max() <= high:
        return values
    missing = np.isnan(values)
    there = values[~missing]
    are_missing = not column.required and lacking in (-1, len(values) - len(there))
    return values if are_missing and (low <= there).all() and (there <= high).all() else None


def _floats(values: list[Any]) -> NDArray[np.float64]:
    try:
        return np.array(values, np.float64)
    except OverflowError:  # a whole number that no float reaches
        return np.array([np.inf])


def _texts(values: Named, *, may_lack: bool) -> list[str | None] | None:
    if not isinstance(values, list):
        return None
    kinds = {*map(type, values)}
    return values if kinds == {str} or (may_lack and kinds <= {str, _NOTHING}) else None


def _tensor(item: Tensor, values: Named | None, length: int) -> NDArray[Any] | None:
    """What the network takes of an input, see `train.inputs`; None when a row is bad, or not like the others."""
    if values is None:
        return None
    if item.is_text:
        return _text_array(values) if item.is_scalar else None
    try:
        given = np.asarray(values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values)
        with np.errstate(over="ignore"):
            found = given.astype(item.dtype, casting="unsafe" if given.dtype.kind in "iu" else "same_kind")
    except (TypeError, ValueError):
        return None
    shape = (length, *item.row_shape)
    fits = found.ndim == len(shape) and all(size in (-1, there) for size, there in zip(shape, found.shape, strict=True))
    is_same = given.dtype.kind not in "iu" or np.array_equal(found, given)
    return found if fits and is_same and (found.dtype.kind != "f" or np.isfinite(found).all()) else None


def _text_array(values: Named) -> NDArray[Any] | None:
    if not isinstance(values, list) or {*map(type, values)} != {str}:
        return None
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return None
    found = np.empty(len(values), object)
    found[:] = values
    return found
