"""Data frames as content: whatever library they come from, written as one parquet file, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..errors import Failed, UsageProblem

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_LIBRARIES = ("pandas", "polars", "pyarrow")
# In place of an object of a column.
_COMES_BACK_AS: dict[type, str] = {
    date: "a time, of its midnight",
    UUID: "its 16 bytes",
    list: "an array",
    tuple: "an array",
    set: "an array",
    frozenset: "an array",
}


def is_frame(value: object) -> bool:
    """Whether it is an object of one of the libraries; imports none of them."""
    return type(value).__module__.partition(".")[0] in _LIBRARIES


def write_frame(frame: Any, path: Path) -> str:
    """Write it as parquet; what of it the file does not keep. Failed when a column mixes types or has no name."""
    import polars as pl

    table = to_polars(frame)
    if not table.width:
        raise Failed("the data frame has no columns", "give it at least one")
    if odd := [name for name, dtype in table.schema.items() if dtype == pl.Object]:
        fix = f"df = df.with_columns(pl.col({odd[0]!r}).map_elements(str, return_dtype=pl.String))"
        raise Failed(f"column {odd[0]} mixes types", f"make it one type, e.g. {fix}")
    # In one chunk, so that the same rows give the same bytes, and so no new version.
    table.rechunk().write_parquet(path)
    return "; ".join(_not_kept(frame))


def to_pandas(table: pl.DataFrame) -> Any:
    """The table for pandas. Whole numbers and truth values with gaps, and fixed categories, stay what they are."""
    import polars as pl

    frame = table.to_pandas()
    for column in table:
        if isinstance(column.dtype, pl.Enum):
            frame[column.name] = frame[column.name].cat.as_ordered()
        elif isinstance(column.dtype, pl.Categorical):
            # As pandas makes them: else what else this process has read would decide their order, and so their codes.
            categories = frame[column.name].cat
            frame[column.name] = categories.reorder_categories(sorted(categories.categories))
        # pandas' own types of these have no gaps: numbers would become floats, which merge long ids into one.
        elif column.null_count() and (column.dtype.is_integer() or column.dtype == pl.Boolean):
            frame[column.name] = _with_gaps(column)
    return frame


def _with_gaps(column: pl.Series) -> Any:
    import pandas as pd

    # pandas calls them as polars does, but for truth values: Int64, UInt8, boolean.
    dtype = pd.api.types.pandas_dtype("boolean" if str(column.dtype) == "Boolean" else str(column.dtype))
    return column.to_arrow().to_pandas(types_mapper=lambda _: dtype)


def to_polars(frame: Any) -> pl.DataFrame:
    """The same table for polars: a named index becomes columns; a nameless one that only counts the rows is left out.

    Failed when it holds what polars cannot hold, has a nameless index that says more, or is lazy and fails now.
    """
    import polars as pl

    try:
        return _to_polars(frame)
    except (TypeError, ValueError, OverflowError, NotImplementedError, pl.exceptions.PolarsError) as problem:
        first = str(problem).strip().partition("\n")[0]
        raise Failed(
            f"the data frame cannot be stored: {first}", "give it columns of plain types, each with a name of its own"
        ) from problem


def _to_polars(frame: Any) -> pl.DataFrame:
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        return _collected(frame)
    if isinstance(frame, pl.DataFrame):
        return frame
    if not hasattr(frame, "columns"):
        raise UsageProblem(
            f"an object of type {type(frame).__name__} is no data frame",
            "make it one, as series.to_frame() does of a series",
        )
    if type(frame).__module__.startswith("pyarrow"):
        _refuse_offsets(
            frame.schema,
            "df = df.set_column(df.schema.get_field_index({0!r}), {0!r}, df[{0!r}].cast(pa.timestamp({1!r}, 'UTC')))",
        )
        return pl.DataFrame(pl.from_arrow(frame))
    return _from_pandas(frame)


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    import polars as pl

    try:
        return frame.collect()
    except pl.exceptions.PolarsError as problem:
        first = str(problem).strip().partition("\n")[0]
        raise Failed(f"the lazy frame cannot be computed: {first}", "correct it until .collect() works") from problem


def _from_pandas(frame: Any) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    own = {*frame.columns}
    frame = _with_index(frame)
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            fix = "make them texts: df.columns = [str(name) for name in df.columns]"
            raise Failed(f"the data frame has a column {name!r} with a name that is no text", fix)
        if names.count(name) > 1:
            # `rename` would rename both.
            fix = "number them: df.columns = [f'{name}_{place}' for place, name in enumerate(df.columns)]"
            raise Failed(f"the data frame has a column {name!r} twice", fix)
    for name in names:
        # Only there can values of several types be; polars would turn them all into texts, or fail without the name.
        if frame[name].dtype == object:
            _check_objects(frame[name].dropna(), name)
    for name in filter(lambda name: _may_be_times(frame[name]), names):
        fix = "df[{0!r}] = pd.to_datetime(df[{0!r}], utc=True)"
        fix = "df = df.reset_index(); " * (name not in own) + fix
        _refuse_offsets(pa.Schema.from_pandas(frame[[name]], preserve_index=False), fix)
    ordered = {name: pl.Enum(frame[name].cat.categories) for name in names if _is_ordered(frame[name].dtype)}
    return pl.from_pandas(frame).cast(ordered)


def _with_index(frame: Any) -> Any:
    """The frame with its index as columns, or without one that only counts its rows."""
    import pandas as pd

    if any(name is not None for name in frame.index.names):
        _check_index_names([name for name in frame.index.names if name is not None], frame.columns)
        return frame.reset_index()
    if not frame.index.equals(pd.RangeIndex(len(frame))):
        # What is left of a larger frame keeps its numbers there, and other values are data: neither goes unnoticed.
        levels = range(1, frame.index.nlevels + 1)
        names = [f"id_{level}" for level in levels] if frame.index.nlevels > 1 else "id"
        raise Failed(
            "the data frame has an index without a name that is more than a count of its rows",
            f"keep it as a column with df.rename_axis({names!r}), or drop it with df.reset_index(drop=True)",
        )
    return frame


def _check_index_names(names: Sequence[Any], columns: Collection[Any]) -> None:
    if odd := [name for name in names if not isinstance(name, str)]:
        fix = "make them texts: df.index.names = [None if name is None else str(name) for name in df.index.names]"
        raise Failed(f"the data frame has an index {odd[0]!r} with a name that is no text", fix)
    if len({*names}) < len(names):
        fix = "number them: df.index.names = [f'{name}_{place}' for place, name in enumerate(df.index.names)]"
        raise Failed(f"the data frame has indexes of the same name: {', '.join(names)}", fix)
    if taken := [name for name in names if name in columns]:
        what = f"the data frame has an index and a column of the name {taken[0]!r}"
        raise Failed(what, f"rename the column: df = df.rename(columns={{{taken[0]!r}: {taken[0] + '_2'!r}}})")


def _may_be_times(column: Any) -> bool:
    """Whether it may hold times with a zone; cheap, for a frame may have hundreds of columns."""
    dtype = getattr(column.dtype, "categories", column).dtype
    if dtype.kind != "O":
        return hasattr(dtype, "tz") or "tz=" in str(dtype)
    first = column.first_valid_index()
    return first is not None and isinstance(column[first], datetime)


def _refuse_offsets(schema: pa.Schema, fix: str) -> None:
    """Failed where a column has times of a zone without a name, such as +05:30, which no table of ours can hold.

    fix: the code that makes them times of UTC, with {0} for the name and {1} for their unit
    """
    import polars as pl
    import pyarrow as pa

    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if not pa.types.is_timestamp(kind) or kind.tz is None:
            continue
        try:
            pl.from_arrow(pa.array([], kind))
        except pl.exceptions.PolarsError as problem:
            what = f"column {field.name!r} holds times of the zone {kind.tz}, which has no name"
            raise Failed(what, f"make them times of UTC: {fix.format(field.name, kind.unit)}") from problem


def _is_ordered(dtype: Any) -> bool:
    """Whether it is pandas' type of ordered categories, and those are texts: no others can be stored."""
    return bool(getattr(dtype, "ordered", False)) and _are_texts(dtype.categories)


