"""Feature sets: what a cell gives as a version, how versions are kept, and their views run again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ..errors import Conflict, Failed, LabError, NotFound
from ..files import retry
from ..resolve import resolve
from ..store import Event, Record, next_version, open_store, update
from .contract import refuse_unaskable
from .join import ROW_ID, Events, as_feature, as_kind, as_time, need, once, plain_types, prepare
from .record import FeatureSetVersion, JoinedRows, Spec, TypedColumn, TypedColumns, ViewSpec, as_label
from .views import View, load

if TYPE_CHECKING:
    import polars as pl

    from .views import Tables


def describe(
    name: str, code: str, timestamp: str, label: Sequence[str], row_id: str, rows: pl.DataFrame, tables: Tables
) -> tuple[Spec, list[Events]]:
    """Run the cell over these tables and say what it gives, as version 0; with what the views returned.

    A LabError when it does not run, reads what is not there, names a feature twice, or hands out the label.
    """
    # Empty lines at the end of a cell make no new version.
    code = code.rstrip() + "\n"
    views, columns = load(name, code)
    once(columns, "`columns`")
    frame = rows.select(as_feature(rows, column, "the rows") for column in columns)
    # The first `get` would be late to find that it is no time.
    if timestamp:
        _refuse_no_time(rows, timestamp)
    for item in views:
        _refuse_other_times(item, timestamp)
    for column in filter(None, (*label, row_id)):
        need(rows, column, "the rows")
    once(label, "--label")
    # The types of features are found by running the views once, for nothing else knows them.
    events = [prepare(view, view.run(tables)) for view in views]
    names = [*columns, *(feature for item in events for feature in item.features)]
    once(names, "the cell")
    refuse_unaskable(names)
    once([item.name for item in views], "the cell")
    keys = {key for item in events for key in item.entity}
    # The online store has one namespace: the feature would be taken for the key.
    if hidden := keys & {feature for item in events for feature in item.features}:
        raise Failed(f"{min(hidden)!r} is a key of one view and a feature of another", "rename the feature")
    # A feature of that name would hand the label, or the time, to the model.
    if taken := ({*label, timestamp, ROW_ID} - {""}) & {*names, *keys}:
        raise Failed(
            f"{min(taken)!r} cannot be a feature or a key: it is the label, the timestamp or a row's id", "take it out"
        )
    found = tuple(_view_spec(view, item) for view, item in zip(views, events, strict=True))
    _one_type_a_key(found)
    spec = Spec(
        name=name,
        version=0,
        code=code,
        timestamp=timestamp,
        label=as_label(label),
        row_id=row_id,
        columns=_typed(plain_types(frame, columns)),
        views=found,
    )
    return spec, events


def _refuse_no_time(rows: pl.DataFrame, timestamp: str) -> None:
    """A LabError when the column holds no times; where none does, it says that rows need none."""
    try:
        rows.select(as_time(rows, timestamp, "the rows"))
    except LabError as problem:
        if any(dtype.is_temporal() for dtype in rows.schema.values()):
            raise
        without = "leave out --timestamp: rows need none, and point-in-time correctness is then not promised"
        fix = f"{problem.fix}; or {without}"
        raise type(problem)(problem.what, fix) from None


def _refuse_other_times(item: View, timestamp: str) -> None:
    """Failed when a view has times and the rows have none, or the other way round."""
    if timestamp and not item.timestamp:
        raise Failed(
            f"view {item.name} has no timestamp, and the rows have {timestamp}",
            "name the column that says since when it is known, @view(…, timestamp=COLUMN); or leave out --timestamp",
        )
    if item.timestamp and not timestamp:
        raise Failed(
            f"view {item.name} has the timestamp {item.timestamp}, and the rows have none",
            "name the rows' own, --timestamp COLUMN; or leave the view's out, and return one row for each entity",
        )


def conformed(spec: Spec, events: Iterable[Events]) -> list[Events]:
    """All views' events in the version's types; Failed when they no longer fit."""
    return [conform(item, view) for item, view in zip(events, spec.views, strict=True)]


def run_views(spec: Spec, tables: Tables) -> list[Events]:
    """What the version's views return for these tables; Failed when that no longer fits what they returned at `add`."""
    views, _ = load(spec.name, spec.code)
    return conformed(spec, (prepare(view, view.run(tables)) for view in views))


