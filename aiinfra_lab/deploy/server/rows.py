"""A request's body, read by the model's own columns: compiled once for each version, and every refusal names its field.

The compiled reader takes the common case. What it refuses is read again by the contract itself, which decides: it
allows the further spellings of a category, and otherwise says which row and column is wrong and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from operator import attrgetter, is_not
from typing import Annotated, Any

import msgspec
import numpy as np

from ...features.contract import CATEGORY, ROW_ID, BadRow, Column, ColumnRows, Columns
from ...train.inputs import RowInputs, TableInputs
from ...train.texts import LOGGED_CHARACTERS, as_logged
from . import refusals
from .array_rows import Named, listed, whole
from .duplicates import repeated_name
from .messages import FormName

MAX_ROWS = 4096
MANY_ROWS = 64
MOST_REPEATED = 150  # characters of what a client sent, in what it is answered
_RowId = str | int


class Refusal(Exception):
    """A request that is not answered with predictions: its HTTP status and what is wrong, row and column if known."""

    def __init__(self, status: int, what: str, row: int | None = None, column: str | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.row = row
        self.column = column and column[:MOST_REPEATED]

    def body(self, form: FormName = "json") -> bytes:
        """The answer's JSON; of a request of that form."""
        if form == "tensors":
            where_in_it = "" if self.column is None else f"row {self.row}, {self.column}: "
            return refusals.written(form, f"{where_in_it}{self.what}")
        where = {} if self.row is None else {"row": self.row, "column": self.column}
        return refusals.written(form, self.what, **where)


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The outside of a request: its rows, or the same as columns. They are read once it is known who answers."""

    rows: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    columns: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    key: str | int | None = None


class Parsed(msgspec.Struct, eq=False):
    """Rows that may be predicted: values in the contract's order, and the ids that came along.

    is_columns: whether they came as columns, and are answered so. names: how many names of columns the request has at
    most, where none stands twice in one object. logged: the request as it is logged, where long texts are in it, or it
    is no JSON. outputs: what is asked for of the outputs, in a form that has that.
    """

    values: Sequence[tuple[Any, ...]]
    ids: list[str | None]
    is_columns: bool = False
    names: int = 0
    logged: bytes = b""
    outputs: Any = None


_FORMS = 'send {"rows": [{…}], "key": "optional"}, or {"columns": {"name": […], …}}'
_envelope = msgspec.json.Decoder(Envelope)
_anything = msgspec.json.Decoder()
# Of text that is no UTF-8, and of JSON that is nested too deeply, msgspec raises no error of its own.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def open_envelope(body: bytes) -> Envelope:
    """The outside of a request. Refusal 400 for what is no JSON, NaN and Infinity included, 422 for another shape."""
    try:
        envelope = _envelope.decode(body)
    except msgspec.ValidationError as problem:
        raise Refusal(422, f"{str(problem)[:MOST_REPEATED]}; {_FORMS}") from None
    except _NO_JSON as problem:
        raise Refusal(400, f"{problem}; a missing value is null: NaN and Infinity are no JSON") from None
    if (envelope.rows is msgspec.UNSET) == (envelope.columns is msgspec.UNSET):
        raise Refusal(422, f"a request has rows, or columns, and not both; {_FORMS}")
    return envelope


class Reader:
    """Reads the rows of a request as one model takes them."""

    def __init__(self, inputs: RowInputs) -> None:
        self._inputs = inputs
        self._table = _Compiled(inputs.columns) if isinstance(inputs, TableInputs) else None

    def request(self, body: bytes) -> Parsed:
        """A whole request. Refusal 400 for what is no JSON, 422 that names row and column."""
        parsed = (self._table and self._table.request(body)) or self._read(body)
        # Looking for a name that stands twice costs more than reading: only where there are more colons than names.
        if _colons(body) > parsed.names and (name := repeated_name(body)) is not None:
            # Which of the two is meant cannot be known.
            raise Refusal(422, f"the name {name[:100]!r} stands twice in one object")
        return parsed

    def columns(self, named: Mapping[str, Named]) -> Parsed:
        """A whole request, as columns of arrays or of lists. Refusal 422 that names row and column."""
        length = length_of(named)
        _count(length)
        if unknown := [name for name in named if name not in (*self._inputs.names, ROW_ID)]:
            self._checked([dict.fromkeys(unknown)])  # it is refused there, before anything is made of the values
        ids: list[str | None] | None = [None] * length if ROW_ID not in named else _ids(named[ROW_ID])
        found = None if ids is None else whole(self._inputs, named, length)
        if ids is None or found is None:
            lists = {name: listed(values, as_rows=self._table is None) for name, values in named.items()}
            parsed = self._checked([dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)])
        else:
            parsed = Parsed([*found] if length < MANY_ROWS else found, ids)
        parsed.is_columns = True
        return parsed

    def _read(self, body: bytes) -> Parsed:
        """What the compiled reader does not take, or says too little of."""
        envelope = open_envelope(body)
        form = "columns" if isinstance(envelope.columns, msgspec.Raw) else "rows"
        plain = _plain(getattr(envelope, form))  # `open_envelope` says that it is there
        parsed = self._of_columns(plain) if form == "columns" else self._of_rows(plain)
        parsed.names += 1 + (envelope.key is not None)
        if len(body) > LOGGED_CHARACTERS:
            parsed.logged = logged_request({form: plain})
        return parsed

    def _of_rows(self, rows: Any) -> Parsed:
        if not isinstance(rows, list):
            raise Refusal(422, "rows is a list of objects")
        return self._checked(rows)

    def _of_columns(self, columns: Any) -> Parsed:
        if not isinstance(columns, dict) or not all(isinstance(values, list) for values in columns.values()):
            raise Refusal(422, "columns is an object: column → list of its values")
        length = length_of(columns)
        _count(length)
        found = self._checked([{name: columns[name][at] for name in columns} for at in range(length)])
        found.is_columns, found.names = True, len(columns)
        return found

    def _checked(self, rows: list[Any]) -> Parsed:
        _count(len(rows))
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
        ids = [None if (row_id := row.get(ROW_ID)) is None else str(row_id) for row in rows]
        return Parsed(values, ids, names=sum(map(len, rows)))


class _Compiled:
    """Reads the rows of a table in one pass of the decoder. None for what the contract must look at."""

    def __init__(self, columns: Columns) -> None:
        # A column's name may be no Python identifier: the fields are numbered, and renamed in JSON only.
        fields = [_field(f"c{at}", _value(item), item) for at, item in enumerate(columns)]
        lists = [_field(f"c{at}", list[_value(item)], item) for at, item in enumerate(columns)]  # type: ignore[misc]
        for each in (fields, lists):
            each.sort(key=len)  # what is required has no default and stands first
        names = {f"c{at}": item.name for at, item in enumerate(columns)}
        rename = {**names, "row_id": ROW_ID}
        row: Any = msgspec.defstruct(
            "Row", [*fields, ("row_id", _RowId | msgspec.UnsetType, msgspec.UNSET)], rename=rename,
            forbid_unknown_fields=True,
        )  # fmt: skip
        table: Any = msgspec.defstruct(
            "Table", [*lists, ("row_id", list[_RowId] | msgspec.UnsetType, msgspec.UNSET)], rename=rename,
            forbid_unknown_fields=True,
        )  # fmt: skip
        given = {"rows": list[row], "columns": table, "key": str | int | None}
        forms = [(name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in given.items()]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Forms", forms, forbid_unknown_fields=True)).decode
        self._values = _all_of(list(names))
        self._may_lack = any(not item.required for item in columns)

    def request(self, body: bytes) -> Parsed | None:
        """Of a whole request."""
        try:
            found: Any = self._decode(body)
        except (msgspec.ValidationError, *_NO_JSON):
            return None
        if (found.rows is msgspec.UNSET) == (found.columns is msgspec.UNSET):
            return None
        if found.columns is not msgspec.UNSET:
            parsed = self._of_columns(found.columns)
        elif len(found.rows) == 1:
            parsed = self._of_row(found.rows[0])
        else:
            parsed = self._of_rows(found.rows)
        parsed.names += 1 + (found.key is not msgspec.UNSET)
        return parsed

    def _of_row(self, row: Any) -> Parsed:
        """Most requests have but one."""
        values, row_id = self._values(row), row.row_id
        names = len(values) + (row_id is not msgspec.UNSET)
        if self._may_lack and (left_out := values.count(msgspec.UNSET)):
            names -= left_out
            values = tuple([None if value is msgspec.UNSET else value for value in values])
        return Parsed([values], [_text_of(row_id)], names=names)

    def _of_rows(self, rows: list[Any]) -> Parsed:
        _count(len(rows))
        given = [row.row_id for row in rows]
        without = given.count(msgspec.UNSET)
        ids: list[str | None] = [None] * len(rows) if without == len(rows) else [_text_of(row_id) for row_id in given]
        values = [self._values(row) for row in rows]
        # What was left out is told from what is null: the one has no name in the request, and the other has.
        left_out = sum(row.count(msgspec.UNSET) for row in values) if self._may_lack else 0
        names = len(rows) * (len(values[0]) + 1) - left_out - without
        if left_out:
            values = [tuple(None if value is msgspec.UNSET else value for value in row) for row in values]
        return Parsed(values, ids, names=names)

    def _of_columns(self, table: Any) -> Parsed:
        columns = self._values(table)
        named = len(columns) - columns.count(msgspec.UNSET)
        given = {at: column for at, column in enumerate(columns) if isinstance(column, list)}
        ids = None if table.row_id is msgspec.UNSET else table.row_id
        length = length_of(given if ids is None else {**given, ROW_ID: ids})
        _count(length)
        whole = ColumnRows([given.get(at) or [None] * length for at in range(len(columns))])
        texts: list[str | None] = [None] * length if ids is None else [_text_of(row_id) for row_id in ids]
        # Few are quicker together with the rows of other requests.
        return Parsed([*whole] if length < MANY_ROWS else whole, texts, True, named + (ids is not None))


def _ids(given: Named) -> list[str | None] | None:
    """The rows' ids as texts; None for what the contract must look at."""
    values = given if isinstance(given, list) else given.tolist()
    # True and False are no ids.
    return [*map(str, values)] if {*map(type, values)} <= {str, int} else None


