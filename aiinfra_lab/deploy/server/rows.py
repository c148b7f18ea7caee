"""A request's body, read by the model's own columns: compiled once for each version, and every refusal names its field.

The compiled reader takes the common case. What it refuses is read again by the contract itself, which decides: it
allows the further spellings of a category, and otherwise says which row and column is wrong and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from ...features.contract import CATEGORY, ROW_ID, BadRow, Column, Columns
from ...train.inputs import RowInputs, TableInputs
from ...train.texts import as_logged
from .duplicates import repeated_name

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
    """The outside of a request: its rows, or the same as columns. They are read once it is known who answers."""

    rows: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    columns: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    key: str | int | None = None


@dataclass(slots=True)
class Parsed:
    """Rows that may be predicted: values in the contract's order, the ids that came along, and the inputs to log.

    columns: what is logged in place of the inputs, on one line, when the rows came as columns. names: how many names of
    columns the request has at most, where none stands twice in one object.
    """

    values: list[tuple[Any, ...]]
    ids: list[str | None]
    inputs: Sequence[Any]
    columns: bytes = b""
    names: int = 0


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
        raise Refusal(422, f"{problem}; {_FORMS}") from None
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
        if self._table and (found := self._table.request(body)):
            parsed, names = found
        else:
            envelope = open_envelope(body)
            parsed = self._read(envelope)
            names = 1 + (envelope.key is not None)
        # Looking for a name that stands twice costs more than reading: only where there are more colons than names.
        if body.count(b":") > parsed.names + names and (name := repeated_name(body)) is not None:
            # Which of the two is meant cannot be known.
            raise Refusal(422, f"the name {name[:100]!r} stands twice in one object")
        return parsed

    def _read(self, envelope: Envelope) -> Parsed:
        """What the compiled reader does not take, or says too little of."""
        if isinstance(envelope.columns, msgspec.Raw):
            return self._read_columns(envelope.columns)
        assert isinstance(envelope.rows, msgspec.Raw)  # `open_envelope` says that one of them is there
        return self._read_rows(envelope.rows)

    def _read_rows(self, raw: msgspec.Raw) -> Parsed:
        rows = _plain(raw)
        if not isinstance(rows, list):
            raise Refusal(422, "rows is a list of objects")
        return self._checked(rows)

    def _read_columns(self, raw: msgspec.Raw) -> Parsed:
        found: Parsed | None = None
        if self._table:
            try:
                found = self._table.columns(raw)
            except msgspec.ValidationError:
                pass
            except _NO_JSON as problem:
                raise Refusal(400, str(problem)) from None
        if found is None:
            columns = _plain(raw)
            if not isinstance(columns, dict) or not all(isinstance(values, list) for values in columns.values()):
                raise Refusal(422, "columns is an object: column → list of its values")
            length = _length(columns)
            _count(range(length))
            found = self._checked([{name: columns[name][at] for name in columns} for at in range(length)])
            found.inputs, found.names = (), len(columns)
        text = bytes(raw)
        # The log has one line for each request, and JSON may be written on several; and of long texts the beginnings.
        if self._table is None or b"\n" in text or b"\r" in text:
            plain: dict[str, list[Any]] = _plain(raw)
            text = msgspec.json.encode({name: [as_logged(value) for value in values] for name, values in plain.items()})
        found.columns = text
        return found

    def _checked(self, rows: list[Any]) -> Parsed:
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
        names = sum(map(len, rows))
        ids = [None if (row_id := row.pop(ROW_ID, None)) is None else str(row_id) for row in rows]
        return Parsed(values, ids, rows, names=names)


class _Compiled:
    """Reads the rows of a table in one pass of the decoder. ValidationError for what the contract must look at."""

    def __init__(self, columns: Columns) -> None:
        # A column's name may be no Python identifier: the fields are numbered, and renamed in JSON only.
        fields = [(f"c{at}", *_field(item)) for at, item in enumerate(columns)]
        fields.sort(key=len)  # what is required has no default and stands first
        names = {f"c{at}": item.name for at, item in enumerate(columns)}
        rename = {**names, "row_id": ROW_ID}
        one, more = str | int | msgspec.UnsetType, list[str | int] | msgspec.UnsetType
        row: Any = msgspec.defstruct(
            "Row", [*fields, ("row_id", one, msgspec.UNSET)], rename=rename, forbid_unknown_fields=True
        )
        lists = [(name, _list_of(kind, is_optional=bool(default)), *default) for name, kind, *default in fields]
        table = msgspec.defstruct(
            "Table", [*lists, ("row_id", more, msgspec.UNSET)], rename=rename, forbid_unknown_fields=True
        )
        request = msgspec.defstruct(
            "Rows", [("rows", list[row]), ("key", str | int | None, None)], forbid_unknown_fields=True
        )
        self._request = msgspec.json.Decoder(request).decode
        self._columns = msgspec.json.Decoder(table).decode
        self._values = _all_of(list(names))

    def request(self, body: bytes) -> tuple[Parsed, int] | None:
        """Of a whole request with rows, and how many names stand around them; None for what must be looked at again."""
        try:
            found: Any = self._request(body)
        except (msgspec.ValidationError, *_NO_JSON):
            return None
        rows, ids = found.rows, []
        _count(rows)
        for row in rows:
            ids.append(None if row.row_id is msgspec.UNSET else str(row.row_id))
            row.row_id = msgspec.UNSET  # it has a place of its own in the log
        values = [self._values(row) for row in rows]
        names = sum(len(row) - row.count(None) for row in values) + len(ids) - ids.count(None)
        # One that is null may have been left out. With its colon: a text that says so brings a colon of its own.
        names += body.count(b":null") + body.count(b": null")
        return Parsed(values, ids, rows, names=names), 1 + (found.key is not None)

    def columns(self, raw: msgspec.Raw) -> Parsed:
        """Of an object of lists."""
        table: Any = self._columns(raw)
        columns = self._values(table)
        given = {at: column for at, column in enumerate(columns) if column is not None}
        ids = None if table.row_id is msgspec.UNSET else table.row_id
        length = _length(given if ids is None else {**given, ROW_ID: ids})
        _count(range(length))
        values = list(zip(*(column or [None] * length for column in columns), strict=True))
        names = len(given) + (ids is not None)
        return Parsed(values, [None] * length if ids is None else [str(row_id) for row_id in ids], (), names=names)


def _list_of(kind: Any, *, is_optional: bool) -> Any:
    return list[kind] | None if is_optional else list[kind]


def _plain(raw: msgspec.Raw) -> Any:
    try:
        return _anything.decode(raw)
    except _NO_JSON as problem:
        raise Refusal(400, str(problem)) from None


def _length(columns: Mapping[Any, Sequence[object]]) -> int:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        found = " and ".join(map(str, sorted(lengths)[:5])) or "none"
        raise Refusal(422, f"columns have one length, these have {found}")
    return lengths.pop()


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
