"""What the noun tells of endpoints: each lives, serves model versions, and takes time that may cost money."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import jobs, nouns
from ..errors import LabError, NotFound, did_you_mean
from ..nouns import Notice, Noun, Observation, Reference, Span, Thing
from ..store import Body, Record, open_store
from ..uris import Uri

SILENT_S = 120.0
"""An endpoint beats every second or so: an end written so long after the last beat is when somebody noticed it."""

_DETAILS = {
    "lost": "its process vanished without a word",
    "starting": "waiting for its process",
    "stopping": "was asked to end",
}
Endpoints = list[Record[dict[str, Any]]]


class DeployNoun(Noun[Body]):
    """See `Noun`."""

    name = "deploy"
    plural = "endpoints"

    def first(self, name: str) -> str:
        return f"`%deploy start {name} --model models:NAME@N` starts it"

    def things(self) -> Sequence[Thing]:
        found = _records()
        return [Thing(each.uri, each.updated_at, _observation(each).state) for each in found]

    def names(self) -> Sequence[str]:
        return [record.name for record in _records()]

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        seen = list(map(_observation, _records()))
        over = sorted((item for item in seen if not item.is_live), key=lambda item: item.ended_at or 0.0, reverse=True)
        return [*(item for item in seen if item.is_live), *over[:ended]]

    def stop(self, uri: str) -> Sequence[str]:
        name = Uri.parse(uri, self.name).name
        record = open_store().get("deploy", name)
        if record is None or not (job := _job(record.body)) or not job.live:
            raise NotFound(f"nothing called {self.name}:{name} lives", did_you_mean(name, self.names()))
        return [jobs.cancel(job.id).id]

    def spans(self) -> Sequence[Span]:
        return [span for record in _records() if "started_at" in record.body for span in _spans(record)]

    def references(self) -> Sequence[Reference]:
        return [
            Reference(model, f"{record.uri} serves", f"stop it first: `%deploy stop {record.name}`")
            for record in _records()
            if not record.body.get("stopped_at")
            for model in (record.body.get("champion"), record.body.get("canary"))
            if model
        ]

    def notices(self) -> Sequence[Notice]:
        """An endpoint serves versions, an alias names one: when they differ, somebody may be surprised."""
        return list(_surprises())


def _records() -> Endpoints:
    return list(open_store().list("deploy"))


def _surprises() -> Iterator[Notice]:
    for record in _records():
        served = record.body.get("champion")
        if not served or record.body.get("stopped_at"):
            continue
        champion = nouns.find("models").aliased(Uri.parse(served).name, "champion")
        if champion is not None and str(champion) != served:
            detail = f"serves {served}, while the champion is {champion}"
            yield Notice(record.uri, detail, f"`%deploy start {record.name} --model {champion}`")


def _observation(record: Record[dict[str, Any]]) -> Observation:
    from . import lifecycle

    body, job = record.body, _job(record.body)
    try:
        state = lifecycle.place_of(record).observe(body["job"])
    except LabError:
        # Its provider cannot be asked now, and the others still can.
        return Observation(record.uri, "cannot tell", job is not None and job.live, body.get("started_at", 0.0))
    return Observation(
        uri=record.uri,
        state=state.word,
        is_live=state.live,
        started_at=job.started_at if job else body.get("started_at", 0.0),
        ended_at=job.ended_at if job else body.get("ended_at"),
        detail="; ".join(_details(body, state.word, job)),
        can_stop=state.live and job is not None and not job.stop_requested_at,
        job=job.id if job else "",
    )


def _details(body: Mapping[str, Any], state: str, job: jobs.Job | None) -> Iterator[str]:
    if rollback := body.get("rolled_back"):
        yield f"{rollback['model']} was rolled back: {rollback['reason']}"
    if state == "failed" and job and job.exit_code is not None:
        yield f"exit code {job.exit_code}"
    elif job and job.live and job.restarts:
        yield f"started again {job.restarts} times" if job.restarts > 1 else "started again once"
    elif state in _DETAILS:
        yield _DETAILS[state]


def _job(body: Mapping[str, Any]) -> jobs.Job | None:
    try:
        return jobs.poll(body.get("job") or "")
    except NotFound:
        return None


def _spans(record: Record[dict[str, Any]]) -> Iterator[Span]:
    """This start and the earlier ones."""
    local = record.body.get("on", "local") == "local"
    for start in (record.body, *record.body.get("earlier_spans", ())):
        ended_at, is_live = _end(start)
        rows, busy_s = _work(start)
        price = start.get("usd_per_hour")
        yield Span(record.uri, start["started_at"], ended_at, is_live, price, local, rows=rows, busy_s=busy_s)


def _end(start: Mapping[str, Any]) -> tuple[float, bool]:
    """When a start ended, and whether it still goes on. Of a process that vanished, its last sign of life counts."""
    began, written, job = float(start["started_at"]), start.get("ended_at"), _job(start)
    if job is None:
        return float(written or began), False
    if job.live and not written:
        return time.time(), True
    silent_s = job.silent_s
    beat = None if silent_s is None else time.time() - silent_s
    if written and not (beat and written - beat > SILENT_S):
        return float(written), False
    # The end of a job that nobody watched is when somebody noticed it: its last heartbeat is nearer to the truth.
    return max(began, beat or job.ended_at or job.started_at), False


def _work(start: Mapping[str, Any]) -> tuple[int, float]:
    """Predicted rows, and the seconds spent on answering, of a start's versions together."""
    versions = start.get("versions") or {}
    busy_ms = start.get("busy_ms") or sum(float(counts.get("busy_ms", 0.0)) for counts in versions.values())
    return int(start.get("count") or 0), busy_ms / 1000


NOUN = DeployNoun()
