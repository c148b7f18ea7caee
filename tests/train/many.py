"""A workspace with very many runs, made through the store as the runs themselves would have."""

from __future__ import annotations

from pathlib import Path

from aiinfra_lab.config import settings
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train.history import FILE, MetricLog
from aiinfra_lab.train.record import TrainingRun, folder

# No process ever has this number: Linux counts to 2**22.
GONE = (2**22 + 1, 1.0)
CODE = "for epoch in range(run.params.epochs):\n    run.log(loss=1 / (epoch + 1))\n" * 10


def make_runs(count: int, *, killed_share: float = 0.5, name: str = "delay", points: int = 3) -> None:
    """So many runs of one name in the current workspace; of the killed ones nobody has noticed the end.

    A run that was killed left its record, its job and its measurements; the others ended well and are tracked.
    """
    settings().home.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    for number in range(1, count + 1):
        killed = int(number * killed_share) > int((number - 1) * killed_share)
        records += _run(f"{name}@{number}", float(number), killed)
        if killed:
            _measure(folder(f"{name}@{number}"), points)
    open_store().commit(records)


def _run(label: str, started_at: float, killed: bool) -> list[Record]:
    given = {"code": CODE, "rows": "features:delay@1#0a", "params": {"epochs": 3, "lr": 0.1}, "planned_by": GONE}
    if not killed:
        end = {"ended_at": started_at + 1, "metrics": {"loss": 0.5, "auc": 0.7}, "tracked": True, "tracked_as": label}
        return [Record.new(label, TrainingRun(state="done", started_at=started_at, **given, **end))]
    job = JobRecord(subject=f"train:{label}", state="running", started_at=started_at, supervised=False)
    run = Record.new(label, TrainingRun(state="running", started_at=started_at, **given))
    return [run, Record.new(f"train-{label.replace('@', '-')}", job).with_(pid=GONE[0], born=GONE[1])]


def _measure(into: Path, points: int) -> None:
    into.mkdir(parents=True)
    history = MetricLog(into / FILE)
    for step in range(points):
        history.add(None, {"loss": 1 / (step + 1)})
    history.close()
