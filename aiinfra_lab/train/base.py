"""What a tracking server does for a run. Our own record of the run is complete without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .history import Point

# Killed is none of the others: nobody asked for it, and no error of the code ended it.
Ending = Literal["done", "failed", "stopped", "killed"]


@dataclass(frozen=True, slots=True)
class Intent:
    """A run before its code starts, as a tracking server is to know it.

    uri: the run. rows, digest: what it learns from, and the digest of every byte of it. started_at: in epoch seconds;
    None for now, since a run may be sent long after it began.
    """

    uri: str
    rows: str
    digest: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """A run as the server knows it; `state` is `running` or how it ended."""

    state: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    points: int


class Tracker(Protocol):
    """A tracking server. Every method returns when the server has it on disk, and raises Unavailable when it cannot."""

    def begin(self, intent: Intent) -> str:
        """The server's id of a run, made when there is none of that URI yet; so it may be called twice."""

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        """Add points; those it has already are not doubled, so it may be called twice. NotFound for an unknown id."""

    def end(self, run_id: str, ending: Ending, at: float | None = None) -> None:
        """Close a run; a second call changes how and when it ended. NotFound for an unknown id.

        at: when it ended, in epoch seconds, which may be long ago; None for now.
        """

    def read(self, run_id: str) -> Tracked | None:
        """What the server has, or None when it knows no such id."""

    def known(self, run_ids: Sequence[str]) -> set[str]:
        """Those of these ids that the server has, asked in as few calls as it can answer: there may be thousands."""

    def look(self) -> str:
        """The command with which a person opens the server's own page."""
