"""SQLite serves each list by the index that was made for it: what it reads does not grow with what lies beside it."""

import pytest

from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train.record import TrainingRun


@pytest.fixture
def store(workspace):
    """Some runs, a few of them open, and a job of each."""
    store = open_store()
    for number in range(1, 41):
        state = "running" if number % 10 == 0 else "done"
        run = Record.new(f"delay@{number}", TrainingRun(state=state, tracked=True))
        store.commit([run, Record.new(f"job-{number}", JobRecord(subject=run.uri, state="done", started_at=0.0))])
    return store


@pytest.mark.parametrize(
    ("kind", "given", "index"),
    [
        (TrainingRun, {"name": "delay", "limit": 1}, "records_base"),
        (TrainingRun, {"name": "delay"}, "records_base"),
        (TrainingRun, {"is_open": True}, "records_open"),
        (TrainingRun, {"is_open": False, "limit": 20, "order": "written"}, "records_written"),
        (TrainingRun, {}, "records_made"),
        (JobRecord, {"about": "train:delay@7", "is_open": True}, ("records_about", "records_open")),
        (JobRecord, {"about": "train:delay@7", "limit": 1}, "records_about"),
        (JobRecord, {"about": "train:delay", "limit": 1}, ("records_about", "records_made")),
    ],
)
def test_a_list_is_served_by_its_index(store, monkeypatch, kind, given, index):
    plans = []

    def run(db, statement, *values):
        if statement.startswith("SELECT kind, name"):
            plans.extend(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values))
        return db.execute(statement, values)

    monkeypatch.setattr(store, "run", run)
    store.list(kind, **given)
    wanted = (index,) if isinstance(index, str) else index
    assert any(f"USING INDEX {name} " in plan for plan in plans for name in wanted), plans
    assert given.get("about") == "train:delay" or not any("TEMP B-TREE" in plan for plan in plans)
