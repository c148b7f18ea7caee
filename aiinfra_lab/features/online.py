"""The newest values of entities: kept in the online store as of one moment, read as one vector in contract order."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from .. import files, modes
from ..errors import Failed, UsageProblem, did_you_mean
from ..providers import make
from ..store import Event, Record, open_store, update
from .join import TYPE_NAMES, Events, as_time
from .record import FeatureSetVersion, OnlineState, Spec, features_home
from .rows import tables_of, write
from .sets import run_views

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset
    from .base import Known, OnlineStore, Value


@dataclass(frozen=True)
class OnlineVector:
    """One row's features in contract order, at a time, out of what the store held `as_of` a time not after it."""

    at: datetime
    as_of: datetime
    data_uri: str
    values: dict[str, Value]


def provider() -> OnlineStore:
    """The online store that the settings name."""
    found: OnlineStore = make("features.store")
    return found


def fill(
    record: Record[FeatureSetVersion], dataset: Dataset, events: Sequence[Events] | None, verb: str | None
) -> Record[FeatureSetVersion]:
    """Bring the online store to this data version, as of the newest row's time in it, or of when it was added where
    rows have no time; nothing to do when it is there.

    `events`: what the views return for it, when they have run already. `verb`: under which the event is logged.
    """
    if _holds(record, dataset):
        return record
    spec = record.body
    until = newest(spec, dataset.table()) if spec.timestamp else datetime.fromtimestamp(dataset.added_at, UTC)
    events = events if events is not None else run_views(spec, tables_of(dataset))
    # Only now, for running the views may take minutes and needs no lock.
    with _alone():
        record = open_store().get(FeatureSetVersion, record.name) or record  # another process may have been faster
        if _holds(record, dataset):
            return record
        emptied(record)  # whoever finds it so after a crash fills it again
        _load(spec, events, spec.folder / dataset.digest[:12], until)
        state = OnlineState(dataset.uri, dataset.digest, until.isoformat())
        detail = {"online": msgspec.structs.asdict(state)}
        event = Event(verb, spec.uri, (spec.uri, dataset.uri), (spec.uri,), detail) if verb else None
        return update(open_store(), FeatureSetVersion, record.name, lambda body: replace(body, online=state), event)


def emptied(record: Record[FeatureSetVersion]) -> Record[FeatureSetVersion]:
    """The record, saying from now on that the online store holds nothing of it."""
    return update(open_store(), FeatureSetVersion, record.name, lambda body: replace(body, online=None))


def newest(spec: Spec, rows: pl.DataFrame) -> datetime:
    """The time of the newest row: the present, as this data version knows it."""
    times = rows.select(as_time(rows, spec.timestamp, "the rows"))[spec.timestamp]
    found = times.max()
    if not isinstance(found, datetime):
        raise Failed(f"no row has a {spec.timestamp}", "give data whose rows have one")
    return found


def read(spec: Spec, online: OnlineState, row: Mapping[str, Value], at: datetime | None = None) -> OnlineVector:
    """The features of one row, at the store's own time or a later one."""
    as_of = datetime.fromisoformat(online.as_of)
    at = at or as_of
    # It keeps the newest values alone, and has forgotten those that held before.
    if at < as_of:
        raise UsageProblem(
            f"the online store knows how things stood at {as_of:%Y-%m-%d %H:%M:%S}, and {at} is earlier",
            f"ask the history: `%features get {spec.record_name} --rows {online.uri}`, or rows of your own",
        )
    found = provider().read(spec, {key: [row[key]] for key in spec.entity}) if spec.views else {}
    return OnlineVector(
        at, as_of, online.uri, vector(spec, row, {view: answers[0] for view, answers in found.items()}, at)
    )


