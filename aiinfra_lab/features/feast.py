"""Features under Feast: our point-in-time join as its offline store, its registry and its SQLite online store.

The only file that imports feast. The repository in WORKSPACE/.aiinfra/features/feast is an ordinary one: the `feast`
command and `FeatureStore(repo_path=…)` work on it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
import typeguard

from .. import files, modes
from ..config import Settings, opt_out
from ..errors import NotFound, Unavailable
from .base import Known, Value
from .join import AT, TIME, Events, as_time, point_in_time, stored_at, time_column
from .record import FeatureSetVersion, Spec, ViewSpec


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what Feast does to the whole process: it changes the warnings' filters, and how SQLite keeps times.

    IPython sets the very same converter for its history: whichever came last would break the other.
    """
    adapters, converters = dict(sqlite3.adapters), dict(sqlite3.converters)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sqlite3.adapters.clear()
        sqlite3.adapters.update(adapters)
        sqlite3.converters.clear()
        sqlite3.converters.update(converters)


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Import Feast without its run-time type checks: to weave them in takes more than half of its import."""
    woven = typeguard.typechecked
    typeguard.typechecked = lambda target=None, **_: target or (lambda inner: inner)  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = woven


# Then this file is most likely imported by Feast's own command, or by its calls on our repository.
_IS_FEASTS_PROCESS = "feast" in sys.modules
opt_out()
with _as_it_was(), _unchecked():
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
    from feast.data_source import DataSource
    from feast.errors import FeastObjectNotFoundException
    from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
    from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
    from feast.infra.online_stores import sqlite as feasts_sqlite
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.repo_config import FeastConfigBaseModel, RepoConfig
    from feast.types import Bool, Float64, Int64, String
    from feast.value_type import ValueType
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]


def _let_feast_read() -> None:
    """Register again what `_as_it_was` undid: Feast registers it once, at its import, and reads nothing without.

    Where somebody else reads times already, as IPython does, both forms are read, and times are written as before.
    """
    before = sqlite3.converters.get("TIMESTAMP")
    if before is None or before.__module__ in ("sqlite3.dbapi2", feasts_sqlite.__name__):
        sqlite3.register_adapter(datetime, feasts_sqlite.adapt_datetime_epoch)
        sqlite3.register_converter("timestamp", feasts_sqlite.convert_timestamp)
        return

    def read(value: bytes) -> object:
        # Feast writes whole seconds, everybody else a date and a time of day.
        return feasts_sqlite.convert_timestamp(value) if value.lstrip(b"-").isdigit() else before(value)

    sqlite3.register_converter("timestamp", read)


if _IS_FEASTS_PROCESS:
    _let_feast_read()

PROJECT = "aiinfra"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Feast's names for our few types; a key is never a float.
_TYPES = {"number": Float64, "integer": Int64, "text": String, "truth": Bool}
_KEYS = {"integer": ValueType.INT64, "text": ValueType.STRING, "truth": ValueType.BOOL}


class PitOfflineStoreConfig(FeastConfigBaseModel):
    """Chosen by `offline_store: {type: aiinfra_lab.features.feast.PitOfflineStore}`; it has no settings."""

    type: Literal["aiinfra_lab.features.feast.PitOfflineStore"] = "aiinfra_lab.features.feast.PitOfflineStore"


class PitRetrievalJob(RetrievalJob):
    """A frame that is computed when it is asked for."""

    def __init__(
        self,
        compute: Callable[[], pl.DataFrame],
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._compute = compute
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:  # nothing here can hang
        # In one piece: Feast writes only the first batch of a table to an online store, and loses the others.
        return self._compute().rechunk().to_arrow()

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._to_arrow_internal(timeout).to_pandas()


class PitOfflineStore(OfflineStore):
    """Feast's offline store over parquet files, by our join: keeps every row in order, and never looks ahead.

    When a source has a `created_timestamp_column`, it is when a value became known, and is always honoured.
    """

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        **dates: Any,
    ) -> RetrievalJob:
        """The rows of a pandas frame with the features; a row's time is its only time, or `event_timestamp`."""
        if entity_df is None or isinstance(entity_df, str) or dates.get("start_date") or dates.get("end_date"):
            raise Unavailable(
                "this offline store joins features to the rows of a data frame", "give entity_df a DataFrame"
            )
        at = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        rows = pl.from_pandas(entity_df)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)

        def compute() -> pl.DataFrame:
            parts = [rows]
            for view in feature_views:
                events = _events(view, _requested(view, feature_refs), config)
                part = point_in_time(rows, at, events)
                prefix = f"{_called(view)}__" if full_feature_names else ""
                parts.append(part.rename({name: prefix + name for name in part.columns}))
            return pl.concat(parts, how="horizontal")

        # Feast's on-demand views ask it for the names of the rows' own columns.
        metadata = RetrievalMetadata(feature_refs, [name for name in rows.columns if name != at])
        return PitRetrievalJob(compute, full_feature_names, on_demand, metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest event of each entity since `start_date` that was known at `end_date`."""

        def compute() -> pl.DataFrame:
            keys, features = tuple(join_key_columns), tuple(feature_name_columns)
            given = Events(
                "", keys, timestamp_field, created_timestamp_column, None, features, _read(data_source, config)
            )
            # First what counts at the end, then the start: an older event that became known late must not come back.
            frame = given.typed("the source").latest(_aware(end_date)).filter(pl.col(TIME) >= _aware(start_date))
            frame = frame.rename({TIME: timestamp_field})
            return frame.rename({AT: created_timestamp_column}) if created_timestamp_column else frame.drop(AT)

        return PitRetrievalJob(compute)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All events between the two times, both included, that were known at the second."""

        def compute() -> pl.DataFrame:
            frame = _read(data_source, config)
            created = [created_timestamp_column] if created_timestamp_column else []
            times = [as_time(frame, name, "the source", later=True) for name in (timestamp_field, *created)]
            within = [times[0] >= _aware(start_date)] if start_date else []
            within += [time <= _aware(end_date) for time in times] if end_date else []
            return frame.filter(*within).select(*join_key_columns, *feature_name_columns, timestamp_field, *created)

        return PitRetrievalJob(compute)


class Feast:
    """The Feast repository of the current workspace. See `OnlineStore` for the contract."""

    def __init__(self, where: Settings) -> None:
        self.folder = where.home / FeatureSetVersion.kind / "feast"

    def load(self, spec: Spec, sources: Mapping[str, Path], until: datetime) -> None:
        """Apply entities, views and a service of the version, after what was there of it; then Feast's materialize."""
        with self._store() as store:
            # Feast adds to what is there: a value that the new data lacks would otherwise stay.
            self._forget(store, spec)
            # Relative paths: the workspace may be moved.
            paths = {name: os.path.relpath(path, self.folder) for name, path in sources.items()}
            views = [_feature_view(spec, view, paths[view.name]) for view in spec.views]
            store.apply([*_entities(spec.entity.items()), *views, FeatureService(name=_name(spec), features=[*views])])
            # Feast cannot materialize a view in which nothing is known yet.
            full = [view.name for view in spec.views if _anything(sources[view.name], view, until)]
            if full:
                # From the very beginning: without a time to live, the newest value may be of any age.
                store.materialize(EPOCH, until, [_name(spec, view) for view in full])

    def read(self, spec: Spec, keys: Mapping[str, Sequence[Value]]) -> dict[str, list[Known]]:
        """Feast's get_online_features, view by view."""
        with self._store() as store:
            return {view.name: self._read_view(store, spec, view, keys) for view in spec.views}

    def forget(self, spec: Spec) -> None:
        """Take the version's views, service and tables out of the registry and the online store."""
        with self._store() as store:
            self._forget(store, spec)

    def open(self) -> FeatureStore:
        """The repository as Feast's own object."""
        config = self.folder / "feature_store.yaml"
        if not config.exists():
            files.write(config, _CONFIG)
        return FeatureStore(repo_path=str(self.folder))

    @contextlib.contextmanager
    def _store(self) -> Iterator[FeatureStore]:
        """The repository, for one process at a time: Feast's file registry is read, changed and written whole."""
        with files.lock(self.folder / "lock"), modes.owner_only(), _feasts_way():
            try:
                yield self.open()
            except (DecodeError, sqlite3.Error) as problem:
                raise Unavailable(
                    f"Feast's files in {self.folder} cannot be used: {problem}",
                    "move that folder away: `%features get NAME --online …` makes it again from what is recorded",
                ) from problem

    def _forget(self, store: FeatureStore, spec: Spec) -> None:
        old: list[Any] = []
        for view in spec.views:
            with contextlib.suppress(FeastObjectNotFoundException):
                old.append(store.get_feature_view(_name(spec, view.name)))
        with contextlib.suppress(FeastObjectNotFoundException):
            old.append(store.get_feature_service(_name(spec)))
        # Feast rewrites its registry even when there is nothing to delete.
        if old:
            # `partial=False`, since Feast otherwise ignores what it is to delete.
            store.apply([], objects_to_delete=old, partial=False)

    def _read_view(
        self, store: FeatureStore, spec: Spec, view: ViewSpec, keys: Mapping[str, Sequence[Value]]
    ) -> list[Known]:
        name, time = _name(spec, view.name), time_column(view.name)
        rows = {key: list(keys[key]) for key in view.keys}
        try:
            answer = store.get_online_features(
                [f"{name}:{item}" for item in (*view.feature_names, time)], entity_rows=rows
            )
        except FeastObjectNotFoundException:
            raise NotFound(
                f"{spec.uri} is not in the online store", f"`%features get {spec.name} --online …`"
            ) from None
        columns = answer.to_dict()
        positions = range(len(columns[time]))
        values = [{item: columns[item][at] for item in view.feature_names} for at in positions]
        return [_known(columns[time][at], values[at]) for at in positions]


# Without pull_latest_features Feast materializes all events, those too that a newer one has replaced.
_CONFIG = f"""\
project: {PROJECT}
provider: local
registry: registry.db
online_store:
  type: sqlite
  path: online.db
offline_store:
  type: aiinfra_lab.features.feast.PitOfflineStore
entity_key_serialization_version: 3
materialization:
  pull_latest_features: true
"""


def _known(microseconds: int | None, values: dict[str, Value]) -> Known:
    return None if microseconds is None else (EPOCH + timedelta(microseconds=microseconds), values)


def _entities(keys: Iterable[tuple[str, str]]) -> list[Entity]:
    return [Entity(name=_entity(key, kind), join_keys=[key], value_type=_KEYS[kind]) for key, kind in keys]


def _entity(key: str, kind: str) -> str:
    # Entities are the whole repository's: a key that is a text in one set and a number in another is two of them.
    return key if kind == "text" else f"{key}_{kind}"


def _feature_view(spec: Spec, view: ViewSpec, source: str) -> FeatureView:
    keys = [Field(name=name, dtype=_TYPES[kind]) for name, kind in view.entity]
    fields = [Field(name=name, dtype=_TYPES[kind]) for name, kind in view.features]
    return FeatureView(
        name=_name(spec, view.name),
        entities=_entities(view.entity),
        # For Feast, zero means no time to live.
        ttl=timedelta(seconds=view.ttl_s or 0),
        # Feast's SQLite store keeps an event's time in whole seconds, read in the machine's zone: so once more, exact.
        schema=[*keys, *fields, Field(name=time_column(view.name), dtype=Int64)],
        source=FileSource(
            path=source,
            timestamp_field=stored_at(view.name, view.timestamp),
            created_timestamp_column=view.known_at or "",
        ),
        tags={"aiinfra": spec.uri},
    )


def _name(spec: Spec, view: str = "") -> str:
    # No "@": in a feature's reference Feast takes it for a version of its own.
    return ".".join(part for part in (spec.name, f"v{spec.version}", view) if part)


def _anything(source: Path, view: ViewSpec, until: datetime) -> bool:
    times = [pl.col(name) <= until for name in (stored_at(view.name, view.timestamp), view.known_at) if name]
    keys = [pl.col(name).is_not_null() for name in view.keys]
    return not pl.scan_parquet(source).filter(*times, *keys).head(1).collect().is_empty()


def _events(view: FeatureView, features: tuple[str, ...], config: RepoConfig) -> Events:
    source, new = view.batch_source, view.projection.join_key_map
    if source is None:
        raise Unavailable(f"view {view.name} has no history", "give it a batch source")
    keys = tuple(new.get(column.name, column.name) for column in view.entity_columns)
    ttl_s = view.ttl.total_seconds() if view.ttl else None
    created = source.created_timestamp_column or None
    frame = _read(source, config).rename({**new})
    given = Events(view.name, keys, source.timestamp_field, created, ttl_s, features, frame)
    return given.typed("the source")


def _called(view: FeatureView) -> str:
    return str(view.projection.name_alias or view.projection.name)


def _requested(view: FeatureView, feature_refs: list[str]) -> tuple[str, ...]:
    prefix = _called(view) + ":"
    asked = {reference.removeprefix(prefix) for reference in feature_refs if reference.startswith(prefix)}
    return tuple(feature.name for feature in view.features if feature.name in asked)


def _read(source: DataSource, config: RepoConfig) -> pl.DataFrame:
    if not isinstance(source, FileSource):
        raise Unavailable(f"this offline store reads parquet files, not a {type(source).__name__}", "use a FileSource")
    frame = pl.read_parquet(FileSource.get_uri_for_file_path(config.repo_path, source.path))
    return frame.rename({old: new for old, new in (source.field_mapping or {}).items() if old in frame.columns})


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@contextlib.contextmanager
def _feasts_way() -> Iterator[None]:
    """Feast's own ways with SQLite's times, and no output: it prints what it does and shows progress bars."""
    with _as_it_was(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sqlite3.register_adapter(datetime, feasts_sqlite.adapt_datetime_epoch)
        sqlite3.register_converter("timestamp", feasts_sqlite.convert_timestamp)
        yield
