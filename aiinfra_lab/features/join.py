"""The point-in-time join: for each row, what was known of its entity at the row's time, and nothing later. Where rows
have no time, it is by the entity alone.

Every row stays, in its order. This file knows frames; it knows neither Feast nor where tables come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import Failed, NotFound, did_you_mean

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from .views import View

# What a feature can be, and the polars type that carries it.
DTYPES = {"number": "Float64", "integer": "Int64", "text": "String", "truth": "Boolean"}
TYPE_NAMES = {"number": "a number", "integer": "a whole number", "text": "a text", "truth": "true or false"}
VERSION = 1  # of the join's meaning: stored answers of another one are not taken
AT, TIME, ROW = "__at", "__time", "__row"
ROW_ID = "row_id"


@dataclass(frozen=True)
class Events:
    """What a view returned. The names are the frame's columns; timestamp is empty where it has a row an entity."""

    view: str
    entity: tuple[str, ...]
    timestamp: str
    known_at: str | None
    ttl_s: float | None
    features: tuple[str, ...]
    frame: pl.DataFrame

    def typed(self, what: str) -> Events:
        """The same with keys, times and features in the few types that they can have, and nothing else."""
        frame = self.frame.select(
            *(as_key(self.frame, name, what) for name in self.entity),
            *(as_time(self.frame, name, what, later=True) for name in (self.timestamp, self.known_at) if name),
            *(as_feature(self.frame, name, what) for name in self.features),
        )
        return replace(self, frame=frame if self.timestamp else _one_an_entity(frame, self.entity, what))

    def known(self) -> pl.DataFrame:
        """Keys, TIME (since when it holds), AT (since when it is known) and features, in order of AT.

        An event that was old news when it became known is left out. Among events of one entity and one time that
        which became known last counts, then the last by the features' values: the order of a file never matters.
        """
        import polars as pl

        learned = self.known_at or self.timestamp
        at = pl.max_horizontal(self.timestamp, learned).alias(AT)
        frame = self.frame.drop_nulls([*self.entity, self.timestamp, learned])
        # By the values last, so that a tie does not depend on the order in a file.
        frame = frame.sort(at, self.timestamp, learned, *self.entity, *self.features)
        frame = frame.select(*self.entity, pl.col(self.timestamp).alias(TIME), at, *self.features)
        if self.known_at:
            frame = frame.filter(pl.col(TIME) == pl.col(TIME).cum_max().over(*self.entity))
        return frame

    def stored(self, until: datetime) -> pl.DataFrame:
        """The frame for a store that keeps times less well: the events' time once more, as a whole number.

        Where there is none, it is when the values were there, `until`, in a column that `stored_at` names.
        """
        import polars as pl

        name = stored_at(self.view, self.timestamp)
        time = pl.col(name) if self.timestamp else pl.lit(until).cast(pl.Datetime("us", "UTC"))
        return self.frame.with_columns(time.alias(name), time.dt.epoch("us").alias(time_column(self.view)))

    def latest(self, at: datetime | None) -> pl.DataFrame:
        """The one event of each entity that counts at that time (None: of all times)."""
        import polars as pl

        frame = self.known() if at is None else self.known().filter(pl.col(AT) <= at)
        return frame.group_by(*self.entity, maintain_order=True).last()


def time_column(view: str) -> str:
    """What the time as a whole number is called in `Events.stored`."""
    return f"{view}__time"


def stored_at(view: str, timestamp: str) -> str:
    """The column of times in `Events.stored`."""
    return timestamp or f"{view}__at"


def prepare(view: View, frame: pl.DataFrame) -> Events:
    """A view's answer as events; Failed when a column has a type that nothing can be learned from."""
    given = Events(
        view.name, view.entity, view.timestamp, view.known_at, view.ttl_s, view.features(frame.columns), frame
    )
    return given.typed(f"view {view.name}")


def joined(rows: pl.DataFrame, at: str, events: Events) -> pl.DataFrame:
    """`point_in_time` where there are times, else `by_entity`."""
    return point_in_time(rows, at, events) if events.timestamp else by_entity(rows, events)


