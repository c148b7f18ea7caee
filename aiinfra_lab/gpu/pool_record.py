"""A pool's record: what it shall be. What it does is in its folder, see `pool_queue` and `PoolState`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from .. import files, modes
from ..config import settings
from ..scaling import ScalingPolicy, ScalingState
from ..store import Body

IDLE_S = 300.0


class PoolRecord(Body, frozen=True, kw_only=True):
    """One start of a pool of sessions, which are called NAME-1, NAME-2, …

    min, max: how many there are to be. places: the highest max that this start has had, so that no session is missed.
    per_member: how much of the queue one is to have. gpu, spot, provider: what each is. until_at, budget_usd: when all
    of them are over, and what they may cost together. idle_s: after so long without work it has fewer. job: what sees
    to it. context: what started it. stop_requested_at, ended_at, ended_by: as in `SessionRecord`.
    """

    kind: ClassVar[str] = "gpu.pool"

    min: int
    max: int
    places: int
    per_member: float
    provider: str
    job: str
    started_at: float
    gpu: str | None = None
    spot: bool = False
    idle_s: float | None = None
    until_at: float | None = None
    budget_usd: float | None = None
    context: str = ""
    stop_requested_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def policy(self) -> ScalingPolicy:
        """By what rule it has more and fewer sessions."""
        idle_s = IDLE_S if self.idle_s is None else self.idle_s
        return ScalingPolicy(
            min=self.min, max=self.max, per_replica=self.per_member, down_s=idle_s, idle_to_zero_s=idle_s
        )


class Retry(msgspec.Struct, frozen=True):
    """Starts that failed, and when the next may be tried: later after each, and at once after one that came to be.

    what, fix: why the last one failed, and what helps.
    """

    failures: int = 0
    failed_at: float = 0.0
    next_at: float = 0.0
    what: str = ""
    fix: str = ""

    FIRST_S: ClassVar[float] = 5.0
    LONGEST_S: ClassVar[float] = 600.0

    def failed(self, begun_at: float, now: float, what: str, fix: str) -> Retry:
        """After a start that began then has failed. Those that began together are one failure."""
        count = self.failures + (not self.failures or begun_at > self.failed_at)
        pause_s = min(self.LONGEST_S, self.FIRST_S * 2.0 ** (count - 1))
        return Retry(count, now, now + pause_s, what, fix)

    def succeeded(self, begun_at: float) -> Retry:
        """After one that began then is there; what has failed since counts on."""
        return Retry() if begun_at > self.failed_at else self


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """What its job last decided: how many sessions, and why. problem, fix: why it could not do so.

    windows: what the rule remembers, so that a job that is started again goes on. at: when, in epoch seconds.
    """

    target: int = 0
    why: str = ""
    windows: ScalingState | None = None
    retry: Retry = Retry()
    problem: str = ""
    fix: str = ""
    at: float = 0.0


def folder_of(name: str) -> Path:
    """Where a pool keeps its state and its queue."""
    return settings().home / "gpu-pools" / name


def read_state(name: str) -> PoolState:
    """What its job last wrote; nothing where it has not, or that cannot be read."""
    try:
        return msgspec.json.decode((folder_of(name) / "state.json").read_bytes(), type=PoolState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return PoolState()


def write_state(name: str, state: PoolState) -> None:
    """Replace it."""
    path = folder_of(name) / "state.json"
    files.write(path, msgspec.json.encode(state), mode=modes.OWNER_ONLY, flush=False)
