"""What it takes to carry so many requests a day, and what that costs a month: in the cloud, on own machines, on both.

Pure: the measured rate, prices and premises come in. How many machines an hour needs is `scaling`'s rule, the same by
which pools are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import UsageProblem
from ..nouns import Saving
from ..scaling import ScalingPolicy, replicas
from ..units import about_usd
from . import day, specs
from .premises import DAYS_PER_MONTH, HOURS_PER_MONTH, Premises
from .prices import Catalogue, Price

_MOST_MACHINES = 100_000

OptionName = Literal[
    "on demand", "as each hour needs", "spot", "own machines", "own and cloud", "machines like this one"
]


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be carried: so many requests a day, of which 95 % are answered within `p95_ms`."""

    requests_per_day: float
    p95_ms: float | None = None

    @property
    def mean_per_s(self) -> float:
        return self.requests_per_day / 86_400

    @property
    def requests_per_month(self) -> float:
        return self.requests_per_day * DAYS_PER_MONTH


@dataclass(frozen=True, slots=True)
class Option:
    """One way to carry it.

    name: an OptionName, or that of a saving. machines: in the busiest hour. utilisation: of all that is paid for, how
    much of the measured rate is asked for. usd_per_month: with the month's share of what was bought. buys_usd: that at
    once, before the first month. is_assumed: whether what an own machine costs is a default: then it decides nothing.
    """

    name: str
    machine: str
    machines: int
    utilisation: float
    usd_per_month: float
    note: str = ""
    buys_usd: float = 0.0
    is_assumed: bool = False


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From which month on what is bought has cost less, in all, than what is rented; None: not in its life.

    buys_usd: at once. upkeep_usd, rent_usd: of a month.
    """

    bought: str
    rented: str
    month: int | None
    months: int
    buys_usd: float
    upkeep_usd: float
    rent_usd: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine on which nothing was measured, and from how many requests a second on it would cost less."""

    machine: str
    usd_per_hour: float
    less_from_per_s: float
    note: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many machines each hour of a day takes. rate_per_s: what one was measured to answer."""

    demand: Demand
    rate_per_s: float
    utilisation: float
    peak: float

    @property
    def hours(self) -> tuple[int, ...]:
        """Machines, for each of the day's hours."""
        policy = ScalingPolicy(min=1, max=_MOST_MACHINES, per_replica=self.rate_per_s * self.utilisation)
        return tuple(replicas(policy, self.demand.mean_per_s * factor) for factor in day.curve(self.peak))

    @property
    def most(self) -> int:
        """In the busiest hour."""
        return max(self.hours)

    @property
    def hours_per_month(self) -> float:
        """Machine-hours, where each hour has as many as it needs."""
        return sum(self.hours) * DAYS_PER_MONTH

    def beyond(self, own: int) -> float:
        """Machine-hours a month of what so many do not carry."""
        return sum(max(0, each - own) for each in self.hours) * DAYS_PER_MONTH

    @property
    def always(self) -> float:
        """Machine-hours a month, where each hour has as many as the busiest."""
        return self.most * HOURS_PER_MONTH

    def option(
        self,
        name: str,
        machine: str,
        machine_hours: float,
        usd_per_month: float,
        note: str = "",
        buys_usd: float = 0.0,
        *,
        is_assumed: bool = False,
    ) -> Option:
        """One that pays for so many machine-hours a month."""
        asked = self.demand.mean_per_s / self.rate_per_s * HOURS_PER_MONTH
        return Option(name, machine, self.most, asked / machine_hours, usd_per_month, note, buys_usd, is_assumed)


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The options there are, the cheapest first, and what is known besides.

    saved: what measured savings would make of the rented option, see `nouns.Saving`. candidates: see there.
    """

    options: tuple[Option, ...]
    saved: tuple[tuple[Saving, Option], ...]
    break_even: tuple[BreakEven, ...]
    candidates: tuple[Candidate, ...]
    hours: tuple[int, ...]

    def option(self, name: OptionName) -> Option | None:
        """The option of that name, where there is one."""
        return next((each for each in self.options if each.name == name), None)


def plan(
    demand: Demand,
    rate_per_s: float,
    reference: Price,
    premises: Premises,
    *,
    catalogue: Catalogue,
    here_usd_per_hour: float = 0.0,
    savings: Sequence[Saving] = (),
) -> CapacityPlan:
    """How that is carried by machines that answer so much each. UsageProblem when it takes too many.

    reference: the rented machine that does as much as the one that was measured. here_usd_per_hour: the price of that
    one itself, where it has one.
    """
    fleet = Fleet(demand, rate_per_s, premises["utilisation"], premises["peak"])
    if fleet.most >= _MOST_MACHINES:
        raise UsageProblem(
            f"{demand.requests_per_day:,.0f} requests a day take more than {_MOST_MACHINES:,} machines",
            "ask for fewer, or measure a higher rate: `%deploy run NAME --rows ROWS --rate 1000`",
        )
    rented = _rented(fleet, reference)
    own = list(_own(fleet, reference, premises))
    here: OptionName = "machines like this one"
    like_here = [fleet.option(here, "this machine", fleet.always, fleet.always * here_usd_per_hour)]
    options = sorted([*rented, *own, *(like_here if here_usd_per_hour else ())], key=_usd)
    cheapest_rented = min((option for option in rented if option.name != "spot"), key=_usd)
    even = (_break_even(option, cheapest_rented, premises) for option in own)
    saved = tuple((each, _saved(fleet, reference, each)) for each in savings)
    candidates = tuple(_candidates(catalogue, reference, rate_per_s))
    return CapacityPlan(tuple(options), saved, tuple(even), candidates, fleet.hours)


def called(price: Price) -> str:
    """How people read a machine of the price table."""
    return f"{price.provider} {price.type}"


def _rented(fleet: Fleet, price: Price) -> list[Option]:
    """On demand, as each hour needs where that is less, and on the spot market where its price is known."""
    name, needed = called(price), fleet.hours_per_month
    options = [fleet.option("on demand", name, fleet.always, fleet.always * price.usd_per_hour)]
    if needed < fleet.always - 1e-6:
        note = f"{min(fleet.hours)} to {fleet.most} machines over the day"
        options.append(fleet.option("as each hour needs", name, needed, needed * price.usd_per_hour, note))
    if price.spot_high_usd is not None:
        note = f"may be taken away; {about_usd(options[0].usd_per_month)} where none is to be had"
        options.append(fleet.option("spot", name, fleet.always, fleet.always * price.spot_high_usd, note))
    return options


def _own(fleet: Fleet, price: Price, premises: Premises) -> Iterator[Option]:
    """Own machines for all of it, and for so much of it that the rest, rented by the hour, makes the sum the least."""
    each, bought, is_assumed = premises.own_usd_per_month, premises["own_usd"], not premises.is_set("own_usd")

    def hybrid(own: int) -> Option:
        rented = fleet.beyond(own)
        usd = own * each + rented * price.usd_per_hour
        note = f"{own} bought, up to {fleet.most - own} rented by the hour"
        paid = own * HOURS_PER_MONTH + rented
        name: OptionName = "own and cloud"
        return fleet.option(name, f"bought, {called(price)}", paid, usd, note, own * bought, is_assumed=is_assumed)

    most = fleet.most
    yield fleet.option("own machines", "bought", fleet.always, most * each, "", most * bought, is_assumed=is_assumed)
    # Between two of these each further machine that is bought saves the same, so the least sum is at one of them.
    if min(fleet.hours) < most:
        yield min(map(hybrid, sorted({*fleet.hours, most - 1} - {most})), key=_usd)


def _usd(option: Option) -> float:
    return option.usd_per_month


def _break_even(option: Option, rented: Option, premises: Premises) -> BreakEven:
    """Month by month: what is bought at once, and what goes on, against the rent."""
    months = premises.own_months
    upkeep, rent = option.usd_per_month - option.buys_usd / months, rented.usd_per_month
    month = max(1, math.ceil(option.buys_usd / (rent - upkeep) - 1e-9)) if rent > upkeep else months + 1
    return BreakEven(
        option.name, rented.name, month if month <= months else None, months, option.buys_usd, upkeep, rent
    )


def _saved(fleet: Fleet, price: Price, saving: Saving) -> Option:
    """On demand, with a machine that does so much more."""
    faster = replace(fleet, rate_per_s=fleet.rate_per_s * saving.rate)
    return faster.option(saving.name, called(price), faster.always, faster.always * price.usd_per_hour, saving.source)


def _candidates(catalogue: Catalogue, reference: Price, rate_per_s: float) -> Iterator[Candidate]:
    """What may carry it for less, had it been measured: the cheapest share of an accelerator, the cheapest slice, the
    same accelerator on the spot market of others, and the cheapest of another kind."""
    of_each = _shares(catalogue), _slices(catalogue), _spots(catalogue, reference), _others(catalogue, reference)
    found = [min(kind, key=lambda item: item[1], default=None) for kind in map(list, of_each)]
    for name, usd, note in sorted(filter(None, found), key=lambda item: item[1]):
        if usd < reference.usd_per_hour:
            yield Candidate(name, usd, rate_per_s * usd / reference.usd_per_hour, note)


def _shares(catalogue: Catalogue) -> Iterator[tuple[str, float, str]]:
    for price in catalogue.rows:
        if price.count < 1:
            yield called(price), price.usd_per_hour, f"{price.count:g} of {price.accelerator}, on demand"


def _slices(catalogue: Catalogue) -> Iterator[tuple[str, float, str]]:
    """The smallest slice of each accelerator that can be cut, where others use the rest."""
    for known in specs.ACCELERATORS:
        whole = [row for row in catalogue.by_accelerator.get(known.name, ()) if row.count >= 1]
        if not known.profiles or not whole:
            continue
        price = min(whole, key=lambda row: row.usd_per_hour / row.count)
        least = min(known.profiles, key=lambda profile: profile.compute)
        usd = price.usd_per_hour / price.count / least.instances
        yield called(price), usd, f"MIG slice {least.name} of {known.name}, 1 of {least.instances}"


def _spots(catalogue: Catalogue, reference: Price) -> Iterator[tuple[str, float, str]]:
    """The same accelerator on the spot market of others."""
    for price in catalogue.by_spot.get(reference.accelerator, ()):
        if price.count == reference.count and called(price) != called(reference) and price.spot_high_usd is not None:
            yield called(price), price.spot_high_usd, f"{price.accelerator} on spot, {prices_of(price)}"


def _others(catalogue: Catalogue, reference: Price) -> Iterator[tuple[str, float, str]]:
    """The cheapest machine with each other accelerator."""
    for name, rows in catalogue.by_accelerator.items():
        whole = [row for row in rows if row.count >= 1]
        if name != reference.accelerator and whole:
            yield called(whole[0]), whole[0].usd_per_hour, f"{name} on demand, {prices_of(whole[0])}"


def prices_of(price: Price) -> str:
    """From when a price is."""
    return f"prices of {price.as_of}"
