"""How rows become a model's inputs: by the columns contract, as the arrays that they are, or as a text's tokens.

A row is an object of named values. What is wrong with one is a BadRow that names row and value, as the contract has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import did_you_mean
from ..features.contract import ROW_ID, BadRow, ColumnRows, Columns, as_dicts
from .signature import Tensor, may_hold
from .texts import TextEncoder

Arrays = Mapping[str, NDArray[Any]]
MASK = "_mask"


class RowInputs(Protocol):
    """The inputs of one model, made of rows."""

    @property
    def names(self) -> tuple[str, ...]:
        """What a row is asked for."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays that they become."""

    def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Each row's values in the order of `names`. BadRow, and nothing is ever corrected."""

    def encode_values(self, values: Sequence[tuple[Any, ...]]) -> Arrays:
        """The inputs from what `validate` returned."""

    def encode(self, rows: Any) -> Arrays:
        """The same of dicts or of a data frame."""

    def usual(self) -> tuple[Any, ...]:
        """The values of a row that is like any other, where there is no example."""


class TableInputs:
    """Numbers and codes, made of named columns by a contract."""

    arrays = ("numbers", "codes")

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.names = columns.names
        self.validate = columns.validate

    def encode_values(self, values: Sequence[tuple[Any, ...]]) -> Arrays:
        numbers, codes = self.columns.encode_values(values)
        return {"numbers": numbers, "codes": codes}

    def encode(self, rows: Any) -> Arrays:
        numbers, codes = self.columns.encode(rows)
        return {"numbers": numbers, "codes": codes}

    def usual(self) -> tuple[Any, ...]:
        return tuple(item.categories[0] if item.categories else item.mean for item in self.columns)


class ArrayInputs:
    """Arrays as they are: an image, an embedding, a sequence; one of BYTES holds texts.

    Of an input whose first size in a row may vary the rows of a batch are filled up with zeros to the longest; an input
    NAME_mask beside NAME says where there are values, and no row is asked for it.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = tuple(tensors)
        names = {item.name for item in self.tensors}
        self.masks = {item.name: item for item in self.tensors if item.name.removesuffix(MASK) in names - {item.name}}
        self.asked = tuple(item for item in self.tensors if item.name not in self.masks)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.asked)

    @property
    def arrays(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.tensors)

    def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        known = {*self.names, ROW_ID}
        for number, row in enumerate(rows):
            if unknown := [name for name in row if name not in known]:
                raise BadRow(number, str(unknown[0]), f"unknown input; {did_you_mean(str(unknown[0]), self.names)}")
        return [tuple(_array(item, row.get(item.name), at) for item in self.asked) for at, row in enumerate(rows)]

    def encode_values(self, values: Sequence[tuple[Any, ...]]) -> Arrays:
        found: dict[str, NDArray[Any]] = {}
        for at, item in enumerate(self.asked):
            column = values.columns[at] if isinstance(values, ColumnRows) else [row[at] for row in values]
            found[item.name] = _stacked(item, column)
            if mask := self.masks.get(item.name + MASK):
                found[mask.name] = _mask(mask, column)
        return found

    def encode(self, rows: Any) -> Arrays:
        return self.encode_values(self.validate(self._of_frame(rows) if hasattr(rows, "columns") else as_dicts(rows)))

    def _of_frame(self, df: Any) -> list[dict[str, Any]]:
        """The rows of a pandas or polars data frame, whose further columns are passed over."""
        have = [name for name in self.names if name in df.columns]
        if not have:
            raise BadRow(0, self.names[0], "it is missing")
        return [dict(zip(have, row, strict=True)) for row in zip(*(df[name].to_list() for name in have), strict=True)]

    def usual(self) -> tuple[Any, ...]:
        return tuple(
            np.full([max(1, size) for size in item.row_shape], "" if item.is_text else 0, item.dtype)
            for item in self.asked
        )


class TextInputs(ArrayInputs):
    """Texts, which tokenizers make tokens of, beside arrays as they are. encoders: one for each text."""

    def __init__(self, tensors: Iterable[Tensor], encoders: Iterable[TextEncoder]) -> None:
        super().__init__(tensors)
        self.encoders = tuple(encoders)

    @property
    def taken(self) -> tuple[Tensor, ...]:
        """What the network takes: each text's tokens in its place."""
        names = {encoder.input.name: encoder.names for encoder in self.encoders}
        return tuple(
            made
            for item in self.tensors
            for made in (
                (Tensor(name, "INT64", (-1, -1)) for name in names[item.name]) if item.name in names else (item,)
            )
        )

    @property
    def arrays(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.taken)

    def encode_values(self, values: Sequence[tuple[Any, ...]]) -> Arrays:
        found = super().encode_values(values)
        made = {**found, **tokens_of(self.encoders, found)}
        return {name: made[name] for name in self.arrays}