def _text_of(row_id: Any) -> str | None:
    return None if row_id is msgspec.UNSET else str(row_id)


def _colons(body: bytes) -> int:
    """How many there are; of a long body counted in a tenth of the time that bytes take."""
    if len(body) < 4096:
        return body.count(b":")
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(":")))


def logged(named: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values, or lists of them, as the log keeps them: the very same where no text among them is long."""
    found = {name: [*map(as_logged, it)] if isinstance(it, list) else as_logged(it) for name, it in named.items()}
    return named if found == named else found


def logged_request(body: Mapping[str, Any]) -> bytes:
    """A request with the beginnings of its long texts; empty where it has none, and is logged as it came."""
    if columns := body.get("columns"):
        short = logged(columns)
        return b"" if short is columns else msgspec.json.encode({"columns": short})
    rows = [logged(row) for row in body["rows"]]
    return msgspec.json.encode({"rows": rows}) if any(map(is_not, rows, body["rows"])) else b""


def _plain(raw: msgspec.Raw) -> Any:
    try:
        return _anything.decode(raw)
    except _NO_JSON as problem:
        raise Refusal(400, str(problem)) from None


def length_of(columns: Mapping[Any, Sized]) -> int:
    """How many rows columns are. Refusal when they are not equally long."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        found = " and ".join(map(str, sorted(lengths)[:5])) or "none"
        raise Refusal(422, f"columns have one length, these have {found}")
    return lengths.pop()


def _value(column: Column) -> Any:
    """The type of one value."""
    low, high = column.bounds
    # A longer text is logged with its beginning, which the compiled reader has no time to look for.
    text = Annotated[str, msgspec.Meta(max_length=LOGGED_CHARACTERS)]
    kind: Any = text if column.type == CATEGORY else Annotated[float, msgspec.Meta(ge=low, le=high)]
    return kind if column.required else kind | None


def _field(name: str, kind: Any, column: Column) -> tuple[Any, ...]:
    return (name, kind) if column.required else (name, kind | None | msgspec.UnsetType, msgspec.UNSET)


def _count(rows: int) -> None:
    if not 0 < rows <= MAX_ROWS:
        raise Refusal(422, f"a request has 1 to {MAX_ROWS} rows, this one has {rows}")


def _all_of(fields: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that takes these fields of an object, as a tuple also when it is one."""
    getter: Callable[[Any], Any] = attrgetter(*fields)
    return getter if len(fields) > 1 else lambda row: (getter(row),)
