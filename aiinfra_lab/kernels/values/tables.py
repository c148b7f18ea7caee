"""Tables of pyarrow, Polars and pandas, as Arrow IPC streams."""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .form import Node
from .plain import of_zone, to_zone

if TYPE_CHECKING:
    from .packing import ValueWriter
    from .unpacking import ValueReader


class _Pieces(io.RawIOBase):
    """A file that keeps what is written to it, without a copy."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def write(self, piece: Any) -> int:
        self.pieces.append(piece)
        return memoryview(piece).nbytes

    def writable(self) -> bool:
        return True


def _stream_of(writer: ValueWriter, table: Any) -> int:
    """An Arrow table or batch as an IPC stream; its part."""
    import pyarrow as pa

    file = _Pieces()
    with pa.ipc.new_stream(pa.PythonFile(file, "w"), table.schema) as stream:
        if len(table) or isinstance(table, pa.RecordBatch):
            stream.write(table)
        else:  # of a table without rows it writes no batch, and so no categories
            stream.write(pa.record_batch([_empty(column) for column in table.columns], schema=table.schema))
    writer.needs.form("pyarrow")
    return writer.part(*file.pieces)


def _empty(column: Any) -> Any:
    """A column without rows as one piece."""
    import pyarrow as pa

    return column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)


def of_pyarrow(writer: ValueWriter, value: Any) -> Node | None:
    import pyarrow as pa

    try:
        if isinstance(value, pa.Table | pa.RecordBatch):
            return ["pyarrow", type(value).__name__, _stream_of(writer, value)]
        if isinstance(value, pa.ChunkedArray):
            part = _stream_of(writer, pa.table([value], ["0"]))  # which leaves out chunks that are empty
            return ["pyarrow", "ChunkedArray", part, [len(chunk) > 0 for chunk in value.chunks]]
        if isinstance(value, pa.Array):
            return ["pyarrow", "Array", _stream_of(writer, pa.record_batch([value], ["0"]))]
    except pa.ArrowException:
        return None
    return None


def to_pyarrow(reader: ValueReader, kind: str, part: int, filled: Sequence[bool] = ()) -> Any:
    import pyarrow as pa

    stream = pa.ipc.open_stream(pa.py_buffer(reader.parts[part]))
    found = stream.read_all() if kind in ("Table", "ChunkedArray") else stream.read_next_batch()
    if kind in ("Table", "RecordBatch"):
        return found
    column = found.column(0)
    if kind == "Array" or (filled and all(filled)):
        return column
    chunks = (chunk for chunk in column.chunks if len(chunk))
    empty = next((chunk for chunk in column.chunks if not len(chunk)), pa.nulls(0, column.type))
    return pa.chunked_array([next(chunks) if is_filled else empty for is_filled in filled], column.type)


def of_polars(writer: ValueWriter, value: Any) -> Node | None:
    import polars as pl

    if not isinstance(value, pl.DataFrame | pl.Series):
        return None
    frame = value.to_frame() if isinstance(value, pl.Series) else value
    if pl.Object in frame.schema.values():  # its stream would hold addresses
        return None
    file = io.BytesIO()
    try:
        frame.write_ipc_stream(file)
    except pl.exceptions.PolarsError:
        return None
    if any("Enum" in str(kind) for kind in frame.schema.values()):  # which other versions read as Categorical
        writer.needs.same("polars")
    writer.needs.form("polars")
    return ["polars", isinstance(value, pl.Series), writer.part(file.getbuffer())]


def to_polars(reader: ValueReader, is_series: bool, part: int) -> Any:
    import polars as pl

    frame = pl.read_ipc_stream(io.BytesIO(reader.parts[part]))
    return frame.to_series() if is_series else frame


def of_pandas(writer: ValueWriter, value: Any) -> Node | None:
    """Only what comes out of Arrow as it went in; None, for a pickle, for all else."""
    import pandas as pd

    if importlib.util.find_spec("pyarrow") is None or value.__class__ not in (pd.DataFrame, pd.Series):
        return None
    is_series = isinstance(value, pd.Series)
    frame = value.to_frame("0") if is_series else value.copy(deep=False)
    names = [value.name if is_series else frame.columns.name, frame.index.name]
    labels, rows = _labels(frame.columns), _range(frame.index)
    is_plain = {*map(type, names)} <= {str, int, type(None)} and not value.attrs and len(frame.columns)
    if not is_plain or labels is None or not value.flags.allows_duplicate_labels:
        return None
    frame.columns = [str(number) for number in range(len(frame.columns))]
    index, frame.index = frame.index, pd.RangeIndex(len(frame))
    if rows is None:
        if type(index) not in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex) or getattr(index, "freq", None):
            return None
        # With its type, or pandas makes a column of moments out of an index of objects.
        frame.insert(len(frame.columns), "rows", pd.Series(index, dtype=index.dtype))
    missing = {name: _missing(frame[name]) for name in frame.columns}
    if None in missing.values():
        return None
    zones = {name: zone for name in frame.columns if (zone := _zone(frame[name].dtype)) is not None}
    if False in zones.values() or (part := _frame_stream(writer, frame)) is None:
        return None
    writer.needs.form("pandas")
    if any(isinstance(zone, list) and zone[0] == "pytz" for zone in zones.values()):
        writer.needs.form("pytz")
    return ["pandas", is_series, labels, rows, names, missing, part, zones]


def _frame_stream(writer: ValueWriter, frame: Any) -> int | None:
    import pyarrow as pa

    try:
        return _stream_of(writer, pa.Table.from_pandas(frame, preserve_index=False))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _zone(kind: Any) -> Node:
    """The time zone of a column, which Arrow knows by its name only; None for none, `False` for one without a form."""
    import pandas as pd

    zone = kind.tz if isinstance(kind, pd.DatetimeTZDtype) else None
    if type(zone).__module__.partition(".")[0] == "pytz":
        return ["pytz", getattr(zone, "zone", None) or getattr(zone, "_minutes", 0)]
    return of_zone(zone)


def _to_zone(node: Node) -> Any:
    if not isinstance(node, list) or node[0] != "pytz":
        return to_zone(node)
    pytz = importlib.import_module("pytz")  # only who has zones of it needs it

    return pytz.timezone(node[1]) if isinstance(node[1], str) else pytz.FixedOffset(node[1])


def _range(index: Any) -> list[int] | None:
    import pandas as pd

    return [index.start, index.stop, index.step] if type(index) is pd.RangeIndex else None


def _labels(columns: Any) -> Node | None:
    if span := _range(columns):
        return span
    return [[*columns]] if columns.dtype == object and {*map(type, columns)} <= {str} else None


def _missing(column: Any) -> str | None:
    """What stands for a missing value in a column of text, or "" in any other; None for one that Arrow changes."""
    import numpy as np
    import pandas as pd

    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return "" if _is_exact(kind.categories) else None
    if kind.kind == "O" and isinstance(kind, np.dtype):
        others = [value for value in column if type(value) is not str]
        if all(value is None for value in others):
            return "none"
        return "nan" if all(type(value) is float and value != value for value in others) else None  # noqa: PLR0124
    is_number = str(kind) in ("bool", "float16", "float32", "float64") or re.fullmatch(r"u?int(8|16|32|64)", str(kind))
    is_time = re.fullmatch(r"(datetime64|timedelta64)\[(s|ms|us|ns)(, .+)?\]", str(kind))
    is_nullable = re.fullmatch(r"U?Int(8|16|32|64)|boolean", str(kind)) or kind == pd.StringDtype()
    return "" if is_number or is_time or is_nullable else None


def _is_exact(categories: Any) -> bool:
    """Whether an Arrow dictionary keeps them: it has no time zone, no nullable type, and objects of one kind only."""
    import numpy as np

    if categories.name is not None or not isinstance(kind := categories.dtype, np.dtype):
        return False
    return kind.kind != "O" or {*map(type, categories)} <= {str}


def to_pandas(
    reader: ValueReader,
    is_series: bool,
    labels: Node,
    rows: Node,
    names: list[Node],
    missing: dict[str, str],
    part: int,
    zones: dict[str, Node],
) -> Any:
    import pandas as pd

    frame = to_pyarrow(reader, "Table", part).to_pandas()
    for name, zone in zones.items():
        frame[name] = frame[name].dt.tz_convert(_to_zone(zone))
    for name, text in missing.items():
        if text:
            frame[name] = frame[name].astype(object)
        if text == "nan":
            frame[name] = frame[name].where(frame[name].notna(), float("nan"))
    if rows is None:
        column = frame.pop("rows")
        frame.index = pd.Index(column, dtype=column.dtype)
        frame.index.name = names[1]
    else:
        frame.index = pd.RangeIndex(*rows, name=names[1])
    if is_series:
        series = frame["0"]
        series.name = names[0]
        return series
    span = len(labels) == 3
    frame.columns = pd.RangeIndex(*labels, name=names[0]) if span else pd.Index(labels[0], dtype=object, name=names[0])
    return frame