def tokens_of(encoders: Iterable[TextEncoder], texts: Arrays, least: int = 1) -> dict[str, NDArray[np.int64]]:
    """The tokens of all texts, by what the network calls them. texts: by the name of their input."""
    each = (encoder.encode(texts[encoder.input.name].tolist(), least) for encoder in encoders)
    return {name: tokens for found in each for name, tokens in found.items()}


def _array(item: Tensor, value: Any, row: int) -> NDArray[Any]:
    if item.is_text and item.is_scalar:
        return _text(item, value, row)
    wanted = f"an array of {item.datatype} [{', '.join('any' if size < 0 else str(size) for size in item.row_shape)}]"
    if value is None:
        raise BadRow(row, item.name, f"it is missing; {wanted} is needed")
    given = _given(value)
    # How one is written tells nothing of the array: of true and 4 NumPy makes whole numbers, of 4 and 4.5 others.
    kinds = {*map(type, given.ravel().tolist())} if given.dtype == object else {given.dtype.type}
    if other := next((kind for kind in kinds if not may_hold(item.datatype, kind)), None):
        raise BadRow(row, item.name, f"{wanted} is needed, and {_what_is(other)}")
    try:
        with np.errstate(over="ignore"):  # it becomes infinite, which is refused below
            found = given.astype(item.dtype)
        is_kept = np.isfinite(found).all() if found.dtype.kind == "f" else np.array_equal(found, given)
    except OverflowError:  # a whole number of Python's may have any size
        is_kept = False
    if not is_kept:
        what = "not finite in" if item.datatype.startswith("FP") else "beyond"
        raise BadRow(row, item.name, f"a number in it is {what} {item.datatype}")
    fits = len(found.shape) == len(item.row_shape) and all(
        size in (-1, there) for size, there in zip(item.row_shape, found.shape, strict=True)
    )
    if not fits:
        raise BadRow(row, item.name, f"{wanted} is needed, not one of [{', '.join(map(str, found.shape))}]")
    return found


def _given(value: Any) -> NDArray[Any]:
    """What is given as an array; each value of lists as it is."""
    value = value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value
    try:
        return np.asarray(value, object if isinstance(value, list | tuple) else None)
    except ValueError:  # arrays of unequal lengths: they stay what they are, and are refused as such
        found = np.empty(1, object)
        found[0] = value
        return found


def _what_is(kind: type) -> str:
    if kind is type(None):
        return "a value in it is missing"
    known = {
        (bool, np.bool_): "true or false",
        (str,): "a text",
        (Integral,): "a whole number",
        (Real,): "a number with a point",
        (list, tuple, np.ndarray): "lists of unequal lengths",
    }
    return f"it holds {next((what for kinds, what in known.items() if issubclass(kind, kinds)), f'a {kind.__name__}')}"


def _text(item: Tensor, value: Any, row: int) -> NDArray[Any]:
    if not isinstance(value, str):
        what = "it is missing" if value is None else f"it is {str(value)[:40]} ({type(value).__name__})"
        raise BadRow(row, item.name, f"{what}; a text is needed")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise BadRow(row, item.name, f"it is no text of Unicode at character {problem.start}") from None
    return np.array(str(value), object)


def _stacked(item: Tensor, column: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
    if isinstance(column, np.ndarray):
        return column
    if -1 not in item.row_shape:
        return np.stack(column) if column else np.zeros((0, *item.row_shape), item.dtype)
    longest = np.max([array.shape for array in column], axis=0, initial=0) if column else [0] * len(item.row_shape)
    found = np.zeros((len(column), *longest), item.dtype)
    for at, array in enumerate(column):
        place: tuple[Any, ...] = (at, *(slice(size) for size in array.shape))
        found[place] = array
    return found


def _mask(item: Tensor, column: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[Any]:
    lengths = np.array([len(array) for array in column])
    there = np.arange(lengths.max(initial=0)) < lengths[:, None]
    return there.astype(item.dtype)