def by_entity(rows: pl.DataFrame, events: Events) -> pl.DataFrame:
    """The features of each row's entity: as many rows, in the same order. NotFound when the rows lack a key."""
    left = rows.select(as_key(rows, name, "the rows") for name in events.entity)
    right = events.frame
    left = left.with_columns(_same_type(left, right, name, events.view) for name in events.entity)
    return left.join(right, on=list(events.entity), how="left", maintain_order="left").select(events.features)


def point_in_time(rows: pl.DataFrame, at: str, events: Events) -> pl.DataFrame:
    """The events' features as they were known at each row's time `at`: as many rows, in the same order.

    A value is missing where the entity or the time of the row is, where nothing was known yet, and where the newest
    value is older than the time to live. NotFound when the rows lack a key.
    """
    import polars as pl

    what = "the rows"
    right = events.known()
    left = rows.select(*(as_key(rows, name, what) for name in events.entity), as_time(rows, at, what).alias(AT))
    left = left.with_columns(_same_type(left, right, name, events.view) for name in events.entity)
    joined = (
        left.with_row_index(ROW)
        # The join needs rows in order of time; ROW brings them back into the order in which they came.
        .sort(AT)
        # polars cannot check the order within groups, and would only warn of that.
        .join_asof(right.drop(AT).with_columns(right[AT]), on=AT, by=list(events.entity), check_sortedness=False)
    )
    fresh = pl.col(TIME).is_not_null()
    # Here and not in `known`: how old a value is depends on the row that asks.
    if events.ttl_s is not None:
        fresh &= pl.col(AT) - pl.col(TIME) <= pl.duration(microseconds=round(events.ttl_s * 1e6))
    return joined.sort(ROW).select(pl.when(fresh).then(pl.col(name)).alias(name) for name in events.features)


def _one_an_entity(frame: pl.DataFrame, entity: Sequence[str], what: str) -> pl.DataFrame:
    """Once what is there twice; Failed where an entity has rows that differ: nothing says which of them counts."""
    found = frame.drop_nulls(entity).unique(maintain_order=True)
    if (twice := found.filter(found.select(*entity).is_duplicated())).height:
        which = ", ".join(f"{name}={twice[name][0]}" for name in entity)
        several = twice.join(twice.head(1).select(*entity), on=list(entity), how="semi").height
        raise Failed(
            f"{what} has {several} rows of {which}, and no time that says which of them counts",
            f"return one of each: `.group_by({', '.join(map(repr, entity))}).agg(…)`; or name another key in `entity`",
        )
    return found


def as_key(frame: pl.DataFrame, name: str, what: str) -> pl.Expr:
    """An entity's column as text, whole numbers or truth values."""
    import polars as pl

    if need(frame, name, what).is_float():
        # pandas makes whole numbers with a gap floats; 7.5 identifies nothing.
        if not (frame[name].fill_nan(None).drop_nulls() % 1 == 0).all():
            raise Failed(f"{name} of {what} is a key and holds fractions", "use a text or a whole number as key")
        return pl.col(name).fill_nan(None).cast(pl.Int64)
    return _plain(frame, name, what)


def as_feature(frame: pl.DataFrame, name: str, what: str) -> pl.Expr:
    """A feature's column as text, whole numbers, floats or truth values; not-a-number is missing."""
    import polars as pl

    dtype = need(frame, name, what)
    if dtype.is_float() or dtype.is_decimal() or dtype == pl.Null:
        column = pl.col(name).cast(pl.Float64)
        return column.fill_nan(None)
    return _plain(frame, name, what)


