"""Feature sets as the store keeps them: what a version is, how it is found, and what it says of its views."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import settings
from ..errors import Conflict, Failed, NotFound, did_you_mean
from ..files import retry
from ..store import Event, Loose, Record, Store, canonical, next_version, open_store, update
from ..uris import Uri
from .join import ROW_ID, Events, as_feature, as_kind, as_time, need, once, plain_types, prepare
from .views import View, load

if TYPE_CHECKING:
    import polars as pl

    from .views import Tables

KIND = "features"
ROWS = "features.rows"


@dataclass(frozen=True)
class ViewSpec:
    """A view as it is registered. `entity` and `features` map names to number, integer, text or truth."""

    name: str
    entity: Mapping[str, str]
    timestamp: str
    known_at: str | None
    ttl_s: float | None
    features: Mapping[str, str]
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """A version of a feature set: the cell, its options, and what its views were found to return."""

    name: str
    version: int
    code: str
    timestamp: str
    label: str
    row_id: str
    columns: Mapping[str, str]
    views: tuple[ViewSpec, ...]

    @property
    def label_in_store(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def uri(self) -> str:
        return f"{KIND}:{self.label_in_store}"

    @property
    def types(self) -> dict[str, str]:
        """Feature → type, in contract order: the row's own columns, then view by view."""
        return {**self.columns, **{name: kind for view in self.views for name, kind in view.features.items()}}

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.types)

    @property
    def entity(self) -> dict[str, str]:
        """Key → type, of all views."""
        return {name: kind for view in self.views for name, kind in view.entity.items()}

    @property
    def digest(self) -> str:
        """Of the cell, its options and what its views return."""
        said = {name: value for name, value in self.body().items() if name not in ("name", "version")}
        return hashlib.sha256(canonical(said).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where what the views returned is kept."""
        return settings().home / KIND / "views" / self.label_in_store

    def body(self) -> Loose:
        """As a record keeps it; names and order of features stay lists, for JSON sorts its keys."""
        body = asdict(self)
        body["columns"] = list(self.columns.items())
        for view in body["views"]:
            view["entity"], view["features"] = list(view["entity"].items()), list(view["features"].items())
        return body


def spec_of(record: Record) -> Spec:
    """The version that a record keeps."""
    body = record.body
    views = tuple(_stored_view(view) for view in body["views"])
    names = ("name", "version", "code", "timestamp", "label", "row_id")
    return Spec(**{name: body[name] for name in names}, columns=dict(body["columns"]), views=views)


def describe(
    name: str, code: str, timestamp: str, label: str, row_id: str, rows: pl.DataFrame, tables: Tables
) -> tuple[Spec, list[Events]]:
    """Run the cell over these tables and say what it gives, as version 0; with what the views returned.

    A LabError when it does not run, reads what is not there, names a feature twice, or hands out the label.
    """
    code = code.rstrip() + "\n"
    views, columns = load(name, code)
    once(columns, "`columns`")
    frame = rows.select(as_feature(rows, column, "the rows") for column in columns)
    rows.select(as_time(rows, timestamp, "the rows"))
    for column in filter(None, (label, row_id)):
        need(rows, column, "the rows")
    events = [prepare(view, view.run(tables)) for view in views]
    names = [*columns, *(feature for item in events for feature in item.features)]
    once(names, "the cell")
    once([item.name for item in views], "the cell")
    keys = {key for item in events for key in item.entity}
    if hidden := keys & {feature for item in events for feature in item.features}:
        raise Failed(f"{min(hidden)!r} is a key of one view and a feature of another", "rename the feature")
    if taken := ({label, timestamp, ROW_ID} - {""}) & {*names, *keys}:
        raise Failed(
            f"{min(taken)!r} cannot be a feature or a key: it is the label, the timestamp or a row's id", "take it out"
        )
    found = tuple(_view_spec(view, item) for view, item in zip(views, events, strict=True))
    _one_type_a_key(found)
    return Spec(name, 0, code, timestamp, label, row_id, plain_types(frame, columns), found), events


def conformed(spec: Spec, events: Iterable[Events]) -> list[Events]:
    """All views' events in the version's types; Failed when they no longer fit."""
    return [conform(item, view) for item, view in zip(events, spec.views, strict=True)]


def run_views(spec: Spec, tables: Tables) -> list[Events]:
    """What the version's views return for these tables; Failed when that no longer fits what they returned at `add`."""
    views, _ = load(spec.name, spec.code)
    return conformed(spec, (prepare(view, view.run(tables)) for view in views))


def conform(events: Events, said: ViewSpec) -> Events:
    """The same events in the types of the registered view, where nothing is lost by it."""
    if events.features != tuple(said.features):
        raise Failed(
            f"view {said.name} returned {', '.join(events.features)}, and {', '.join(said.features)} when it was added",
            "add the feature set again: it becomes a new version",
        )
    casts = [as_kind(events.frame, name, kind, f"view {said.name}") for name, kind in said.features.items()]
    return replace(events, frame=events.frame.with_columns(casts))


def path_of(name: str) -> Path:
    """Where the rows of the record `NAME@N#…` lie."""
    return settings().home / KIND / "rows" / f"{name.replace('#', '-')}.parquet"


def find(text: object) -> Record:
    """The record of a version, the newest one without `@N`; NotFound when there is none, or it was removed."""
    uri = Uri.parse(text, noun=KIND)
    if uri.alias or uri.part:
        raise NotFound(f"{uri} is no version of a feature set", f"write {uri.name}@N, or only {uri.name}")
    store = open_store()
    if uri.version is None:
        found = versions(uri.name)
        if found:
            return found[0]
    elif record := store.get(KIND, uri.label):
        if not record.body.get("removed_at"):
            return record
        raise NotFound(f"{uri} was removed", "add it again with `%%features add`")
    known = {record.name if uri.version else record.body["name"] for record in sets()}
    first = f"`%%features add {uri.name}` makes one"
    raise NotFound(f"there is no feature set {uri.label}", did_you_mean(uri.label, known, first))


def find_or_none(text: object) -> Record | None:
    """The record of a version, or None when there is none (any more)."""
    try:
        return find(text)
    except NotFound:
        return None


def sets() -> list[Record]:
    """All versions of all feature sets that were not removed, newest first."""
    records = open_store().list(KIND)
    return [record for record in records if not record.body.get("removed_at")]


def versions(name: str) -> list[Record]:
    """The versions of one feature set that were not removed, highest first."""
    found = [record for record in sets() if record.body["name"] == name]
    return sorted(found, key=lambda record: int(record.body["version"]), reverse=True)


def same(record: Record, spec: Spec, events: Iterable[Events]) -> bool:
    """Whether the cell and its options are those of the record, and what its views return now still fits them."""
    stored = spec_of(record)
    said = ("code", "timestamp", "label", "row_id", "entity")
    if any(getattr(stored, name) != getattr(spec, name) for name in said):
        return False
    try:
        conformed(stored, events)
    except Failed:
        return False
    return list(stored.columns) == list(spec.columns)


def keep(spec: Spec, events: list[Events], data_uri: str) -> tuple[Record, bool]:
    """The spec as the next version, stored with its event, and True; or the newest one, when it is the same."""
    store = open_store()

    def add() -> tuple[Record, bool]:
        newest = next(iter(versions(spec.name)), None)
        if newest and same(newest, spec, events):
            return newest, False
        new = replace(spec, version=next_version(store, KIND, spec.name))
        body = {**new.body(), "digest": new.digest, "data_uri": data_uri, "online": None, "created_at": time.time()}
        event = Event("features add", new.uri, (data_uri,), (new.uri,), {"digest": new.digest})
        return store.commit([Record.new(KIND, new.label_in_store, body)], event)[0], True

    return retry(add, Conflict(f"features {spec.name} is being added by many at once", "repeat in a moment"))


def remove(store: Store, uri: str) -> None:
    """Mark a version, or rows, as removed, with the event."""
    name = uri.partition(":")[2]
    kind = ROWS if "#" in name else KIND
    update(store, kind, name, lambda body: body | {"removed_at": time.time()}, Event("features rm", uri, (uri,)))


def _stored_view(body: Loose) -> ViewSpec:
    mappings = {name: dict(body[name]) for name in ("entity", "features")}
    return ViewSpec(**{**body, **mappings, "tables": tuple(body["tables"])})


def _one_type_a_key(views: Iterable[ViewSpec]) -> None:
    seen: dict[str, str] = {}
    for view in views:
        for key, kind in view.entity.items():
            if seen.setdefault(key, kind) != kind:
                raise Failed(
                    f"the key {key} is {kind} in view {view.name}, and {seen[key]} before", "cast one of the two"
                )


def _view_spec(view: View, events: Events) -> ViewSpec:
    entity = plain_types(events.frame, view.entity)
    features = plain_types(events.frame, events.features)
    return ViewSpec(view.name, entity, view.timestamp, view.known_at, view.ttl_s, features, view.tables)
