"""Rows with their features: the join over a data version, kept as one file a question and answered from it again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import files
from ..errors import Conflict, Failed, NotFound
from ..resolve import resolve
from ..store import Event, Record, canonical_digest, open_store
from ..uris import Uri
from .join import ROW_ID, VERSION, Events, as_key, as_kind, as_time, joined
from .record import FeatureSetVersion, JoinedRows, Spec, names_of, path_of
from .sets import run_views

_ANOTHER = "choose another --into"

if TYPE_CHECKING:
    import polars as pl

    from ..data import Dataset


def tables_of(dataset: Dataset) -> Mapping[str, pl.LazyFrame]:
    """A data version's tables by name."""
    return {name: dataset.scan(name) for name in dataset.tables}


def need_tables(spec: Spec, rows: Dataset, tables: Dataset, known: str) -> None:
    """NotFound when a view reads a table that this data version lacks; the fix names one that has it."""
    for view in spec.views:
        for table in view.tables:
            if table not in tables.tables:
                raise NotFound(
                    f"view {view.name} reads a table {table!r}, which {tables.uri} has not",
                    f"name a version that has it: `%features get {spec.record_name} --rows {rows.uri} --data {known}`",
                )


def answer(
    record: Record[FeatureSetVersion], rows: Dataset, tables: Dataset, *, is_aside: bool = False
) -> Record[JoinedRows]:
    """The record of these rows with these features: the stored one, or a new one with its file and its event.

    is_aside: whether a verb needs them for its own use
    """
    store, spec = open_store(), record.body
    # What is asked, by content and not by name: the same rows under another name are the same question.
    asked = {"set": spec.digest, "rows": [rows.digest, rows.main()], "data": tables.digest, "join": VERSION}
    part = canonical_digest(asked)[:12]
    uri = replace(Uri.parse(record.uri), part=part)
    known = store.get(JoinedRows, uri.label)
    if known and not known.body.is_removed and path_of(uri.label).exists():
        return known if is_aside or not known.body.is_aside else _asked_for(known)
    started_at = time.time()
    frame, coverage = join(spec, rows.table(), run_views(spec, tables_of(tables)))
    own = dict(spec.columns)
    body = JoinedRows(
        rows=frame.height,
        columns=spec.features,
        optional=tuple(feature for feature in spec.features if feature not in own),
        # Of several all or none: nobody can learn from some of them what the set is for.
        label=spec.label if {*names_of(spec.label)} <= {*frame.columns} else "",
        entity=tuple(spec.entity),
        timestamp=spec.timestamp,
        coverage=coverage,
        # The file before its record, which must never point to nothing.
        digest=write(frame, path_of(uri.label)),
        features_uri=record.uri,
        rows_uri=rows.uri,
        data_uri=tables.uri,
        started_at=started_at,
        ended_at=time.time(),
        is_aside=is_aside,
    )
    used = tuple(dict.fromkeys((record.uri, rows.uri, tables.uri)))
    event = Event("features get", str(uri), used, (str(uri),), {"digest": body.digest})
    try:
        return store.commit([known.of(body) if known else Record.new(uri.label, body)], event)[0]
    except Conflict:
        # Somebody asked the same meanwhile. The join of the same content gives the same file, so theirs is as good.
        made = store.get(JoinedRows, uri.label)
        if made is None or made.body.is_removed:
            raise
        return made


def _asked_for(known: Record[JoinedRows]) -> Record[JoinedRows]:
    """Rows that a verb had made for itself, now that somebody asks for them."""
    body = msgspec.structs.replace(known.body, is_aside=False, ended_at=time.time())
    used = tuple(dict.fromkeys((body.features_uri, body.rows_uri, body.data_uri)))
    event = Event("features get", known.uri, used, (known.uri,), {"digest": body.digest})
    return open_store().commit([known.of(body)], event)[0]


def join(spec: Spec, rows: pl.DataFrame, events: list[Events]) -> tuple[pl.DataFrame, dict[str, float]]:
    """The rows' ids, keys, time, features in contract order and label; and the share of rows each view had news for."""
    import polars as pl

    if rows.is_empty():
        raise Failed("there are no rows to find features for", "give something with rows in it")
    # Gathered first: a feature of a view may be a row's own column elsewhere, and order comes last.
    parts: dict[str, pl.Series] = {}
    coverage: dict[str, float] = {}
    for item in events:
        part = joined(rows, spec.timestamp, item)
        coverage[item.view] = float(part.select(pl.any_horizontal(pl.all().is_not_null()).mean()).item())
        parts |= {name: part[name] for name in item.features}
    parts |= {name: rows.select(as_kind(rows, name, kind, "the rows"))[name] for name, kind in spec.columns}
    keys = [as_key(rows, name, "the rows") for name in spec.entity if name not in parts]
    times = [as_time(rows, name, "the rows") for name in (spec.timestamp,) if name]
    found = rows.select(_row_ids(spec, rows), *keys, *times)
    found = found.with_columns(parts[name].alias(name) for name in spec.features)
    # Rows that are to be predicted have no label yet.
    found = found.with_columns(rows[name] for name in names_of(spec.label) if name in rows.columns)
    return found, coverage


def write(frame: pl.DataFrame, path: Path) -> str:
    """Write a frame as parquet, whole or not at all; the file's SHA-256."""
    with files.writing(path) as aside:
        frame.write_parquet(aside)
        return hashlib.sha256(aside.read_bytes()).hexdigest()


def stored(text: object) -> Record[JoinedRows]:
    """The record of `features:NAME@N#PART`; NotFound when there is none, or its file is gone."""
    uri = Uri.parse(text, noun=FeatureSetVersion.kind)
    try:
        record = resolve(uri, JoinedRows)
    except NotFound as problem:
        # Rows have no name that one could mistype, only a key: the way to them is to ask for them again.
        found = resolve(uri.whole, FeatureSetVersion)
        again = f"make them: `%features get {found.name} --rows {found.body.newest_data}`"
        raise NotFound(problem.what, again) from problem
    if not path_of(record.name).exists():
        raise NotFound(
            f"the file of {uri} is gone",
            f"make it again: `%features get {Uri.parse(record.uri).whole.label} --rows {record.body.rows_uri} "
            f"--data {record.body.data_uri}`",
        )
    return record


def made_with(version: Record[FeatureSetVersion]) -> list[Record[JoinedRows]]:
    """The records of the rows that a version gave and that are still there, newest first."""
    # By name and not by `about`: stores of before have no index of what rows were made with.
    records = open_store().list(JoinedRows, name=version.base)
    mine = [record for record in records if record.body.features_uri == version.uri and not record.body.is_removed]
    return sorted(filter(_is_there, mine), key=lambda record: record.body.ended_at, reverse=True)


def _is_there(record: Record[JoinedRows]) -> bool:
    return path_of(record.name).exists()


def _row_ids(spec: Spec, rows: pl.DataFrame) -> pl.Expr:
    import polars as pl

    name = spec.row_id or (ROW_ID if ROW_ID in rows.columns else "")
    if not name:
        return pl.int_range(rows.height, dtype=pl.Int64).alias(ROW_ID)
    ids = rows.select(as_key(rows, name, "the rows"))[name]
    # Predictions are joined to what came true by this id, and a second row of an id would get the first one's.
    if ids.null_count() or ids.n_unique() < rows.height:
        fix = "choose another --id when the feature set is added, or leave out the rows in question"
        raise Failed(f"{name} does not name each row: it has gaps, or a value twice", fix)
    return as_key(rows, name, "the rows").alias(ROW_ID)
