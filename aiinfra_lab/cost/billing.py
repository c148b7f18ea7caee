"""What a provider bills for a machine: by its tariff exactly, once all is known, and by a meter while it runs.

Pure: no clock and no provider. Clouds bill seconds that were begun, and a minute of each start at least; the price of a
spot machine changes while it runs.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from ..errors import UsageProblem


@dataclass(frozen=True, slots=True)
class Tariff:
    """How machines are billed: by steps of so many seconds that were begun, and `least_s` of each start at least."""

    step_s: int = 1
    least_s: int = 60

    def steps(self, seconds: float | Fraction) -> int:
        """How many steps are billed for so long a time."""
        return max(math.ceil(seconds / self.step_s), math.ceil(self.least_s / self.step_s))

    def billed_s(self, seconds: float | Fraction) -> int:
        """The seconds that are billed for so long a time."""
        return self.steps(seconds) * self.step_s


PER_SECOND = Tariff()
"""AWS, Google Cloud and Azure, for Linux."""


@dataclass(frozen=True, slots=True, order=True)
class PriceChange:
    """From when on an hour costs so much, in epoch seconds."""

    at: float
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class MachineTime:
    """One start of a machine, all of it. prices: the first is that of its start, in their order."""

    began_at: float
    ended_at: float
    prices: tuple[PriceChange, ...]


def bill(times: Sequence[MachineTime], tariff: Tariff = PER_SECOND) -> Fraction:
    """What these cost, exactly: each step that was begun at the price that held when it began."""
    return sum((_bill(each, tariff) for each in times), Fraction(0))


def _bill(time: MachineTime, tariff: Tariff) -> Fraction:
    began = Fraction(time.began_at)
    count = tariff.steps(max(Fraction(0), Fraction(time.ended_at) - began))
    # A price holds from the first step on that begins at its moment or later.
    firsts = [0, *(_clamped((Fraction(each.at) - began) / tariff.step_s, count) for each in time.prices[1:]), count]
    steps = zip(pairwise(firsts), time.prices, strict=True)
    paid = sum(((last - first) * Fraction(repr(price.usd_per_hour)) for (first, last), price in steps), Fraction(0))
    return paid * tariff.step_s / 3600


def _clamped(step: Fraction, count: int) -> int:
    return min(max(math.ceil(step), 0), count)


class SpendingMeter:
    """What one start of a machine has cost so far, by what is known of it now.

    It is fed with the price at the start and with changes of it, which may be heard late and in any order; between two
    of them nobody need ask anything. What is not known yet is counted at the last price that is.
    """

    def __init__(self, began_at: float, usd_per_hour: float, tariff: Tariff = PER_SECOND) -> None:
        self.began_at = began_at
        self.ended_at: float | None = None
        self._tariff = tariff
        self._prices = [PriceChange(began_at, _checked(usd_per_hour))]

    def price(self, at: float, usd_per_hour: float) -> None:
        """Hear that the price is that from then on. Of two for one moment the last one counts."""
        change = PriceChange(max(at, self.began_at), _checked(usd_per_hour))
        self._prices = [each for each in self._prices if each.at != change.at]
        insort(self._prices, change)

    def ended(self, at: float) -> None:
        """Hear that the machine has ended then: nothing after that is billed."""
        self.ended_at = max(at, self.began_at)

    def spent_usd(self, at: float) -> float:
        """What it has cost by then."""
        until = at if self.ended_at is None else min(at, self.ended_at)
        end = self._tariff.billed_s(max(0.0, until - self.began_at))
        return sum(seconds * usd for seconds, usd in self._pieces(end)) / 3600

    def spent_at(self, budget_usd: float, worst_usd_per_hour: float) -> float:
        """Until when it may run so that it costs no more, where every price from the last known change on may be that.

        The moment of its start where the first minute costs more.
        """
        dearest, step = max(_checked(worst_usd_per_hour), 1e-12), self._tariff.step_s
        known = self._prices[-1]
        until_known = self._step_of(known.at) * step
        rest = budget_usd - sum(seconds * usd for seconds, usd in self._pieces(until_known)) / 3600
        if rest < 0:
            return self._within(budget_usd)
        steps = math.floor(rest * 3600 / (max(dearest, known.usd_per_hour) * step) + 1e-9)
        end = until_known + steps * step
        return self.began_at + (end if end >= self._tariff.least_s else 0)

    def _within(self, budget_usd: float) -> float:
        """The same where the known prices alone have spent it."""
        left, end, step = budget_usd, 0.0, self._tariff.step_s
        for seconds, usd in self._pieces(self._step_of(self._prices[-1].at) * step):
            whole = math.floor(left * 3600 / (usd * step) + 1e-9) * step if usd else seconds
            end += min(seconds, whole)
            if whole < seconds:
                break
            left -= seconds * usd / 3600
        return self.began_at + (end if end >= self._tariff.least_s else 0)

    def _step_of(self, at: float) -> int:
        """The first step that begins at that moment or later."""
        return max(0, math.ceil((at - self.began_at) / self._tariff.step_s))

    def _pieces(self, until_s: float) -> Iterator[tuple[float, float]]:
        """How many of the first seconds cost how much an hour."""
        step = self._tariff.step_s
        edges = [min(self._step_of(each.at) * step, until_s) for each in self._prices] + [until_s]
        for (first, last), price in zip(pairwise(edges), self._prices, strict=True):
            yield max(0.0, last - first), price.usd_per_hour

    def usd_per_hour(self, at: float) -> float:
        """What an hour costs at that moment, as far as is known."""
        found = bisect_right(self._prices, at, key=lambda change: change.at)
        return self._prices[max(0, found - 1)].usd_per_hour


def _checked(usd_per_hour: float) -> float:
    if not 0 <= usd_per_hour < math.inf:
        raise UsageProblem(f"{usd_per_hour} is no price of an hour", "give USD an hour, as in 0.46")
    return usd_per_hour
