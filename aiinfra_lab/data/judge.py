"""Judging a version: its bytes, and of its tables the schema, types, missing values and duplicates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageProblem, did_you_mean
from ..units import counted, show_share
from .handle import Dataset
from .tables import DataTable, gaps, is_same_type, paired, type_name

if TYPE_CHECKING:
    import polars as pl

State = Literal["good", "bad", "cannot tell"]


@dataclass(frozen=True, slots=True)
class DataFinding:
    """One thing that was judged: where, what, how it stands, what was seen, and how to correct it."""

    where: str
    what: str
    state: State
    seen: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is asked of the tables: the columns that must name a row, and how much may be missing or twice."""

    key: tuple[str, ...] = ()
    max_missing: float | None = None
    max_duplicates: float = 0.0


def worst(findings: Sequence[DataFinding]) -> State:
    """The worst state among the findings; "cannot tell" when there are none."""
    states = {finding.state for finding in findings}
    if "bad" in states:
        return "bad"
    return "good" if states == {"good"} else "cannot tell"


def judge(data: Dataset, like: Dataset | None, bounds: Bounds) -> list[DataFinding]:
    """All findings about the tables. UsageProblem when no table has the key."""
    if not data.described:
        fix = "`%data check` judges parquet, CSV and JSON lines"
        return [DataFinding(data.uri, "tables", "cannot tell", "there is no table among its files", fix)]
    columns = {column for table in data.described for column in table.schema}
    if unknown := [column for column in bounds.key if column not in columns]:
        raise UsageProblem(f"no table has the key {unknown[0]!r}", did_you_mean(unknown[0], columns))
    findings = list(_schemas(data, like)) if like else []
    for table in data.described:
        findings += _table(data, table, bounds)
    return findings


def _schemas(data: Dataset, like: Dataset) -> Iterator[DataFinding]:
    now = {old.name: new for old, new in paired(like.described, data.described)}
    renew = f"bring the columns back, or compare with a version that has the new ones, as --like {data.uri} has"
    for table in like.described:
        new = now.get(table.name)
        if new is None:
            yield DataFinding(table.name, "schema", "bad", f"the table is gone since {like.uri}", renew)
        elif changes := _changes(table.schema, new.schema):
            yield DataFinding(new.name, "schema", "bad", f"against {like.uri}: {'; '.join(changes)}", renew)
        else:
            yield DataFinding(new.name, "schema", "good", f"as in {like.uri}")


def _changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    gone = [f"{column} is gone" for column in old if column not in new]
    came = [f"{column} is new" for column in new if column not in old]
    retyped = [
        f"{column} was {old[column]} and is {new[column]}"
        for column in new
        if column in old and not is_same_type(old[column], new[column])
    ]
    return gone + retyped + came


def _table(data: Dataset, table: DataTable, bounds: Bounds) -> Iterator[DataFinding]:
    if not table.rows:
        yield DataFinding(table.name, "rows", "cannot tell", "the table is empty", "add data that has rows")
        return
    frame = data.table(table.name)
    yield _types(table, frame)
    yield _missing(table.name, frame, bounds.max_missing)
    # In a version of several tables the key belongs to some of them; a table that has only a part of it is not meant.
    own = [column for column in bounds.key if column in table.schema]
    if not bounds.key or len(own) == len(bounds.key):
        yield _duplicates(table.name, frame, own, bounds.max_duplicates)
        # Rows without a key would count as duplicates of each other, or not at all: a finding of its own says so.
        if own:
            yield _nameless(table.name, frame, own)


def _types(table: DataTable, frame: pl.DataFrame) -> DataFinding:
    """Whether the columns are read as what was recorded, and each has a type at all."""
    # The types are read again, for a file may be read otherwise by another version of polars.
    now = {name: type_name(dtype) for name, dtype in frame.schema.items()}
    odd = [
        f"{name} is read as {now.get(name, 'nothing')}, recorded as {kind}"
        for name, kind in table.columns
        if not is_same_type(kind, now.get(name, ""))
    ]
    odd += [f"{name} has no type" for name, kind in table.columns if kind == "null"]
    if odd:
        return DataFinding(
            table.name, "types", "bad", "; ".join(odd[:5]), "write the table anew with one type a column"
        )
    return DataFinding(table.name, "types", "good", counted(len(now), "column"))


def _missing(where: str, frame: pl.DataFrame, limit: float | None) -> DataFinding:
    """A missing value is a null or a NaN. Without a limit, only a column that has no value at all is bad."""
    counts = frame.select(gaps(name, dtype) for name, dtype in frame.schema.items())
    shares = {name: count / frame.height for name, count in counts.row(0, named=True).items()}
    # A column that is wholly empty says nothing in any table; how much else may be missing depends on the use.
    over = {name: share for name, share in shares.items() if (share > limit if limit is not None else share == 1)}
    ordered = sorted(shares, key=lambda name: -shares[name])
    seen = ", ".join(f"{name} in {show_share(shares[name])}" for name in ordered[: min(5, len(over) or 1)])
    if not over:
        return DataFinding(where, "missing", "good", f"at most: {seen}")
    bound = f"more than {show_share(limit)} of the rows lack" if limit is not None else "no row has"
    # Rounded up, so that the share in the fix is one that passes.
    fix = f"fill or drop these columns, or allow it: --max-missing {math.ceil(shares[ordered[0]] * 100)}%"
    return DataFinding(where, "missing", "bad", f"{bound} a value: {seen}", fix)


def _duplicates(where: str, frame: pl.DataFrame, key: list[str], limit: float) -> DataFinding:
    wanted = frame.select(key) if key else frame
    # By hash: comparing rows of many columns needs several times the memory.
    twice = frame.height - int(wanted.hash_rows().n_unique())
    what = f"{'rows' if not key else 'values of ' + ' and '.join(key)}"
    if twice / frame.height <= limit:
        return DataFinding(where, "duplicates", "good", f"{twice:,} {what} twice")
    fix = f"drop them, or allow it: --max-duplicates {math.ceil(twice / frame.height * 100)}%"
    return DataFinding(where, "duplicates", "bad", f"{twice:,} of {frame.height:,} {what} were there before", fix)


def _nameless(where: str, frame: pl.DataFrame, key: list[str]) -> DataFinding:
    import polars as pl

    missing: Any = frame.select(pl.any_horizontal(pl.col(key).is_null()).sum()).item()
    state: State = "bad" if missing else "good"
    fix = "give every row its key" if missing else ""
    return DataFinding(where, "key", state, f"{counted(int(missing), 'row')} without {' and '.join(key)}", fix)
