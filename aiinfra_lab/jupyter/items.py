"""What lives in the workspace or ended lately, as the side panel lists it: jobs, in the words of their nouns."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import jobs
from ..jobs import Job
from ..lab.things import state_of
from ..store import Record, Store

# A verb called over REST is a job of its own, not the thing that it makes: under that thing's URI, `deploy stop`
# would end the wrong one.
CALL = "lab:call-"
ENDED_SHOWN = 20
ENDED_SHOWN_S = 24 * 3600.0

# Where the record of a thing that can be started again says which job is its own now.
_OWN_JOB = {"gpu": "handle", "deploy": "job"}
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
    """Follows a workspace's jobs and what they are for.

    After the first look, a look reads what was written since and observes what is listed.
    """

    def __init__(self, store: Store) -> None:
        self.rev = 0
        self._lock = threading.Lock()
        self._store = store
        self._records: dict[str, Record] = {}
        self._things: dict[str, Record] = {}
        self._seen_before: dict[str, tuple[str, int, int]] = {}

    def look(self, since: int = 0) -> list[Item]:
        """Items written after that revision, or changed although nobody wrote it down; newest first."""
        with self._lock:
            self._read()
            self._forget_old()
            seen = [self._seen(record) for record in self._records.values()]
        shown = [(started_at, found) for started_at, changed, found in seen if changed > since]
        return [found for _, found in sorted(shown, key=lambda pair: pair[0], reverse=True)]

    def _read(self) -> None:
        if not self.rev:  # the first look: everything that is no job may be much
            self._take(self._store.list(jobs.JobRecord))
        for key in reversed(self._store.changed(self.rev)):
            kind = jobs.JobRecord if key.kind == jobs.JobRecord.kind else key.kind
            self._take([found] if (found := self._store.get(kind, key.name)) else [])
            self.rev = max(self.rev, key.rev)

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            self.rev = max(self.rev, record.rev)
            if record.kind == jobs.JobRecord.kind:
                self._records[record.name] = record
            elif (uri := f"{record.kind}:{record.name}") in self._things:
                self._things[uri] = record

    def _seen(self, record: Record) -> tuple[float, int, Item]:
        """When the job began, the revision after which its item is news, and the item."""
        job = jobs.observe(record)
        thing = self._thing(job.subject)
        found = item(job, thing)
        written = max(record.rev, thing.rev if thing else 0)
        before, then, noticed = self._seen_before.get(job.id, (found.state, written, 0))
        vanished = job.id not in self._seen_before and job.state != record.body.state
        if vanished or (found.state != before and written == then):
            noticed = self.rev + 1  # whoever read this very revision may not know it yet
        self._seen_before[job.id] = (found.state, written, noticed)
        return job.started_at, max(written, noticed), found

    def _thing(self, uri: str) -> Record | None:
        if uri not in self._things:
            noun, _, name = uri.partition(":")
            if (found := self._store.get(noun, name)) is None:
                return None
            self._things[uri] = found
        return self._things[uri]

    def _forget_old(self) -> None:
        ended = [record for record in self._records.values() if not record.body.is_open]
        ended.sort(key=_ended_at, reverse=True)
        for place, record in enumerate(ended):
            if place >= ENDED_SHOWN or time.time() - _ended_at(record) > ENDED_SHOWN_S:
                del self._records[record.name]
                self._seen_before.pop(record.name, None)
        named = {record.body.subject for record in self._records.values()}
        self._things = {uri: record for uri, record in self._things.items() if uri in named}


def item(job: Job, thing: Record | None = None) -> Item:
    """How the panel shows a job, given the record of what it is for."""
    noun, _, name = job.subject.partition(":")
    own = thing if thing and thing.body.get(_OWN_JOB.get(noun, ""), job.id) == job.id else None
    state = state_of(own) if own else ""
    return Item(
        uri=job.subject,
        noun=noun,
        name=name,
        state=state or ("stopping" if job.live and job.stop_requested_at else job.state),
        since=job.ended_at or job.started_at,
        detail=_detail(job, state or job.state, own),
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


def _detail(job: Job, state: str, thing: Record | None) -> str:
    told = thing.body.get("rolled_back") if thing and thing.kind == "deploy" else None
    said = [f"{told['model']} was rolled back: {told['reason']}"] if told else []
    if state == "failed" and job.exit_code is not None:
        said.append(f"exit code {job.exit_code}")
    elif job.live and job.restarts:
        said.append(f"started again {job.restarts} times" if job.restarts > 1 else "started again once")
    else:
        said.append(_DETAILS.get(state, "a verb called over REST" if job.subject.startswith(CALL) else ""))
    return "; ".join(filter(None, said))


def _ended_at(record: Record) -> float:
    return float(record.body.ended_at or record.body.started_at)