def as_kind(frame: pl.DataFrame, name: str, kind: str, what: str) -> pl.Expr:
    """A feature's column as the type it had when its set was added. Failed when something would be lost by it."""
    import polars as pl

    values = frame.select(as_feature(frame, name, what))[name]
    given = plain_types(values.to_frame(), [name])[name]
    # pandas makes whole numbers with a gap floats, and they fit as long as none has a fraction.
    whole = (given, kind) == ("number", "integer") and (values.drop_nulls() % 1 == 0).all()
    if given != kind and not whole and (given, kind) != ("integer", "number") and values.null_count() < len(values):
        raise Failed(
            f"{name} of {what} is {given}, and was {kind} when the feature set was added",
            "cast it, or add the feature set again: it becomes a new version",
        )
    return as_feature(frame, name, what).cast(getattr(pl, DTYPES[kind]))


def as_time(frame: pl.DataFrame, name: str, what: str, *, later: bool = False) -> pl.Expr:
    """A column of times in UTC to the microsecond; what is finer is cut off, or with `later` rounded up.

    So an event never counts for a row that was nanoseconds before it. A time without a zone is UTC.
    """
    import polars as pl

    dtype = need(frame, name, what)
    column = pl.col(name)
    # A date is its first moment in UTC, as if it had been written as a time.
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us", "UTC"))
    if not isinstance(dtype, pl.Datetime):
        raise Failed(
            f"{name} of {what} must be a time, and is {_type_shown(dtype)}",
            f"make it a time: {_to_time(name, dtype)}",
        )
    column = column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
    if dtype.time_unit == "ns" and later:
        column = column + pl.duration(nanoseconds=999)
    return column.cast(pl.Datetime("us", "UTC"))


def _to_time(name: str, dtype: pl.DataType) -> str:
    import polars as pl

    if dtype == pl.String:
        return f"pl.col({name!r}).str.to_datetime()"
    if dtype.is_integer():
        return f"pl.from_epoch(pl.col({name!r}), time_unit='s'), or 'ms', 'us', 'ns', whichever they count"
    return "take a column of times"


def need(frame: pl.DataFrame, name: str, what: str) -> pl.DataType:
    """The type of a column, or NotFound with the nearest name."""
    if name not in frame.columns:
        raise NotFound(f"there is no column {name!r} in {what}", did_you_mean(name, frame.columns))
    return frame.schema[name]


def once(names: Sequence[str], where: str) -> None:
    """Failed when a name is there twice."""
    if twice := {name for name in names if names.count(name) > 1}:
        raise Failed(f"{where} has the feature {min(twice)!r} twice", f'rename one: pl.col("{min(twice)}").alias("…")')


def plain_types(frame: pl.DataFrame, names: Iterable[str]) -> dict[str, str]:
    """Feature → number, integer, text or truth: what is stored of a type."""
    kinds = {dtype: kind for kind, dtype in DTYPES.items()}
    return {name: kinds[str(frame.schema[name])] for name in names}


def _plain(frame: pl.DataFrame, name: str, what: str) -> pl.Expr:
    import polars as pl

    column, dtype = pl.col(name), frame.schema[name]
    if dtype.is_integer():
        if dtype == pl.UInt64 and (frame[name] >= 2**63).any():
            raise Failed(f"{name} of {what} holds whole numbers of more than 63 bits", "make it a text")
        return column.cast(pl.Int64)
    if dtype == pl.Boolean:
        return column
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        return column.cast(pl.String)
    raise Failed(f"{name} of {what} is {_type_shown(dtype)}", "make it a number, a text or a truth value")


def _same_type(left: pl.DataFrame, right: pl.DataFrame, name: str, view: str) -> pl.Expr:
    import polars as pl

    given, wanted = left.schema[name], right.schema[name]
    # A column without any value has whatever type its library gave it, and matches everything.
    if given != wanted and left[name].null_count() < left.height and right.height:
        raise Failed(
            f"{name} is {_type_shown(given)} in the rows and {_type_shown(wanted)} in view {view}",
            "cast one of the two",
        )
    # Not strict: what still differs has no value here, or nothing in the view to match.
    return pl.col(name).cast(wanted, strict=False)


def _type_shown(dtype: pl.DataType) -> str:
    return {DTYPES[kind]: name for kind, name in TYPE_NAMES.items()}.get(str(dtype), f"of type {dtype}")
