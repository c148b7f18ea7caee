"""A version's answers to all rows of a table, computed here, and how they are shown."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import features
from ..errors import UsageProblem, did_you_mean
from ..features.opening import rows_of
from ..show import Card, Figure, Number, Result, RowHeader, Table, shown
from ..units import counted, show_duration
from ..uris import Uri

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ..train.inputs import Arrays
    from ..train.saved_model import SavedModel

# So many rows are in the runtime at a time: more are no faster, and need memory.
BATCH = 65_536
_MOST_SHOWN = 5
_MOST_COLUMNS = 4


@dataclass(frozen=True)
class BatchPrediction(Result):
    """What a version answered to rows. `.df()` and `.table()` have a row for each of them, in their order.

    columns: those of the table: `row_id` where the rows have one, and each output; of several labels' probabilities
    one for each, `NAME_probabilities.LABEL`. per_s: rows a second. into: the file that they were written to.
    """

    kind = "Batch prediction"

    uri: str
    rows: str
    count: int
    columns: tuple[str, ...]
    took_s: float
    into: str = ""
    answers: pl.DataFrame | None = field(default=None, repr=False, compare=False, metadata={"json": False})

    @property
    def per_s(self) -> float:
        """Rows a second."""
        return self.count / self.took_s if self.took_s else 0.0

    def table(self) -> pl.DataFrame:
        """The answers as a polars data frame."""
        assert self.answers is not None  # it is made with them
        return self.answers

    def df(self) -> pd.DataFrame:
        """The answers as a pandas data frame."""
        return self.table().to_pandas()

    def card(self) -> Card:
        names = self.columns[:_MOST_COLUMNS]
        head = self.table().head(_MOST_SHOWN).select(names).rows()
        # The last column has no number's edge to stand at.
        titles = [RowHeader(names[0]), *map(Number, names[1:-1]), *names[-1:]] if len(names) > 1 else [*names]
        more = f", {len(names)} of {len(self.columns)} columns" if len(names) < len(self.columns) else ""
        where = f" They are in {self.into}." if self.into else ""
        return Card(
            kind=self.kind,
            uri=self.uri,
            lead=f"**{counted(self.count, 'row')} answered** in {show_duration(self.took_s)}.{where}",
            facts=[("rows", self.rows)],
            figures=[Figure("rows a second", f"{self.per_s:,.0f}")],
            parts=[Table(tuple(titles), [tuple(map(_cell, row)) for row in head], f"first {len(head)} rows{more}")],
            next=["Next: `.df()` has them all" if not self.into else f"Next: `%data add NAME {self.into}`"],
        )


def predict(uri: str, folder: Path, rows: object, step: Callable[[str], None]) -> BatchPrediction:
    """The answers of the version in that folder. UsageProblem where the rows lack what it takes, BadRow for a bad one.

    step: says what it is at
    """
    from ..train.saved_model import SavedModel

    saved = SavedModel(folder, threads=0)
    called = rows_of(Uri.parse(uri).name)
    source = features.rows_for(rows, saved.columns, called) if saved.is_of_table else features.open_rows(rows, called)
    df = source.df()
    _refuse_lacking(uri, saved, source.uri, df.columns)
    began = time.monotonic()
    found = answered(saved, df, step)
    took_s = time.monotonic() - began
    return BatchPrediction(uri, str(source.uri), len(df), tuple(found.columns), took_s, answers=found)


def answered(saved: SavedModel, df: pd.DataFrame, step: Callable[[str], None]) -> pl.DataFrame:
    """What a model answers to a data frame, a row for each of its rows, with their `row_id` where they have one."""
    import polars as pl

    from ..features.contract import ROW_ID

    parts: list[Arrays] = []
    for start in range(0, len(df), BATCH):
        step(f"answered {start:,} of {len(df):,} rows")
        few = df.iloc[start : start + BATCH]
        parts.append(saved.signature.columns(saved.run(saved.inputs(few)), len(few)))
    names = (parts[0] if parts else saved.signature.columns({}, 0)).keys()
    found = pl.DataFrame([_series(name, [part[name] for part in parts]) for name in names])
    return found.insert_column(0, pl.Series(ROW_ID, df[ROW_ID].to_numpy())) if ROW_ID in df.columns else found


def _refuse_lacking(uri: str, saved: SavedModel, rows: str, have: Sequence[str]) -> None:
    needed = [item.name for item in saved.columns if item.required] if saved.is_of_table else saved.rows.names
    if lacking := next((name for name in needed if name not in have), ""):
        raise UsageProblem(
            f"{rows} has no column {lacking!r}, which {uri} reads", did_you_mean(lacking, map(str, have))
        )


def _series(name: str, parts: Sequence[Any]) -> pl.Series:
    import numpy as np
    import polars as pl

    return pl.Series(name, np.concatenate([np.asarray(part) for part in parts]) if parts else [])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return shown("score", value)
    if isinstance(value, list):
        return counted(len(value), "number")
    return textwrap.shorten(str(value), 60, placeholder=" …")


def written(found: BatchPrediction, into: Path) -> str:
    """Write the table to a new .parquet or .csv file; its path. UsageProblem for arrays, which no CSV can hold."""
    from ..data import tables

    arrays = [name for name, dtype in found.table().schema.items() if dtype.is_nested()]
    if into.suffix == ".csv" and arrays:
        raise UsageProblem(f"{arrays[0]} is an array in each row, which no .csv holds", f"--into {into.stem}.parquet")
    tables.write(found.table().lazy(), into)
    return str(into.absolute())
