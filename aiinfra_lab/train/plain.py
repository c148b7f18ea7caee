"""A table to learn from that no feature set made: columns of data as they are, and which of them is the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import NotFound, UsageProblem, did_you_mean
from ..features.record import NO_TIME
from ..uris import Uri

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset


NO_PROMISE = (
    "Point-in-time correctness is not promised: the columns are taken as they are, and nothing proves that each value "
    "was known when its row was asked about."
)
"""What is said of a run, and of its model, whose rows no feature set made."""


def no_promise(table: TableColumns | None, is_timeless: bool) -> str:
    """What is said of a run whose rows were not joined as of their time; nothing of any other."""
    return NO_PROMISE if table else NO_TIME if is_timeless else ""


class TableColumns(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which columns of data are learned from. timestamp: the time of a row; empty where rows have none.

    left_out: those that are neither named nor of a kind that a model takes, as a time or a list.
    """

    label: tuple[str, ...]
    columns: tuple[str, ...]
    timestamp: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlainRows:
    """Rows of data as a training table. `label` is a text, or several of them."""

    source: Dataset
    table: TableColumns
    optional: tuple[str, ...] = ()
    features_uri: str = ""

    @property
    def uri(self) -> str:
        return self.source.uri

    @property
    def digest(self) -> str:
        return self.source.digest

    @property
    def columns(self) -> tuple[str, ...]:
        return self.table.columns

    @property
    def label(self) -> str | tuple[str, ...]:
        return self.table.label[0] if len(self.table.label) == 1 else self.table.label

    @property
    def timestamp(self) -> str:
        return self.table.timestamp

    def df(self) -> Any:
        """All of it as a pandas data frame."""
        return self.source.df()


def described(source: Any, label: Sequence[str], columns: Sequence[str], timestamp: str) -> TableColumns | None:
    """Which columns of those rows are learned from; None where no label is named: then the rows say it themselves.

    UsageProblem for rows of a feature set, which name theirs, and for columns that cannot be what they are named as;
    NotFound for one that there is not.
    """
    from ..features.contract import ROW_ID

    if not label:
        if columns or timestamp:
            raise UsageProblem("--columns and --timestamp say nothing without --label", "add --label COLUMN")
        return None
    if Uri.parse(source.uri).noun == "features":
        raise UsageProblem(
            f"{source.uri} says itself what its label is",
            "leave out --label, --columns and --timestamp; or give data, whose columns are taken as they are",
        )
    schema = source.scan().collect_schema()
    for name in (*label, *columns, *filter(None, (timestamp,))):
        if name not in schema:
            raise NotFound(f"{source.uri} has no column {name!r}", did_you_mean(name, [*schema]))
    _refuse_clash(label, columns, timestamp)
    _refuse_timeless(source.uri, timestamp, schema)
    others = [name for name in schema if name not in (*label, timestamp, ROW_ID)]
    taken = list(columns) or [name for name in others if _is_learnable(schema[name])]
    if not taken:
        raise UsageProblem(f"{source.uri} has no column to predict {', '.join(label)} from", "give data that has some")
    return TableColumns(tuple(label), tuple(taken), timestamp, tuple(name for name in others if name not in taken))


def _refuse_clash(label: Sequence[str], columns: Sequence[str], timestamp: str) -> None:
    named = [*label, *columns, *filter(None, (timestamp,))]
    if twice := next((name for name in named if named.count(name) > 1), ""):
        raise UsageProblem(
            f"{twice!r} is named twice", "name each column once, as the label, the timestamp or one to learn from"
        )


def _refuse_timeless(uri: str, timestamp: str, schema: Mapping[str, pl.DataType]) -> None:
    import polars as pl

    if not timestamp:
        return
    dtype = schema[timestamp]
    if not (isinstance(dtype, pl.Datetime | pl.Date) or dtype.is_numeric()):
        raise UsageProblem(
            f"{timestamp} of {uri} is {dtype}, by which rows have no order in time",
            "make it a time, such as `pd.to_datetime(…)`, or leave out --timestamp",
        )


def _is_learnable(dtype: pl.DataType) -> bool:
    import polars as pl

    return dtype.is_numeric() or isinstance(dtype, pl.String | pl.Boolean | pl.Categorical | pl.Enum)
