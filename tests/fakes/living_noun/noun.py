"""What it tells of its things."""

from __future__ import annotations

from collections.abc import Sequence

from aiinfra_lab import jobs
from aiinfra_lab.nouns import Noun, Observation
from aiinfra_lab.store import Record

from . import Service


class ServiceNoun(Noun[Service]):
    """See `Noun`."""

    name = "service"
    kind = Service

    def observe(self, records: Sequence[Record[Service]]) -> Sequence[Observation]:
        found = [(record, jobs.find(record.uri)) for record in records]
        return [Observation(record.uri, job.state if job else "", bool(job and job.live)) for record, job in found]


NOUN = ServiceNoun()