def _are_texts(categories: Any) -> bool:
    return all(isinstance(category, str) for category in categories)


def _not_kept(frame: Any) -> Iterator[str]:
    """What a pandas data frame has and its table does not, a sentence a column."""
    if type(frame).__module__.partition(".")[0] != "pandas":
        return
    names = frame.index.names
    if any(name is not None for name in names):
        yield from (
            f"the index without a name is the column level_{place}" for place, name in enumerate(names) if name is None
        )
    for name, column in frame.items():
        if (categories := getattr(column.dtype, "categories", None)) is not None:
            yield from _categories_not_kept(column, categories)
        elif str(column.dtype).endswith("[pyarrow]"):
            yield f"column {name} comes back as pandas' own type, and not as {column.dtype}"
        elif str(column.dtype).startswith("datetime64[s"):
            yield f"column {name} comes back in milliseconds, and not in seconds"
        elif column.dtype == object and len(held := column.dropna()):
            kind = type(held.iloc[0])
            if back := _COMES_BACK_AS.get(kind):
                yield f"in column {name} each {kind.__name__} comes back as {back}"


def _categories_not_kept(column: Any, categories: Any) -> Iterator[str]:
    if _is_ordered(column.dtype):
        return
    if not _are_texts(categories):
        yield f"column {column.name} is stored as plain values: only texts can be categories"
    elif len(column.cat.remove_unused_categories().cat.categories) < len(categories):
        yield f"column {column.name} keeps only the categories that a row has: ordered ones are kept whole"
    elif not categories.is_monotonic_increasing:
        yield f"column {column.name} keeps its categories, but sorted: ordered ones are kept as they are"


def _check_objects(values: Any, name: str) -> None:
    kinds = set(values.map(type))
    if int in kinds and any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        what = f"column {name} holds whole numbers of more than 64 bits"
        column = f"df[{name!r}]"
        as_floats = "or by .astype(float) as floats, which keep 15 digits"
        fix = f"write them as texts, {as_floats}: {column} = {column}.astype(str)"
        raise Failed(what, fix)
    # Whole numbers among floats are what a missing value makes of them; a truth value among numbers is a mistake.
    if len(kinds) > 1 and not all(issubclass(kind, int | float) and kind is not bool for kind in kinds):
        raise _mixed(name)


def _mixed(name: str) -> Failed:
    return Failed(f"column {name} mixes types", f"make it one type, e.g. df[{name!r}] = df[{name!r}].astype(str)")
