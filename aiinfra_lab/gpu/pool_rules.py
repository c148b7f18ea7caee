"""Which sessions of a pool are started and ended, and what each may cost. Pure: no clock, no input, no output.

How many there are to be is decided by `scaling.decide`. What they may cost together is handed out: whatever was given
to a session is taken from the pool's budget until it has ended, so that the worst that can happen is paid for, also
when nobody sees to the pool any more.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from ..cost.billing import PER_SECOND
from ..scaling import Measurement, ScalingState

# A session that is ended to the second may cost a second more, which its provider has begun.
TICK_S = 2.0
# A session that works gets more of what nobody has so long before its own share is spent.
TOP_UP_S = 600.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Member:
    """A session of a pool, or one that is being started.

    is_held: whether a client of the queue has it. is_used: whether it is at work for somebody else. may_end: whether it
    is neither, for certain. spent_usd: of this start; budget_usd: what that may cost, None where nothing says so.
    """

    number: int
    state: Literal["starting", "running", "stopping"]
    usd_per_hour: float = 0.0
    spent_usd: float = 0.0
    budget_usd: float | None = None
    is_held: bool = False
    is_used: bool = False
    may_end: bool = True

    @property
    def is_busy(self) -> bool:
        return self.is_held or self.is_used

    @property
    def worst_usd(self) -> float:
        """What this start may cost in the end."""
        return max(self.spent_usd, self.budget_usd or 0.0) + _tick_usd(self.usd_per_hour)

    @property
    def left_s(self) -> float:
        """For how long its budget lasts."""
        return max(0.0, (self.budget_usd or 0.0) - self.spent_usd) / self.usd_per_hour * 3600


@dataclass(frozen=True, slots=True)
class PoolChange:
    """The numbers of sessions that are to be started, and of those that are to be ended."""

    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()


def measure(members: Sequence[Member], waiting: int, per_member: float, at_s: float) -> Measurement:
    """The load: who waits and who has one; a session that somebody else uses has no room for any."""
    held = sum(each.is_held for each in members)
    used = sum(each.is_used and not each.is_held for each in members)
    return Measurement(at_s, waiting + held + per_member * used, held + used)


def shortened(state: ScalingState) -> ScalingState:
    """The same windows with the last moment alone of each time in which the same number was wanted: they are written
    down each second, and only whether a number was wanted within a time is asked of them."""
    kept = [before for before, after in pairwise(state.wanted) if before[1] != after[1]]
    return replace(state, wanted=(*kept, *state.wanted[-1:]))


def change(target: int, most: int, members: Sequence[Member], not_free: Container[int], places: int) -> PoolChange:
    """From those that there are to that many: those that are being started count, and what works stays.

    Those that are ending are still there: there are never more than `most` at once.
    """
    staying = [each for each in members if each.state != "stopping"]
    lacking = min(target - len(staying), most - len(members))
    taken = {each.number for each in members}
    free = [number for number in range(1, places + 1) if number not in taken and number not in not_free]
    # What is not ready yet goes first, then the last one.
    idle = sorted(
        (each for each in staying if each.may_end and not each.is_busy),
        key=lambda each: (each.state == "running", -each.number),
    )
    surplus = max(0, len(staying) - target)
    return PoolChange(tuple(free[: max(0, lacking)]), tuple(each.number for each in idle[:surplus]))


def share_usd(budget_usd: float, gone_usd: float, members: Sequence[Member], most: int, usd_per_hour: float) -> float:
    """What another session may cost: an equal part of what nobody has been given, for those that may still come.

    0 where that does not last for the minute that is paid at least. gone_usd: what those cost that have ended
    """
    free = budget_usd - gone_usd - sum(each.worst_usd for each in members)
    part = max(free / max(1, most - len(members)), usd_per_hour * TOP_UP_S / 3600)
    share = min(part, free) - _tick_usd(usd_per_hour)
    return share if share >= usd_per_hour * PER_SECOND.least_s / 3600 else 0.0


def new_budgets(budget_usd: float, gone_usd: float, members: Sequence[Member], most: int) -> Mapping[int, float]:
    """What sessions may cost from now on, of those for which that changes.

    One whose share is nearly spent gets another share of what nobody has. Where more is given out than there is, since
    the pool's budget was set lower, all that live share what is left.
    """
    priced = [each for each in members if each.usd_per_hour and each.state != "stopping"]
    free = budget_usd - gone_usd - sum(each.worst_usd for each in members)
    if free < -_ROUNDING:
        left = budget_usd - gone_usd - sum(each.spent_usd for each in members)
        part = left / max(1, len(priced))
        found = {each.number: each.spent_usd + part - _tick_usd(each.usd_per_hour) for each in priced}
        return {number: max(0.0, usd) for number, usd in found.items() if _is_less(usd, number, priced)}
    changed = {}
    for each in priced:
        if each.state != "running" or (each.budget_usd is not None and each.left_s >= TOP_UP_S):
            continue
        part = max(free / max(1, most - len(members) + 1), each.usd_per_hour * TOP_UP_S / 3600)
        more = min(part, free)
        if each.budget_usd is None or more >= each.usd_per_hour * PER_SECOND.least_s / 3600:
            changed[each.number] = max(each.spent_usd, each.budget_usd or 0.0) + more
            free -= more
    return changed


def _is_less(usd: float, number: int, members: Sequence[Member]) -> bool:
    before = next(each.budget_usd for each in members if each.number == number)
    return before is None or usd < before


def _tick_usd(usd_per_hour: float) -> float:
    return usd_per_hour * TICK_S / 3600
