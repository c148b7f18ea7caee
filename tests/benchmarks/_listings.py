"""`python -m tests.benchmarks._listings RUNS RECORDS`: CPU seconds of each list in a workspace that has lived long.

The workspace is the one of the environment. Half of its runs were killed and nobody has noticed yet.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from aiinfra_lab import nouns
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.jupyter.items import ItemFeed
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train.record import TrainingRun, home
from aiinfra_lab.verbs import verbs_of

# No process has it: Linux gives numbers up to 2**22 - 1 at most, and this one only after all others.
DEAD, BATCH = 2**22 - 1, 500


def fill(runs: int, records: int) -> None:
    """Write the records, and what the runs measured into their folders."""
    store, made = open_store(), list(_records(runs, records))
    for start in range(0, len(made), BATCH):
        store.commit(made[start : start + BATCH])
    for number in range(1, runs + 1, 2):
        folder = home() / f"delay@{number}"
        folder.mkdir(parents=True)
        points = ({"at": 1.0 + step, "name": "loss", "step": step, "value": 1 / (1 + step)} for step in range(20))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))


def _records(runs: int, records: int) -> Iterator[Record[Any]]:
    for number in range(1, runs + 1):
        killed = number % 2 == 1
        run = TrainingRun(
            state="running" if killed else "done", params={"epochs": 3}, code="run.log(loss=1.0)", rows="data:a@1",
            planned_by=(DEAD, 1.0), started_at=float(number), ended_at=None if killed else number + 60.0,
            tracked=not killed, metrics={} if killed else {"loss": 0.5},
        )  # fmt: skip
        yield Record.new(f"delay@{number}", run)
        yield _job(f"train:delay@{number}", number, killed)
    # What has ended is asked nothing again, whatever its noun.
    for number in range(2 * runs, records, 4):
        at, over = float(number), number + 60.0
        yield _job(f"gpu:session-{number}", number, killed=False)
        session = SessionRecord(
            provider="local", gpu="cpu", usd_per_hour=1.0, started_at=at, ended_at=over, ended_by="stopped",
            handle=f"job-{number:06}-gpu",
        )  # fmt: skip
        yield Record.new(f"session-{number}", session)
        ended = EndpointRecord(
            champion="models:delay@1", started_at=at, ended_at=over, outcome="stopped", stopped_at=over
        )
        yield Record.new(f"endpoint-{number}", ended)
        yield Record.new(f"delay@{number}", ModelVersion(run="train:delay@1", created_at=at, removed_at=over))


def _job(subject: str, number: int, killed: bool) -> Record[JobRecord]:
    job = JobRecord(
        subject=subject, state="running" if killed else "done", started_at=float(number), supervised=not killed,
        pid=DEAD, born=1.0, exit_code=None if killed else 0, ended_at=None if killed else number + 60.0,
    )  # fmt: skip
    return Record.new(f"job-{number:06}-{subject.partition(':')[0]}", job)


def main(runs: int, records: int) -> dict[str, float]:
    """CPU seconds by what was listed; what a verb imports is not counted."""
    fill(runs, records)
    listed = {noun: verbs_of(noun)["ls"].call for noun in nouns.TABLE if "ls" in verbs_of(noun)}
    for noun in nouns.TABLE:
        importlib.import_module(f"{nouns.TABLE[noun]}.noun")
    found = {"%train ls, the first": _cpu_s(listed["train"])}
    found |= {f"%{noun} ls": _cpu_s(call) for noun, call in listed.items()}
    watch = ItemFeed(open_store())
    return {**found, "the panel's items": _cpu_s(watch.look), "the panel's items again": _cpu_s(watch.look)}


def _cpu_s(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
