"""What `lab` tells of itself: the workspace's own record, which no list shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .. import jobs
from ..nouns import Keeping, Notice, Noun, Thing
from ..store import Body

WORKSPACE = "workspace"
JOBS_GIB = 2.0


class WorkspaceRecord(Body, frozen=True, kw_only=True):
    """That a workspace was made: where it lay then (it may be moved), and when."""

    kind: ClassVar[str] = "lab"

    path: str
    made_at: float


class LabNoun(Noun[WorkspaceRecord]):
    """The noun `lab`."""

    name = "lab"
    kind = WorkspaceRecord

    def things(self) -> Sequence[Thing]:
        return []

    def keepings(self) -> Sequence[Keeping]:
        return [Keeping("jobs.log", JOBS_GIB, tuple(jobs.kept_files()))]

    def notices(self) -> Sequence[Notice]:
        count = _unwatched()
        detail = f"it is gone, and nothing ends {count} living jobs in time or starts them again"
        return [Notice("lab:supervisor", detail, "`%lab start` brings it back")] if count else []

    def reconcile(self) -> Sequence[str]:
        if jobs.is_watched() or not jobs.needs_supervisor():
            return []
        jobs.launch()
        return ["the supervisor of the living jobs was gone, and is back"]

    def first(self, name: str) -> str:
        return "`%lab start` makes a workspace"


def _unwatched() -> int:
    """How many living jobs this folder's supervisor should watch, and does not."""
    if jobs.is_watched():
        return 0
    return sum(job.supervised and job.is_here for job in jobs.ls(live=True))


NOUN = LabNoun()
