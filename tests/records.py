"""Records of every noun with only what a test cares about: the rest is as plain as it may be."""

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import ReadSteps, RecordedRun
from aiinfra_lab.store import Body, Event, Record, open_store, sql
from aiinfra_lab.train.record import TrainingRun
from aiinfra_lab.uris import split_label


def put(label: str, body: Body) -> Record[Any]:
    """Commit a record that is not there yet."""
    uri = f"{body.kind.partition('.')[0]}:{label}"
    return open_store().commit([Record.new(label, body)], Event("data add", uri) if body.has_event else None)[0]


def write_as(kind: str, label: str, body: object) -> None:
    """A record as another version left it: that JSON, whatever it holds."""
    store = open_store()
    with store._transaction() as db:
        columns = "kind, name, body, base, number, rev, made_rev, updated_at"
        row = (kind, label, json.dumps(body), *store.index_of(label))
        db.execute(f"INSERT INTO records ({columns}) VALUES (?, ?, ?, ?, ?, 1, 1, 1.0)", row)
        sql.seal_records(store, db)


def data(label: str, **fields: Any) -> Record[DataVersion]:
    """A version of data without a file."""
    name, version, _ = split_label(label)
    plain = {"key": "k", "digest": "d", "rows": 1, "files": 1, "size_bytes": 1, "source": "file:x", "only": ""}
    body = {"name": name, "version": version or 1, "described": (), "added_at": 1.0, **plain, **fields}
    return put(label, DataVersion(**body))


def run(label: str, **fields: Any) -> Record[TrainingRun]:
    """A run whose process is gone."""
    return put(label, TrainingRun(**{"state": "running", "started_at": 1.0, **fields}))


def model(label: str, **fields: Any) -> Record[ModelVersion]:
    """A version of a model without a file."""
    return put(label, ModelVersion(**fields))


def aliases(name: str, **held: int) -> Record[ModelAliases]:
    """Which version holds which alias."""
    return put(name, ModelAliases(aliases=held))


def session(name: str, **fields: Any) -> Record[SessionRecord]:
    """A session on this machine."""
    return put(
        name, SessionRecord(**{"provider": "local", "gpu": "cpu", "usd_per_hour": 0.0, "started_at": 1.0, **fields})
    )


def recipe_run(label: str, steps: Sequence[StepRecord] = (), **fields: Any) -> Record[RunRecord]:
    """A recipe's run without a process."""
    body = RunRecord(**{"state": "running", "started_at": 1.0, **fields})
    return recorded_run(label, body, *steps).record


def recorded_run(label: str, body: RunRecord, *steps: StepRecord) -> RecordedRun:
    """A recipe's run, and a record for each of its steps that has begun."""
    whole = RecordedRun(Record.new(label, replace(body, order=tuple(step.name for step in steps))), ReadSteps())
    whole = whole.with_steps(step for step in steps if step.state != "waiting")
    return whole.as_written(open_store().commit([whole.record, *whole.by_step.values()]))


def endpoint(name: str, **fields: Any) -> Record[EndpointRecord]:
    """An endpoint that serves nothing, on this machine."""
    return put(name, EndpointRecord(**fields))