def read_held(
    record: Record[FeatureSetVersion], row: Mapping[str, Value], at: datetime | None = None
) -> OnlineVector | None:
    """`read` of what the record says, while nobody fills the store; None when it does not hold that any more.

    Another process has filled it since, or was killed while it did. Then the record as it is now says so.
    """
    lock = features_home() / "lock"
    files.make_folder(lock.parent)
    lock.touch(modes.OWNER_ONLY)
    with files.shared_lock(lock):
        now, online = open_store().get(FeatureSetVersion, record.name), record.body.online
        if online is None or now is None or now.body.online != online:
            return None
        return read(record.body, online, row, at)


def vector(spec: Spec, row: Mapping[str, Value], known: Mapping[str, Known], at: datetime) -> dict[str, Value]:
    """The row's own columns and, of what is known, what is not older than its time to live; in contract order."""
    values: dict[str, Value] = {column.name: row.get(column.name) for column in spec.columns}
    for view in spec.views:
        fresh = known[view.name]
        if fresh and view.ttl_s is not None and at - fresh[0] > timedelta(seconds=view.ttl_s):
            fresh = None
        values |= {name: fresh[1][name] if fresh else None for name in view.feature_names}
    return {name: values[name] for name in spec.features}


def parse_key(spec: Spec, text: str) -> tuple[dict[str, Value], datetime | None]:
    """The row that `origin=JFK,carrier=UA` or a JSON object describes, and its time if it names one.

    UsageProblem for a key that is missing, a column that the set does not use, or a value of the wrong type.
    """
    types = {**dict(spec.columns), **spec.entity}
    given = _pairs(text)
    fix = f"--online {','.join(f'{key}=…' for key in spec.entity)}"
    known = [*types, *filter(None, (spec.timestamp,))]
    if unknown := [name for name in given if name not in known]:
        raise UsageProblem(f"{spec.uri} uses no {unknown[0]!r}", did_you_mean(unknown[0], known))
    if missing := [key for key in spec.entity if given.get(key) in (None, "")]:
        raise UsageProblem(f"--online does not say which {missing[0]}", fix)
    # It is a moment and no value: what is left are the row's own columns.
    at = _time(given.pop(spec.timestamp)) if given.get(spec.timestamp) is not None else None
    return {name: _value(name, types[name], value) for name, value in given.items()}, at


def _holds(record: Record[FeatureSetVersion], dataset: Dataset) -> bool:
    online = record.body.online
    return online is not None and online.digest == dataset.digest


def _load(spec: Spec, events: Sequence[Events], folder: Path, until: datetime) -> None:
    # A folder for each content: until the new files are loaded, the store reads the old ones.
    sources = {item.view: folder / f"{item.view}.parquet" for item in events}
    for item in events:
        write(item.stored(until), sources[item.view])
    if sources:
        provider().load(spec, sources, until)
        # What was loaded before is no longer read by anything, and may be large.
        for old in folder.parent.iterdir():
            if old != folder:
                shutil.rmtree(old)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process of the workspace fills at a time, so that the record says what the store holds."""
    with files.lock(features_home() / "lock"):
        yield


def _pairs(text: str) -> dict[str, Any]:
    fix = 'write --online origin=JFK,carrier=UA or --online \'{"origin": "JFK"}\''
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as problem:
            raise UsageProblem(f"--online is no JSON: {problem}", fix) from None
        return dict(found)
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(equals and name.strip() for name, equals, _ in pairs):
        raise UsageProblem(f"--online {text!r} is no list of names and values", fix)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageProblem(f"{value!r} is no time", "write it as 2013-03-31T18:00, in UTC") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _value(name: str, kind: str, value: Any) -> Value:
    if value is None or value == "":
        return None
    text = str(value).strip()
    try:
        if kind == "truth":
            return {"true": True, "false": False}[text.lower()]
        return text if kind == "text" else int(text) if kind == "integer" else float(text)
    except (ValueError, KeyError):
        raise UsageProblem(f"{name}={value} is not {TYPE_NAMES[kind]}", f"give {name} as {TYPE_NAMES[kind]}") from None
