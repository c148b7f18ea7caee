"""What `features check` tries: no row sees its future, online says what the history says, the rows have the columns."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..errors import UsageProblem
from ..units import counted
from .join import Events, as_key, as_kind, as_time, joined, point_in_time, prepare
from .online import provider, vector
from .record import OnlineState, Spec
from .rows import tables_of
from .sets import conform, run_views
from .views import View, load

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset

GOOD, BAD, UNCLEAR = "good", "bad", "cannot tell"
MOMENTS, ENTITIES = 5, 200
_CORRECT = "correct the view, add the set again, and check it again"
_WITH_KEYS = "give --rows that have the keys"


@dataclass(frozen=True)
class FeatureFinding:
    """One thing that was judged: good, bad or cannot tell, what was seen, and what helps where it is not good."""

    what: str
    verdict: str
    why: str
    fix: str = ""


def judge(spec: Spec, online: OnlineState, rows: Dataset, tables: Dataset) -> list[FeatureFinding]:
    """Every finding, on rows and moments drawn with a fixed seed; `online` is what the online store holds.

    UsageProblem when the rows lack a column that the set takes, Failed when one is of another type.
    """
    frame, example = rows.table(), f"`%features check {spec.record_name} --rows {online.uri}`"
    needed = [*spec.entity, *(name for name, _ in spec.columns), *filter(None, (spec.timestamp,))]
    if lacking := [name for name in dict.fromkeys(needed) if name not in frame.columns]:
        raise UsageProblem(f"{rows.uri} lacks {', '.join(lacking)}", f"give rows that have all of it: {example}")
    if frame.is_empty():
        return [FeatureFinding("rows", UNCLEAR, "there are no rows to try it on", f"give some: {example}")]
    events = run_views(spec, tables_of(tables))
    views, _ = load(spec.name, spec.code)
    found = [
        _no_future(view, item, spec, position, frame, tables) if view.timestamp else _one_row_each(item)
        for position, (view, item) in enumerate(zip(views, events, strict=True))
    ]
    found += [_same_online(online, spec, events, frame)] if spec.views else []
    return [*found, *([_own_columns(spec, frame)] if spec.columns else [])]


def _no_future(
    view: View, events: Events, spec: Spec, position: int, rows: pl.DataFrame, tables: Dataset
) -> FeatureFinding:
    """Take away what the tables learned after a moment, run the view again, and ask both at that moment."""
    # The last one: `known_at` where a view has it, since that is when it learned of a row.
    what, column = f"{view.name}: no future", view.times[-1]
    dated = [name for name in view.tables if column in tables.scan(name).collect_schema().names()]
    # Nothing can be taken away by a time that no table has; what cannot be tried is not proven.
    if not dated:
        why = f"no table that it reads has the column {column}"
        return FeatureFinding(what, UNCLEAR, why, "let the table carry it, and add the set again")
    compared = 0
    for moment in _moments(spec, rows):
        before = dict(tables_of(tables)) | {name: _until(tables.table(name), column, moment).lazy() for name in dated}
        again = conform(prepare(view, view.run(before)), spec.views[position])
        # All entities are asked at that one moment, whatever moments their own rows have.
        asked = _ask(rows, events, moment)
        now, then = (point_in_time(asked, "at", item) for item in (events, again))
        if name := _differs(now, then):
            why = f"{name} at {moment:%Y-%m-%d %H:%M} changes when what came later is taken away"
            return FeatureFinding(what, BAD, why, _CORRECT)
        compared += asked.height
    if not compared:
        return FeatureFinding(what, UNCLEAR, "there is no row with its entity", _WITH_KEYS)
    return FeatureFinding(what, GOOD, f"{compared} answers at {MOMENTS} moments are the same without what came later")


def _one_row_each(events: Events) -> FeatureFinding:
    """Of a view without times: what can be proven of it is that nothing depends on the order of its rows."""
    what = f"{events.view}: one row an entity"
    if events.frame.is_empty():
        return FeatureFinding(what, UNCLEAR, "it returned no row with its keys", "let the view return some")
    return FeatureFinding(what, GOOD, f"{counted(events.frame.height, 'row')}, each of another entity")


def _same_online(state: OnlineState, spec: Spec, events: list[Events], rows: pl.DataFrame) -> FeatureFinding:
    """Ask the online store and the join about the same entities: now, at each time to live, and just after it."""
    import polars as pl

    what, as_of = "online is offline", datetime.fromisoformat(state.as_of)
    keys = rows.select(as_key(rows, name, "the rows") for name in spec.entity).drop_nulls().unique(maintain_order=True)
    # Drawn with a fixed seed: a check that is repeated must come to the same verdict.
    keys = keys.sample(min(ENTITIES, keys.height), seed=0)
    if keys.is_empty():
        return FeatureFinding(what, UNCLEAR, "there is no row with all its keys", _WITH_KEYS)
    known = provider().read(spec, {name: keys[name].to_list() for name in keys.columns})
    moments = list(_moments_after(spec, as_of))
    for at in moments:
        asked = keys.with_columns(pl.lit(at).alias("at"))
        offline = pl.concat([joined(asked, "at", _known_by(item, as_of)) for item in events], how="horizontal")
        for position, row in enumerate(offline.iter_rows(named=True)):
            online = vector(spec, {}, {view: found[position] for view, found in known.items()}, at)
            if any(online[name] != row[name] for name in row):
                name = next(name for name in row if online[name] != row[name])
                key = ", ".join(f"{name}={value}" for name, value in keys.row(position, named=True).items())
                why = f"{name} of {key}: {online[name]} online, {row[name]} in the history"
                return FeatureFinding(what, BAD, why, _CORRECT)
    return FeatureFinding(what, GOOD, f"{len(moments) * keys.height} vectors are equal, as of {as_of:%Y-%m-%d %H:%M}")


def _own_columns(spec: Spec, rows: pl.DataFrame) -> FeatureFinding:
    """Read the columns that the set takes from the rows themselves, as `features get` does."""
    columns = [as_kind(rows, name, kind, "the rows") for name, kind in spec.columns]
    times = [as_time(rows, name, "the rows") for name in (spec.timestamp,) if name]
    found, what = rows.select(*columns, *times), "own columns"
    if empty := [column.name for column in found if column.null_count() == rows.height]:
        return FeatureFinding(what, UNCLEAR, f"no row has a value of {', '.join(empty)}", "give --rows that have one")
    what_is_there = f"{counted(len(columns), 'column')} and the time" if times else counted(len(columns), "column")
    are = "are" if times or len(columns) > 1 else "is"
    why = f"{what_is_there} {are} there, in {counted(rows.height, 'row')}"
    return FeatureFinding(what, GOOD, why)


def _moments(spec: Spec, rows: pl.DataFrame) -> list[datetime]:
    times = (
        rows.select(as_time(rows, spec.timestamp, "the rows"))[spec.timestamp].drop_nulls().unique().sort().to_list()
    )
    return random.Random(0).sample(times, min(MOMENTS, len(times)))  # noqa: S311  # a sample, no secret


def _moments_after(spec: Spec, as_of: datetime) -> Iterator[datetime]:
    yield as_of
    # On both sides of each time to live: that is where the two may treat a boundary differently.
    for ttl_s in sorted({view.ttl_s for view in spec.views if view.ttl_s is not None}):
        yield as_of + timedelta(seconds=ttl_s / 2)
        yield as_of + timedelta(seconds=ttl_s)
    # Long after every time to live, when only values without one are left.
    if spec.timestamp:
        yield as_of + timedelta(days=400)


def _until(table: pl.DataFrame, column: str, moment: datetime) -> pl.DataFrame:
    return table.filter(as_time(table, column, "the table", later=True) <= moment)


def _differs(now: pl.DataFrame, then: pl.DataFrame) -> str | None:
    """The first column that differs by more than the last digits, which the order of a sum may change."""
    import polars as pl

    for name, dtype in now.schema.items():
        one, other = now[name], then[name]
        if dtype == pl.Float64:
            near = (one - other).abs() <= 1e-9 * one.abs().clip(1.0)
            same = bool((near.fill_null(False) | (one.is_null() & other.is_null())).all())
        else:
            same = one.equals(other)
        if not same:
            return name
    return None


def _ask(rows: pl.DataFrame, events: Events, moment: datetime) -> pl.DataFrame:
    import polars as pl

    # In the rows' order: `unique` alone returns another one each time, and the sample would change with it.
    keys = (
        rows.select(as_key(rows, name, "the rows") for name in events.entity).drop_nulls().unique(maintain_order=True)
    )
    return keys.sample(min(ENTITIES, keys.height), seed=0).with_columns(pl.lit(moment).alias("at"))


def _known_by(events: Events, as_of: datetime) -> Events:
    import polars as pl

    known = [pl.col(name) <= as_of for name in (events.timestamp, events.known_at) if name]
    return replace(events, frame=events.frame.filter(*known))
