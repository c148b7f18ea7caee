"""Where an endpoint runs: the contract of whatever starts, observes and ends an endpoint's process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..store import Record

LIVE = ("starting", "running", "stopping")


@dataclass(frozen=True)
class State:
    """How a process is: starting, running, stopping, stopped, failed, or lost; and how often it was started again."""

    word: str
    restarts: int = 0

    @property
    def live(self) -> bool:
        """Whether it serves, or will, or still does."""
        return self.word in LIVE


class Target(Protocol):
    """A place for endpoints. A *claim* names one process of one endpoint; the endpoint's record keeps it."""

    def claim(self, name: str, before: str | None = None) -> tuple[str, Sequence[Record]]:
        """A new claim, and the records that must be committed together with the endpoint's. Starts nothing.

        `before`: the endpoint's claim until now, which is not live; it is never started again.
        """

    def start(self, claim: str) -> None:
        """Start what was claimed and committed. Returns at once; may be called again, then it changes nothing.

        Unavailable when the place cannot start anything now.
        """

    def observe(self, claim: str) -> State:
        """How it is at this moment. A claim that nothing is known of is lost."""

    def stop(self, claim: str, timeout_s: float) -> None:
        """End it, giving it time to answer what it has taken; returns when it is gone, at once when it is gone already.

        Unavailable when it still lives after timeout_s.
        """

    def output(self, claim: str, lines: int) -> str:
        """The end of what its process wrote; empty when nothing is known of it."""

    def forget(self, claim: str) -> None:
        """Undo a claim that was never committed; without effect on any other."""
