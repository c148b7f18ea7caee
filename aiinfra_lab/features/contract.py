"""The columns contract: which columns a model takes, of what kind, and how they become numbers.

It is fitted once on the training rows and stored with the run and the model, so that training, checks, the endpoint
and drift read rows in the same way. It needs numpy only, for the endpoint's process has nothing else.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Damaged, Failed, NotFound, UsageProblem, did_you_mean

NUMBER, CATEGORY = "number", "category"
ROW_ID = "row_id"
Value = float | str | None
Encoded = tuple[NDArray[np.float32] | NDArray[np.float64], NDArray[np.int64]]

# Standardised numbers are float32 in the model: what is further out would silently become infinite.
_REACH_STD = 1e37
# Columns of so few rows are packed together: for each of them a call costs more than the numbers.
_SHORT = 128


class BadRow(Failed, ValueError):
    """A row that the contract refuses: which row (from 0), which column, and what is the matter with it."""

    def __init__(self, row: int, column: str, problem: str) -> None:
        super().__init__(f"row {row}, column {column}: {problem}", "correct that value, or leave the row out")
        self.row = row
        self.column = column
        self.problem = problem


def as_dicts(rows: Any) -> list[Mapping[str, Any]]:
    """Rows that somebody gave as dicts. UsageProblem for anything else, also for one dict without its list."""
    fix = "give a list of dicts, also of one: [{…}]; or a data frame"
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise UsageProblem(f"a {type(rows).__name__} is no list of rows", fix)
    listed = list(rows)
    if odd := [row for row in listed if not isinstance(row, Mapping)]:
        raise UsageProblem(f"a {type(odd[0]).__name__} is no row", fix)
    return listed


class ColumnRows(Sequence[tuple[Any, ...]]):
    """Rows that are held by column, each in the contract's order; taken one by one they are tuples like any other."""

    def __init__(self, columns: Sequence[Sequence[Any] | NDArray[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, at: Any) -> Any:
        found = [column[at] for column in self.columns]
        return ColumnRows(found) if isinstance(at, slice) else tuple(found)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self.columns, strict=True)


@dataclass(frozen=True)
class Column:
    """One column: a number with the mean and spread of training, or a category with the values of training.

    `required`: a row without it is refused; otherwise a missing value is a value of its own.
    """

    name: str
    type: str
    required: bool
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @cached_property
    def codes(self) -> dict[str | None, int]:
        """Category → code; code 0 is left to what is missing or was never seen."""
        return {value: code for code, value in enumerate(self.categories, start=1)}

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and largest number that the model's float32 can distinguish from infinity."""
        # Within float64, which ends at 1.8e308: a bound that overflowed would let infinity pass.
        reach = min(_REACH_STD * self.std, 1e307)
        return max(self.mean - reach, -1e308), min(self.mean + reach, 1e308)


@dataclass(frozen=True)
class Columns:
    """The columns in the model's order, the feature set they come from and the label they predict.

    raw: numbers reach the model as they are, float64 and NaN where one is missing: it was trained elsewhere, and does
    to them what it needs.
    """

    features_uri: str
    label: str
    columns: tuple[Column, ...]
    raw: bool = False

    @classmethod
    def fit(
        cls,
        df: Any,
        names: Iterable[str],
        label: str,
        *,
        features_uri: str = "",
        optional: Iterable[str] = (),
        categories: Iterable[str] = (),
    ) -> Columns:
        """The contract of these columns of a pandas or polars data frame, in the order of `names`.

        Texts and truth values become categories, numbers numbers; whole numbers named in `categories` become
        categories too. A column is required when no training row lacks it, unless it is named in `optional`.
        Failed for a column that is empty, mixes kinds, holds times or has a name that cannot be asked for; NotFound for
        one that is not there.
        """
        wanted, optional, categories = list(names), set(optional), set(categories)
        if not wanted or len(set(wanted)) < len(wanted) or {label, ROW_ID} & set(wanted):
            raise Failed(
                f"{', '.join(wanted) or 'no columns'}: a model needs features, each once, without the label {label!r} "
                f"and without {ROW_ID!r}",
                "correct the list of columns",
            )
        refuse_unaskable(wanted)
        fitted = tuple(_fit(name, _values(df, name), name not in optional, name in categories) for name in wanted)
        return cls(features_uri, label, fitted)

    @classmethod
    def from_json(cls, text: str | bytes) -> Columns:
        """What `to_json` wrote. Damaged when it is something else."""
        try:
            body = json.loads(text)
            columns = tuple(_column(item) for item in body["columns"])
            return cls(str(body["features_uri"]), str(body["label"]), columns, bool(body.get("raw", False)))
        except (ValueError, KeyError, TypeError) as problem:
            raise Damaged(f"this is no columns contract: {problem!r}", "take the model's columns.json again") from None

    def to_json(self) -> str:
        """The contract as text; the same contract always has the same text."""
        # Only what its kind has: defaults of the other kind would make a contract longer and say nothing.
        columns = [{key: value for key, value in asdict(item).items() if key in _KEYS[item.type]} for item in self]
        raw = {"raw": True} if self.raw else {}
        body = {"features_uri": self.features_uri, "label": self.label, **raw, "columns": columns}
        return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def __iter__(self) -> Any:
        return iter(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.columns)

    @cached_property
    def numbers(self) -> tuple[Column, ...]:
        """The number columns, in the order in which `encode` puts them."""
        return tuple(item for item in self.columns if item.type == NUMBER)

    @cached_property
    def categories(self) -> tuple[Column, ...]:
        """The category columns, in the order in which `encode` puts them."""
        return tuple(item for item in self.columns if item.type == CATEGORY)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each category column has, the code for missing and unseen included: embedding sizes."""
        return tuple(len(item.categories) + 1 for item in self.categories)

    def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Value, ...]]:
        """Each row's values in contract order; a missing one is None. Raises BadRow, and never corrects a value.

        A category may be written as text, truth value or whole number. NaN and Infinity are no numbers, and a column
        that the contract does not know is refused; `row_id` may be there.
        """
        known = {*self.names, ROW_ID}
        for number, row in enumerate(rows):
            if unknown := [name for name in row if name not in known]:
                raise BadRow(number, str(unknown[0]), f"unknown column; {did_you_mean(str(unknown[0]), self.names)}")
        return [tuple(_checked(item, row.get(item.name), at) for item in self) for at, row in enumerate(rows)]

    def encode(self, rows: Any) -> Encoded:
        """`numbers` float32 [n, number columns] and `codes` int64 [n, category columns] of dicts or of a data frame.

        Numbers are standardised and a missing one becomes 0, unless the contract is `raw`; code 0 is a category that is
        missing or was never seen.
        In a data frame NaN is a missing value and further columns are passed over; BadRow otherwise as `validate`.
        """
        if hasattr(rows, "columns"):
            return self._encode_frame(rows)
        return self.encode_values(self.validate(as_dicts(rows)))

    def encode_values(self, values: Sequence[tuple[Value, ...]]) -> Encoded:
        """The same from what `validate` returned."""
        if isinstance(values, ColumnRows):
            columns = values.columns
        else:
            columns = list(zip(*values, strict=True)) or [()] * len(self.columns)
        length = len(values)
        # float64 until they are scaled: a large mean would cost a float32 its last digits.
        packed = _packed([columns[at] for at in self._places[NUMBER]], length)
        numbers = np.frombuffer(packed, np.float64).reshape(len(self.numbers), length)
        places = zip(self.categories, self._places[CATEGORY], strict=True)
        found = chain.from_iterable([map(item.codes.get, columns[at], repeat(0)) for item, at in places])
        codes = np.empty((length, len(self.categories)), np.int64)
        codes.T[:] = np.fromiter(found, np.int64, codes.size).reshape(codes.T.shape)
        return self._standardise(np.ascontiguousarray(numbers.T)), codes

    def _encode_frame(self, df: Any) -> Encoded:
        for item in self:
            if item.name not in df.columns and not item.required:
                continue
            if item.name not in df.columns:
                raise BadRow(0, item.name, "this required column is missing")
        numbers = [_number_column(item, df) for item in self.numbers]
        codes = [_code_column(item, df) for item in self.categories]
        wide = np.column_stack(numbers) if numbers else np.zeros((len(df), 0))
        return self._standardise(wide), np.column_stack(codes) if codes else np.zeros((len(df), 0), np.int64)

    def _standardise(self, numbers: NDArray[np.float64]) -> NDArray[np.float32] | NDArray[np.float64]:
        if self.raw:
            return numbers
        mean, std = self._scale
        scaled = numbers - mean
        scaled /= std
        # The mean of training: a missing number then says nothing to a linear model.
        scaled[np.isnan(scaled)] = 0.0
        return scaled.astype(np.float32)

    # Made once: the endpoint encodes thousands of rows a second.
    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array([item.mean for item in self.numbers]), np.array([item.std for item in self.numbers])

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        return {kind: [at for at, item in enumerate(self.columns) if item.type == kind] for kind in (NUMBER, CATEGORY)}


_KEYS = {
    NUMBER: ("name", "type", "required", "mean", "std"),
    CATEGORY: ("name", "type", "required", "categories"),
}


def refuse_unaskable(names: Iterable[str]) -> None:
    """Failed when one is no name that a request to an endpoint can give: JSON has to escape it."""
    for name in names:
        if json.dumps(name, ensure_ascii=False) != f'"{name}"':
            raise Failed(
                f"the column {name!r} has a quote, a backslash or a control character in its name, which no request to "
                "an endpoint can give",
                "rename it in the data, or leave it out of `columns`",
            )


def is_missing(value: object) -> bool:
    """Whether a value out of a data frame stands for nothing: None, NaN, pandas' NA and NaT."""
    # By the type's name, since pandas may not be installed where this runs.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def category_text(value: object) -> str | None:
    """The one spelling of a category: text, `true`/`false`, or a whole number; None when it is none of these."""
    if isinstance(value, str):
        return str(value)
    # Before int, which bool is a subclass of.
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    # pandas makes whole numbers with a gap floats.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return None


def _column(item: Mapping[str, Any]) -> Column:
    if item["type"] not in _KEYS or set(item) - {field.name for field in fields(Column)}:
        raise ValueError(f"column {item['name']!r} is of no known kind")
    column = Column(**{**item, "categories": tuple(item.get("categories", ()))})
    if not (math.isfinite(column.mean) and math.isfinite(column.std) and column.std > 0):
        raise ValueError(f"column {column.name!r} has no usable mean and std")
    return column


def _values(df: Any, name: str) -> NDArray[Any]:
    if name not in df.columns:
        raise NotFound(f"the rows have no column {name!r}", did_you_mean(name, map(str, df.columns)))
    return np.asarray(df[name].to_numpy())


def _fit(name: str, values: NDArray[Any], required: bool, as_category: bool) -> Column:
    # `tolist` gives Python's own numbers: NumPy's whole ones are no int, and its truth values no bool.
    present = [value for value in values.tolist() if not is_missing(value)]
    if not present:
        raise Failed(f"column {name} holds no value at all", "leave it out, or take more rows")
    required = required and len(present) == len(values)
    if as_category or all(isinstance(value, str | bool) for value in present):
        return Column(name, CATEGORY, required, categories=_categories(name, present))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        kinds = sorted({type(value).__name__ for value in present})
        raise Failed(
            f"column {name} is neither numbers nor texts ({', '.join(kinds)})",
            "make it one kind; of a time take the parts that matter, such as the hour",
        )
    numbers = np.array(present, np.float64)
    if not np.isfinite(numbers).all():
        raise Failed(f"column {name} holds an infinite number", "correct it, or leave the row out")
    mean, std = float(numbers.mean()), float(numbers.std())
    usable = std > abs(mean) * 1e-12  # a constant column's spread is only rounding
    return Column(name, NUMBER, required, mean=mean, std=std if usable else 1.0)


def _categories(name: str, present: Sequence[object]) -> tuple[str, ...]:
    texts = {category_text(value) for value in present}
    if None in texts:
        raise Failed(f"column {name} holds values that are no categories", "use texts or whole numbers")
    # Sorted, so that the codes do not depend on the order of the training rows.
    return tuple(sorted(text for text in texts if text is not None))


def _packed(columns: Sequence[Sequence[Any] | NDArray[Any]], length: int) -> bytes:
    """Columns of numbers as float64, one behind the other, NaN where one is missing."""
    if length > _SHORT or len(columns) == 1:
        return b"".join(map(_packed_column, columns))
    try:
        return struct.pack(f"{len(columns) * length}d", *chain.from_iterable(columns))
    except struct.error:
        return b"".join(map(_packed_column, columns))


def _packed_column(numbers: Sequence[Any] | NDArray[Any]) -> bytes:
    """One of them; `pack` takes a third of the time that NumPy does for a list."""
    if isinstance(numbers, np.ndarray):
        return numbers.astype(np.float64, copy=False).tobytes()
    try:
        return struct.pack(f"{len(numbers)}d", *numbers)
    except struct.error:
        return np.array(numbers, np.float64).tobytes()


def _checked(column: Column, value: object, row: int) -> Value:
    if value is None:
        if column.required:
            raise BadRow(row, column.name, "this required column is missing")
        return None
    if column.type == CATEGORY:
        if (text := category_text(value)) is None:
            raise BadRow(row, column.name, f"a category is a text or a whole number, not {_shown_value(value)}")
        return text
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise BadRow(row, column.name, f"a number is needed, not {_shown_value(value)}")
    low, high = column.bounds
    if not low <= value <= high:
        raise BadRow(row, column.name, "the number is not finite, or beyond the model's reach")
    return float(value)


def _shown_value(value: object) -> str:
    return f"the text {value[:40]!r}" if isinstance(value, str) else f"{str(value)[:40]} ({type(value).__name__})"


def _number_column(column: Column, df: Any) -> NDArray[np.float64]:
    if column.name not in df.columns:
        return np.full(len(df), np.nan)
    raw = _values(df, column.name)
    if raw.dtype.kind not in "iuf":
        raw = np.array([_checked(column, None if is_missing(v) else v, at) for at, v in enumerate(raw.tolist())], float)
    numbers = raw.astype(np.float64)
    low, high = column.bounds
    if len(numbers) and low <= numbers.min() and numbers.max() <= high:
        return numbers  # and none is missing: the least of numbers with a NaN among them is NaN
    missing = np.isnan(numbers)
    bad = ~missing & ((numbers < low) | (numbers > high))
    if column.required:
        bad |= missing
    if bad.any():
        at = int(bad.argmax())
        # For its error alone, which is then the one that the same row in an endpoint gets.
        _checked(column, None if missing[at] else float(numbers[at]), at)
    return numbers


def _code_column(column: Column, df: Any) -> NDArray[np.int64]:
    if column.name not in df.columns:
        return np.zeros(len(df), np.int64)
    values = _values(df, column.name).tolist()
    codes = _codes_by_value(column, values)
    if codes is None:
        texts = (_checked(column, None if is_missing(value) else value, at) for at, value in enumerate(values))
        return np.fromiter((column.codes.get(text, 0) for text in texts), np.int64, len(df))  # type: ignore[arg-type]
    return np.fromiter(map(codes.__getitem__, values), np.int64, len(df))


def _codes_by_value(column: Column, values: Sequence[Any]) -> Mapping[Any, int] | None:
    """The code of each value that there is, of many rows the quicker way; None where one is bad, and where equal values
    may be spelled differently, as 1 and True.
    """
    try:
        distinct = set(values)
        # Of texts alone nothing else can hide among the equal ones.
        are_texts = set(map(type, distinct)) <= {str, type(None)}
        if not are_texts and bool in (types := set(map(type, values))) and types - {bool, type(None)}:
            return None
        texts = {value: _checked(column, None if is_missing(value) else value, 0) for value in distinct}
    except (BadRow, TypeError):
        return None  # the slow way names the row
    return {value: column.codes.get(text, 0) for value, text in texts.items()}  # type: ignore[arg-type]
