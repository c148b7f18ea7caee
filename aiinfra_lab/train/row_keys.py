"""Rows found again by their values: the same key for the same values, however a version of the data has written them.

A table goes through pandas on its way into a hold-out, and the next version of the data may come from another file:
dates become times, truth values numbers, numbers texts. None of that is another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

_BETWEEN = "\x1f"


def keys(tables: Sequence[pl.DataFrame], names: Sequence[str]) -> list[NDArray[Any]]:
    """A number for each row of each table, made of these columns, which all of them have."""
    import polars as pl

    # As coarse as the coarsest has them: 0.1 is another number in 32 bits than in 64.
    coarse = {name for name in names if any(_is_coarse(table.schema[name]) for table in tables)}

    def key(table: pl.DataFrame) -> NDArray[Any]:
        columns = (_hashed(pl.col(name), table.schema[name], name in coarse).alias(name) for name in names)
        return table.select(columns).hash_rows(seed=0).to_numpy()

    return [key(table) for table in tables]


def _is_coarse(dtype: pl.DataType) -> bool:
    import polars as pl

    return _is_coarse(dtype.inner) if isinstance(dtype, pl.List | pl.Array) else dtype == pl.Float32  # type: ignore[arg-type]


def _hashed(value: pl.Expr, dtype: pl.DataType, is_coarse: bool) -> pl.Expr:
    """A number of 64 bits for each value, 0 for one that is missing."""
    import polars as pl

    number, text = _number(value, dtype), _text(value, dtype, is_coarse)
    if is_coarse:
        number = number.cast(pl.Float32).cast(pl.Float64)
    number = number + 0.0  # which makes 0 of -0
    return (
        pl.when(number.is_nan())
        .then(pl.lit(0, pl.UInt64))
        .when(number.is_not_null())
        .then(number.hash())
        .when(text.is_not_null())
        .then(text.hash())
        .otherwise(pl.lit(0, pl.UInt64))
    )


def _number(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The value as a number where it is one: of a time its microseconds since 1970, also where a text says it."""
    import polars as pl

    if dtype.is_numeric() or dtype == pl.Boolean:
        return value.cast(pl.Float64)
    if isinstance(dtype, pl.Date | pl.Datetime):
        # A moment is one whatever its zone, and one without a zone is that of UTC.
        return value.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64)
    if isinstance(dtype, pl.Duration):
        return value.dt.total_microseconds().cast(pl.Float64)
    if isinstance(dtype, pl.Time):
        return value.cast(pl.Int64).cast(pl.Float64)
    if _is_text(dtype):
        text = value.cast(pl.String).str.strip_chars()
        truths = {"false": 0.0, "true": 1.0}
        truth = text.str.to_lowercase().replace_strict(truths, default=None, return_dtype=pl.Float64)
        moment = text.str.replace("T", " ").str.replace(r"(Z|\+00:?00)$", "")
        moment = moment.str.replace(r"^(\d+-\d+-\d+)$", "$1 00:00:00")
        time = moment.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
        return pl.coalesce(text.cast(pl.Float64, strict=False), truth, time.cast(pl.Int64).cast(pl.Float64))
    return pl.lit(None, pl.Float64)


def _text(value: pl.Expr, dtype: pl.DataType, is_coarse: bool) -> pl.Expr:
    import polars as pl

    if _is_text(dtype):
        return value.cast(pl.String)
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("hex")
    if isinstance(dtype, pl.Array):
        return _text(value.arr.to_list(), pl.List(dtype.inner), is_coarse)
    if isinstance(dtype, pl.List):
        return value.list.eval(_hashed(pl.element(), dtype.inner, is_coarse).cast(pl.String)).list.join(_BETWEEN)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        fields = [
            _hashed(value.struct.field(one.name), one.dtype, is_coarse).cast(pl.String)  # type: ignore[arg-type]
            for one in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.concat_str(fields, separator=_BETWEEN))
    return pl.lit(None, pl.String)


def _is_text(dtype: pl.DataType) -> bool:
    import polars as pl

    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
