"""What lives in the workspace or ended lately, as the side panel lists it. Reads job records, and nothing else."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import jobs
from ..jobs import Job
from ..store import Record, Store

# A verb called over REST is a job of its own, not the thing that it makes: under that thing's URI, `deploy stop`
# would end the wrong one.
CALL = "lab:call-"
ENDED_SHOWN = 20
ENDED_SHOWN_S = 24 * 3600.0

_DETAILS = {
    "lost": "its process vanished without a word",
    "starting": "waiting for its process",
    "stopping": "was asked to end",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One card of the panel. `since` is when it began to live, or when it ended as far as anybody wrote that down."""

    uri: str
    noun: str
    name: str
    state: str
    since: float
    detail: str
    stoppable: bool
    deadline: float | None
    job: str


class Watch:
    """Follows a workspace's jobs: after the first look, a look reads what was written since and observes what lives."""

    def __init__(self, store: Store) -> None:
        self.rev = 0
        self._lock = threading.Lock()
        self._store = store
        self._records: dict[str, Record] = {}

    def look(self, since: int = 0) -> list[Item]:
        """Items written after that revision, or found dead although nobody wrote it down; newest first."""
        with self._lock:
            for record in self._store.list(jobs.KIND, self.rev):
                self._records[record.name] = record
                self.rev = max(self.rev, record.rev)
            self._forget_old()
            seen = [(record, jobs.observe(record)) for record in self._records.values()]
        shown = [job for record, job in seen if record.rev > since or job.state != record.body["state"]]
        return [item(job) for job in sorted(shown, key=lambda job: job.started_at, reverse=True)]

    def _forget_old(self) -> None:
        ended = [record for record in self._records.values() if record.body["state"] not in jobs.LIVE]
        ended.sort(key=_ended_at, reverse=True)
        for place, record in enumerate(ended):
            if place >= ENDED_SHOWN or time.time() - _ended_at(record) > ENDED_SHOWN_S:
                del self._records[record.name]


def item(job: Job) -> Item:
    """How the panel shows a job."""
    noun, _, name = job.subject.partition(":")
    return Item(
        uri=job.subject,
        noun=noun,
        name=name,
        state="stopping" if job.live and job.stop_requested_at else job.state,
        since=job.ended_at or job.started_at,
        detail=_detail(job),
        stoppable=job.live and not job.stop_requested_at,
        deadline=job.deadline_at if job.live else None,
        job=job.id,
    )


def items_since(watch: Watch, since: int, workspace: Path) -> dict[str, object]:
    """The answer to `GET /aiinfra/items`: everything, when the caller knows a revision that is not ours."""
    found = watch.look(since)
    if since > watch.rev:  # the store was put back from a copy
        found = watch.look(0)
    items = [asdict(each) for each in found]
    return {"rev": watch.rev, "workspace": workspace.name, "now": time.time(), "items": items}


def _detail(job: Job) -> str:
    if job.state == "failed" and job.exit_code is not None:
        return f"exit code {job.exit_code}"
    if job.live and job.restarts:
        return f"started again {job.restarts} times" if job.restarts > 1 else "started again once"
    return _DETAILS.get(job.state, "a verb called over REST" if job.subject.startswith(CALL) else "")


def _ended_at(record: Record) -> float:
    return float(record.body.get("ended_at") or record.body["started_at"])