def conform(events: Events, view: ViewSpec) -> Events:
    """The same events in the types of the registered view, where nothing is lost by it."""
    # The order counts too, since a model reads features by position.
    if events.features != view.feature_names:
        now, then = ", ".join(events.features), ", ".join(view.feature_names)
        raise Failed(
            f"view {view.name} returned {now}, and {then} when it was added",
            "add the feature set again: it becomes a new version",
        )
    casts = [as_kind(events.frame, name, kind, f"view {view.name}") for name, kind in view.features]
    return replaced(events, frame=events.frame.with_columns(casts))


def find_or_none(text: object) -> Record[FeatureSetVersion] | None:
    """The record of a version, or None when there is none (any more)."""
    try:
        return resolve(text, FeatureSetVersion)
    except NotFound:
        return None


def versions(name: str | None = None, *, skip_unreadable: bool = False) -> list[Record[FeatureSetVersion]]:
    """All versions that were not removed, or those of one feature set, newest first.

    skip_unreadable: see `Store.list`.
    """
    found = open_store().list(FeatureSetVersion, name=name, skip_unreadable=skip_unreadable)
    return [record for record in found if not record.body.is_removed]


def same(stored: Spec, spec: Spec, events: Iterable[Events]) -> bool:
    """Whether the cell and its options are those of the stored version, and what its views return still fits it."""
    options = ("code", "timestamp", "label", "row_id", "entity")
    if any(getattr(stored, name) != getattr(spec, name) for name in options):
        return False
    try:
        conformed(stored, events)
    except Failed:
        return False
    # By name alone: whole numbers where there were others before still fit, and are no reason for a new version.
    return [column.name for column in stored.columns] == [column.name for column in spec.columns]


def keep(spec: Spec, events: list[Events], data_uri: str) -> tuple[Record[FeatureSetVersion], bool]:
    """The spec as the next version, stored with its event, and True; or the newest one, when it is the same."""
    store = open_store()
    digest, content = spec.fingerprint(), msgspec.structs.asdict(spec)

    def add() -> tuple[Record[FeatureSetVersion], bool]:
        # Compared again after each Conflict, which `add_version` would not do: two that add the same cell at once
        # must end with one version.
        newest = next(iter(versions(spec.name)), None)
        if newest and same(newest.body, spec, events):
            return newest, False
        content["version"] = next_version(store, FeatureSetVersion, spec.name)
        body = FeatureSetVersion(**content, digest=digest, data_uri=data_uri, created_at=time.time())
        event = Event("features add", body.uri, (data_uri,), (body.uri,), {"digest": digest})
        return store.commit([Record.new(body.record_name, body)], event)[0], True

    return retry(add, Conflict(f"features {spec.name} is being added by many at once", "repeat in a moment"))


def remove(record: Record[FeatureSetVersion] | Record[JoinedRows]) -> None:
    """Mark a version, or rows, as removed, with the event."""
    event = Event("features rm", record.uri, (record.uri,))
    update(open_store(), type(record.body), record.name, lambda body: replace(body, removed_at=time.time()), event)


def _one_type_a_key(views: Iterable[ViewSpec]) -> None:
    seen: dict[str, str] = {}
    for view in views:
        for key, kind in view.entity:
            if seen.setdefault(key, kind) != kind:
                raise Failed(
                    f"the key {key} is {kind} in view {view.name}, and {seen[key]} before", "cast one of the two"
                )


def _view_spec(view: View, events: Events) -> ViewSpec:
    entity = _typed(plain_types(events.frame, view.entity))
    features = _typed(plain_types(events.frame, events.features))
    return ViewSpec(view.name, entity, view.timestamp, view.known_at, view.ttl_s, features, view.tables)


def _typed(types: Mapping[str, str]) -> TypedColumns:
    return tuple(TypedColumn(*item) for item in types.items())
