"""Data frames as content: whatever library they come from, written as one parquet file, nothing guessed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Failed, UsageProblem

if TYPE_CHECKING:
    import polars as pl

_LIBRARIES = ("pandas", "polars", "pyarrow")


def is_frame(value: object) -> bool:
    """Whether it is an object of one of the libraries; imports none of them."""
    return type(value).__module__.partition(".")[0] in _LIBRARIES


def write_frame(frame: Any, path: Path) -> None:
    """Write it as parquet. Failed when a column mixes types or has no name of its own."""
    import polars as pl

    table = to_polars(frame)
    if not table.width:
        raise Failed("the data frame has no columns", "give it at least one")
    if odd := [name for name, dtype in table.schema.items() if dtype == pl.Object]:
        raise _mixed(odd[0])
    table.rechunk().write_parquet(path)


def to_polars(frame: Any) -> pl.DataFrame:
    """The same table for polars: a named index becomes columns, a nameless one is a row number and is left out."""
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if not hasattr(frame, "columns"):
        raise UsageProblem(f"a {type(frame).__name__} is no data frame", "make it one: series.to_frame()")
    if type(frame).__module__.startswith("pyarrow"):
        return pl.DataFrame(pl.from_arrow(frame))
    return _from_pandas(frame)


def _from_pandas(frame: Any) -> pl.DataFrame:
    import polars as pl

    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str) or names.count(name) > 1:
            what = "twice" if isinstance(name, str) else "with a name that is no text"
            raise Failed(f"the data frame has a column {name!r} {what}", "rename it: df.rename(columns=…)")
    for name in names:
        if frame[name].dtype == object:
            _check_objects(frame[name].dropna(), name)
    try:
        return pl.from_pandas(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as problem:
        raise Failed(
            f"the data frame cannot be stored: {problem}", "give its columns plain types: df.astype(…)"
        ) from problem


def _check_objects(values: Any, name: str) -> None:
    kinds = set(values.map(type))
    if len(kinds) > 1 and not all(issubclass(kind, int | float) and kind is not bool for kind in kinds):
        raise _mixed(name)


def _mixed(name: str) -> Failed:
    return Failed(f"column {name} mixes types", f"make it one type, e.g. df[{name!r}] = df[{name!r}].astype(str)")
