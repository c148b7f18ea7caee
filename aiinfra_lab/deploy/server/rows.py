"""A request's body, read by the model's own columns: compiled once for each version, and every refusal names its field.

The compiled reader takes the common case. What it refuses is read again by the contract itself, which decides: it
allows the further spellings of a category, and otherwise says which row and column is wrong and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from ...features.contract import CATEGORY, ROW_ID, BadRow, Column, Columns
from ...train.inputs import RowInputs, TableInputs

MAX_ROWS = 4096


class Refusal(Exception):
    """A request that is not answered with predictions: its HTTP status and what is wrong, row and column if known."""

    def __init__(self, status: int, what: str, row: int | None = None, column: str | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.row = row
        self.column = column

    def body(self) -> bytes:
        """The answer's JSON."""
        where = {} if self.row is None else {"row": self.row, "column": self.column}
        return msgspec.json.encode({"error": {**where, "what": self.what}})


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The outside of a request; the rows inside are read once it is known which version answers."""

    rows: msgspec.Raw
    key: str | int | None = None


@dataclass(slots=True)
class Parsed:
    """Rows that may be predicted: values in the contract's order, the ids that came along, and the inputs to log."""

    values: list[tuple[Any, ...]]
    ids: list[str | None]
    inputs: Sequence[Any]


_envelope = msgspec.json.Decoder(Envelope)
_anything = msgspec.json.Decoder()
# Of text that is no UTF-8, and of JSON that is nested too deeply, msgspec raises no error of its own.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def open_envelope(body: bytes) -> Envelope:
    """The outside of a request. Refusal 400 for what is no JSON, NaN and Infinity included, 422 for another shape."""
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError as problem:
        raise Refusal(422, f'{problem}; send {{"rows": [{{…}}], "key": "optional"}}') from None
    except _NO_JSON as problem:
        raise Refusal(400, f"{problem}; a missing value is null: NaN and Infinity are no JSON") from None


class Reader:
    """Reads the rows of a request as one model takes them."""

    def __init__(self, inputs: RowInputs) -> None:
        self._inputs = inputs
        self._decode: Callable[[msgspec.Raw], list[Any]] | None = None
        if isinstance(inputs, TableInputs):
            self._compile(inputs.columns)

    def _compile(self, columns: Columns) -> None:
        # A column's name may be no Python identifier: the fields are numbered, and renamed in JSON only.
        fields = [(f"c{at}", *_field(item)) for at, item in enumerate(columns)]
        fields.sort(key=len)  # what is required has no default and stands first
        names = {f"c{at}": item.name for at, item in enumerate(columns)}
        row_type = msgspec.defstruct(
            "Row",
            [*fields, ("row_id", str | int | msgspec.UnsetType, msgspec.UNSET)],
            rename={**names, "row_id": ROW_ID},
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(list[row_type]).decode  # type: ignore[valid-type]
        self._values = _all_of(list(names))

    def read(self, raw: msgspec.Raw) -> Parsed:
        """The rows; Refusal 422 that names row and column."""
        if self._decode is None:
            return self._read_slowly(raw)
        try:
            rows = self._decode(raw)
        except msgspec.ValidationError:
            return self._read_slowly(raw)
        except _NO_JSON as problem:
            raise Refusal(400, str(problem)) from None
        _count(rows)
        ids: list[str | None] = []
        for row in rows:
            ids.append(None if row.row_id is msgspec.UNSET else str(row.row_id))
            row.row_id = msgspec.UNSET  # it has a place of its own in the log
        return Parsed([self._values(row) for row in rows], ids, rows)

    def _read_slowly(self, raw: msgspec.Raw) -> Parsed:
        try:
            rows = _anything.decode(raw)
        except _NO_JSON as problem:
            raise Refusal(400, str(problem)) from None
        if not isinstance(rows, list):
            raise Refusal(422, "rows is a list of objects")
        _count(rows)
        for at, row in enumerate(rows):
            if not isinstance(row, dict):
                raise Refusal(422, "a row is an object: column → value", at)
            # True and False are numbers to Python, and no ids.
            if not isinstance(row.get(ROW_ID, ""), str | int) or isinstance(row.get(ROW_ID), bool):
                raise Refusal(422, "a row's id is a text or a whole number", at, ROW_ID)
        try:
            values = self._inputs.validate(rows)
        except BadRow as bad:
            raise Refusal(422, bad.problem, bad.row, bad.column) from None
        ids = [None if (row_id := row.pop(ROW_ID, None)) is None else str(row_id) for row in rows]
        return Parsed(values, ids, rows)


def _field(column: Column) -> tuple[Any, ...]:
    low, high = column.bounds
    kind: Any = str if column.type == CATEGORY else Annotated[float, msgspec.Meta(ge=low, le=high)]
    return (kind,) if column.required else (kind | None, None)


def _count(rows: Sequence[object]) -> None:
    if not 0 < len(rows) <= MAX_ROWS:
        raise Refusal(422, f"a request has 1 to {MAX_ROWS} rows, this one has {len(rows)}")


def _all_of(fields: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that takes these fields of an object, as a tuple also when it is one."""
    getter: Callable[[Any], Any] = attrgetter(*fields)
    return getter if len(fields) > 1 else lambda row: (getter(row),)
