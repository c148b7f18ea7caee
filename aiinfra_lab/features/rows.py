"""Rows with their features: the join over a data version, kept as one file a question and answered from it again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..errors import Failed, NotFound, UsageProblem
from ..store import Event, Loose, Record, canonical, open_store
from ..uris import Uri
from .join import ROW_ID, VERSION, Events, as_key, as_kind, as_time, point_in_time
from .sets import KIND, ROWS, Spec, path_of, run_views

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset


def tables_of(dataset: Dataset) -> Mapping[str, pl.LazyFrame]:
    """A data version's tables by name."""
    return {name: dataset.scan(name) for name in dataset.tables}


def need_tables(spec: Spec, tables: Dataset, known: str) -> None:
    """NotFound when a view reads a table that this data version lacks; the fix names one that has it."""
    for view in spec.views:
        for table in view.tables:
            if table not in tables.tables:
                raise NotFound(
                    f"view {view.name} reads a table {table!r}, which {tables.uri} has not",
                    f"name a version: --data {known}",
                )


def answer(spec: Spec, rows: Dataset, tables: Dataset) -> Record:
    """The record of these rows with these features: the stored one, or a new one with its file and its event."""
    store = open_store()
    asked = {"set": spec.digest, "rows": [rows.digest, rows.main()], "data": tables.digest, "join": VERSION}
    part = hashlib.sha256(canonical(asked).encode()).hexdigest()[:12]
    name = f"{spec.label_in_store}#{part}"
    known = store.get(ROWS, name)
    if known and not known.body.get("removed_at") and path_of(name).exists():
        return known
    started = time.time()
    frame, coverage = join(spec, rows.table(), run_views(spec, tables_of(tables)))
    body = _kept(spec, name, frame) | {
        "features_uri": spec.uri,
        "rows_uri": rows.uri,
        "data_uri": tables.uri,
        "coverage": coverage,
        "started_at": started,
        "ended_at": time.time(),
    }
    used = tuple(dict.fromkeys((spec.uri, rows.uri, tables.uri)))
    event = Event("features get", f"{KIND}:{name}", used, (f"{KIND}:{name}",), {"digest": body["digest"]})
    return store.commit([Record(ROWS, name, body, known.rev if known else 0)], event)[0]


def join(spec: Spec, rows: pl.DataFrame, events: list[Events]) -> tuple[pl.DataFrame, dict[str, float]]:
    """The rows' ids, keys, time, features in contract order and label; and the share of rows each view had news for."""
    import polars as pl

    if rows.is_empty():
        raise Failed("there are no rows to find features for", "give --rows something with rows in it")
    parts: dict[str, pl.Series] = {}
    coverage: dict[str, float] = {}
    for item in events:
        part = point_in_time(rows, spec.timestamp, item)
        coverage[item.view] = float(part.select(pl.any_horizontal(pl.all().is_not_null()).mean()).item())
        parts |= {name: part[name] for name in item.features}
    parts |= {name: rows.select(as_kind(rows, name, kind, "the rows"))[name] for name, kind in spec.columns.items()}
    keys = [as_key(rows, name, "the rows") for name in spec.entity if name not in parts]
    found = rows.select(_row_ids(spec, rows), *keys, as_time(rows, spec.timestamp, "the rows"))
    found = found.with_columns(parts[name].alias(name) for name in spec.features)
    if spec.label and spec.label in rows.columns:
        found = found.with_columns(rows[spec.label])
    return found, coverage


def write(frame: pl.DataFrame, path: Path) -> str:
    """Put a frame in its place whole, as parquet; the file's SHA-256."""
    with files.writing(path) as aside:
        frame.write_parquet(aside)
        return hashlib.sha256(aside.read_bytes()).hexdigest()


def stored(text: object) -> Record:
    """The record of `features:NAME@N#…`; NotFound when there is none."""
    uri = Uri.parse(text, noun=KIND)
    record = open_store().get(ROWS, uri.label) if uri.part else None
    if record is None or record.body.get("removed_at"):
        raise NotFound(f"there are no rows {uri}", f"make them: `%features get {uri.name} --rows …`")
    if not path_of(record.name).exists():
        raise NotFound(
            f"the file of {uri} is gone", f"make it again: `%features get {uri.name} --rows {record.body['rows_uri']}`"
        )
    return record


def made_with(features_uri: str) -> list[Record]:
    """The records of the rows that a version gave and that are still there, newest first."""
    records = [record for record in open_store().list(ROWS) if record.body.get("features_uri") == features_uri]
    there = [one for one in records if not one.body.get("removed_at") and path_of(one.name).exists()]
    return sorted(there, key=lambda one: float(one.body["ended_at"]), reverse=True)


def _row_ids(spec: Spec, rows: pl.DataFrame) -> pl.Expr:
    import polars as pl

    name = spec.row_id or (ROW_ID if ROW_ID in rows.columns else "")
    if not name:
        return pl.int_range(rows.height, dtype=pl.Int64).alias(ROW_ID)
    ids = rows.select(as_key(rows, name, "the rows"))[name]
    if ids.null_count() or ids.n_unique() < rows.height:
        raise Failed(f"{name} does not name each row: it has gaps, or a value twice", "choose another --id")
    return as_key(rows, name, "the rows").alias(ROW_ID)


def _kept(spec: Spec, name: str, frame: pl.DataFrame) -> Loose:
    return {
        "rows": frame.height,
        "columns": spec.features,
        "optional": [feature for feature in spec.features if feature not in spec.columns],
        "label": spec.label if spec.label in frame.columns else "",
        "entity": tuple(spec.entity),
        "timestamp": spec.timestamp,
        "digest": write(frame, path_of(name)),
    }


def copy(frame: pl.LazyFrame, into: Path) -> None:
    """Write joined rows to a parquet or a CSV file, whole or not at all."""
    if into.suffix not in (".parquet", ".csv"):
        raise UsageProblem(f"--into {into} is neither .parquet nor .csv", f"--into {into}.parquet")
    rows = frame.collect()
    with files.writing(into, fix="choose another --into") as aside:
        if into.suffix == ".csv":
            rows.write_csv(aside)
        else:
            rows.write_parquet(aside)
