"""What `lab` tells of itself: the workspace's own record, which no list shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..nouns import Noun, Thing
from ..store import Body

WORKSPACE = "workspace"


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

    def first(self, name: str) -> str:
        return "`%lab start` makes a workspace"


NOUN = LabNoun()
