"""The types of a CSV's columns, decided over all rows and never by guessing from the first ones.

A column of numbers in which some line holds a text is an error, and one with leading zeros, or with numbers that are
too long for 64 bits, stays text.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Failed
from .lines import Shape, line_of

if TYPE_CHECKING:
    import polars as pl

MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
# In this order: the first type that all values have is taken, and whole numbers are also numbers.
KINDS = ("bool", "int64", "float64", "date", "timestamp[us]", "timestamp[us, UTC]")
_DAY, _SECOND = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f"
_FIRST = 1000


def types(path: Path, shape: Shape, text: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, type) of each column; those in `text` are text. Failed with the line when a column mixes types.

    What the first rows suggest is held against all rows, which is one test a column; where it does not hold, all
    tests are made.
    """
    frame = as_text(path, shape.separator, shape.rows)
    columns = [name for name in shape.header if name not in text]
    # All tests on all rows would read every value six times; most columns hold what their first rows suggest.
    first = _counted(frame.head(_FIRST), {name: _votes(name) for name in columns})
    guess = {name: _elected(first[name]) or "text" for name in columns}
    firm = _counted(frame, {name: _test(name, guess[name]) for name in columns})
    doubtful = [name for name in columns if not firm[name]["holds"]]
    votes = _counted(frame, {name: _votes(name) for name in doubtful}) if doubtful else {}
    for name in shape.header:
        kind = guess.get(name, "text") if name not in votes else _elected(votes[name])
        if kind is None:
            raise _mixed(path, shape, name, max(KINDS, key=votes[name].__getitem__))
        yield name, kind


def _counted(frame: pl.LazyFrame, tests: dict[str, pl.Expr]) -> dict[str, dict[str, int]]:
    counted = frame.select(test.alias(name) for name, test in tests.items()).collect()
    return {name: counted[name].struct.unnest().row(0, named=True) for name in tests}


def _elected(votes: dict[str, int]) -> str | None:
    """The type that all values have, text when most have none, None when most have one and some have not."""
    # One value like 007 makes the column an identifier, whatever the others are.
    if votes["n"] == 0 or votes["lossy"]:
        return "text"
    kind = next((kind for kind in KINDS if votes[kind] == votes["n"]), None)
    # Where most values are of one type, the rest are mistakes that the user must hear of; else it is text anyway.
    return kind or ("text" if max(votes[kind] for kind in KINDS) * 2 < votes["n"] else None)


def _votes(name: str) -> pl.Expr:
    """How many values of a column can be read as what."""
    import polars as pl

    read = [cast(name, kind, strict=False).count().alias(kind) for kind in KINDS]
    return pl.struct(_value(name).count().alias("n"), _lossy(name).sum().alias("lossy"), *read)


def _test(name: str, kind: str) -> pl.Expr:
    """Whether all values are of that type; for text, whether most begin with what neither number nor time does."""
    import polars as pl

    value = _value(name)
    if kind == "text":
        holds = value.str.contains(r"^[-+.0-9tTfF]").sum() * 2 < value.count()
    else:
        holds = cast(name, kind, strict=False).count() == value.count()
        # Of the first rows none may have had a leading zero.
        if kind in ("int64", "float64"):
            holds &= _lossy(name).sum() == 0
    return pl.struct(holds=holds)


def _lossy(name: str) -> pl.Expr:
    """Values that would lose something as a number: leading zeros, or digits beyond 64 bits."""
    import polars as pl

    value = _value(name)
    long = value.str.contains(r"^[+-]?\d{19,}$") & value.cast(pl.Int64, strict=False).is_null()
    return value.str.contains(r"^[+-]?0\d+$") | long


def as_text(path: Path, separator: str, rows: int) -> pl.LazyFrame:
    """Every column as text. The number of rows is given, since polars takes an empty last line for one."""
    import polars as pl

    return pl.scan_csv(path, separator=separator, infer_schema=False, encoding="utf8").head(rows)


def _value(name: str) -> pl.Expr:
    """The text of a column, trimmed, with what stands for a missing value as null."""
    import polars as pl

    trimmed = pl.col(name).str.strip_chars()
    return pl.when(trimmed.is_in(["", *MISSING])).then(None).otherwise(trimmed)


def _moment(value: pl.Expr) -> pl.Expr:
    # The %z of polars reads an offset, and no Z.
    return value.str.replace("T", " ", literal=True).str.replace("Z$", "+00:00")


def cast(name: str, kind: str, strict: bool = True) -> pl.Expr:
    """A text column as that type; what cannot be read is an error, or null when it is not strict."""
    import polars as pl

    value = _value(name)
    match kind:
        case "text":
            return pl.col(name)
        case "bool":
            lower = value.str.to_lowercase()
            return pl.when(lower.is_in(["true", "false"])).then(lower == "true").alias(name)
        case "date":
            return value.str.to_date(_DAY, strict=strict).alias(name)
        case "timestamp[us]":
            return _moment(value).str.to_datetime(_SECOND, time_unit="us", strict=strict).alias(name)
        case "timestamp[us, UTC]":
            zoned = _moment(value).str.to_datetime(_SECOND + "%z", time_unit="us", time_zone="UTC", strict=strict)
            return zoned.alias(name)
        case _:
            return value.cast(pl.Int64 if kind == "int64" else pl.Float64, strict=strict).alias(name)


def _mixed(path: Path, shape: Shape, name: str, kind: str) -> Failed:
    import polars as pl

    odd = pl.col("value").is_not_null() & pl.col("read").is_null()
    both = as_text(path, shape.separator, shape.rows).select(
        _value(name).alias("value"), cast(name, kind, strict=False).alias("read")
    )
    row, value, _ = both.with_row_index().filter(odd).head(1).collect().row(0)
    line = line_of(path, row, shape.separator)
    return Failed(
        f"column {name} of {path.name} holds {_PLAIN[kind]}, but line {line} says {value!r}",
        f"correct that line, or give `--text {shlex.quote(name)}` to take the whole column as text",
    )


_PLAIN = {
    "bool": "true and false",
    "int64": "numbers",
    "float64": "numbers",
    "date": "dates",
    "timestamp[us]": "times",
    "timestamp[us, UTC]": "times",
}
