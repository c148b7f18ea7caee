"""Which machine to rent: the cheapest that is what was asked for, what it may cost at worst, and why not the others.

No network and no file: prices come in as a catalogue, and the day on which it is asked. What a provider can rent out at
this moment is the business of `gpu`.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import Denied, Unavailable
from ..units import counted, show_duration, show_usd
from . import accelerators, prices
from .guards import Distrust
from .prices import STALE_DAYS, Catalogue, Price
from .wanted import Wanted

# Clouds bill by the second or the minute, and a minute at least: whole minutes are never less than the bill.
TICK_S = 60.0
MOST = 20

Reason = Literal["accelerator", "too few", "memory", "provider", "place", "spot", "spot price", "budget"] | Distrust

_REASONS: dict[Reason, str] = {
    "accelerator": "another accelerator",
    "too few": "fewer accelerators than were asked for, or a smaller share of one",
    "memory": "less memory than was asked for, or nobody knows how much",
    "provider": "another provider",
    "place": "another region or zone",
    "spot": "no spot price is known",
    "spot price": "no market made their spot price: it is the price on demand, dearer, or exactly 10 % of it",
    "budget": "may cost more than the budget",
    "price": "their price is nothing, or there is none",
    "count": "they have no accelerator",
    "dedicated": "they are of dedicated tenancy, 1.1 times the machine's price",
    "older": "a newer price of the same machine is known",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows that were not chosen for one reason, e.g. `12 rows: no spot price is known`."""

    reason: Reason
    rows: int

    def __str__(self) -> str:
        return f"{counted(self.rows, 'row')}: {_REASONS[self.reason]}"


@dataclass(frozen=True, slots=True)
class PricedOffer:
    """A machine of the price table that is what was asked for.

    usd_per_hour: what an hour costs as the table has it; of a spot price that is a range, its upper end.
    worst_usd_per_hour: what it may cost. worst_case_usd: the same of the whole time; None where no time was given.
    """

    price: Price
    spot: bool
    usd_per_hour: float
    worst_usd_per_hour: float
    worst_case_usd: float | None

    def __str__(self) -> str:
        where = f" in {self.price.place}" if self.price.place else ""
        return f"{self.price.provider} {self.price.type}{where}"


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """What is asked for: see `choose`."""

    wanted: Wanted | None
    spot: bool
    may_fall_back: bool
    memory_gib: float | None
    providers: Collection[str] | None
    places: Collection[str] | None
    for_s: float | None
    budget_usd: float | None
    stale_before: str

    @property
    def is_capped(self) -> bool:
        """Whether a machine that costs more than its spot price ends."""
        return self.spot and not self.may_fall_back

    def usd_per_hour(self, price: Price) -> float:
        """What an hour of it costs; endless where that is not known."""
        return _spot(price) if self.spot else price.usd_per_hour

    def worst_usd_per_hour(self, price: Price) -> float:
        """What an hour of it may cost."""
        return _spot(price) if self.is_capped and price.as_of >= self.stale_before else price.usd_per_hour

    def rank(self, price: Price) -> tuple[float, float, str]:
        """Less for what is to be chosen first."""
        return self.usd_per_hour(price), self.worst_usd_per_hour(price), price.uri

    @property
    def limit_usd_per_hour(self) -> float:
        """What an hour may cost at worst."""
        return math.inf if self.budget_usd is None else (self.budget_usd + 1e-9) / self.hours

    @property
    def hours(self) -> float:
        """What is billed, at least."""
        return max(1.0, math.ceil((self.for_s or 0.0) / TICK_S - 1e-9)) * TICK_S / 3600

    def __str__(self) -> str:
        memory = f" with {self.memory_gib:g} GiB" if self.memory_gib else ""
        return f"{'spot ' if self.spot else ''}{self.wanted or 'an accelerator'}{memory}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The offers, cheapest first, and every row that is none of them, counted by the reason.

    fitting: how many offers there are; `offers` holds the first of them. cheapest_refused: of those beyond the budget.
    nearest: where all are, what the budget buys of the accelerator whose memory is nearest. notes: on their age.
    """

    request: MachineRequest
    offers: tuple[PricedOffer, ...]
    fitting: int
    why_not: tuple[Rejection, ...]
    cheapest_refused: PricedOffer | None = None
    nearest: PricedOffer | None = None
    notes: tuple[str, ...] = ()

    def best(self) -> PricedOffer:
        """The cheapest. Denied when each may cost more than the budget, Unavailable when there is none at all."""
        if self.offers:
            return self.offers[0]
        if self.cheapest_refused:
            raise Denied(self._too_dear(self.cheapest_refused), self._what_would_fit(self.cheapest_refused))
        why = "; ".join(map(str, self.why_not)) or "it is empty"
        raise Unavailable(f"the price table has no {self.request}: {why}", self._what_to_ask())

    def _too_dear(self, refused: PricedOffer) -> str:
        request, worst = self.request, refused.worst_case_usd
        time = f" for {show_duration(request.for_s)}" if request.for_s else ""
        costs = f"may cost {show_usd(worst)}" if worst is not None else "costs more in its first minute"
        return f"{request}{time} {costs} ({refused}), and the budget is {show_usd(request.budget_usd or 0.0)}"

    def _what_would_fit(self, refused: PricedOffer) -> str:
        ways = []
        rate = refused.worst_usd_per_hour
        minutes = int((self.request.budget_usd or 0.0) / rate * 60 + 1e-9)
        if self.request.for_s and minutes:
            ways.append(f"for {minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"for {minutes}m")
        ways.append(f"with a budget of {math.ceil(rate * self.request.hours * 100 - 1e-9) / 100:.2f}")
        if self.nearest:
            worst = self.nearest.worst_case_usd
            costs = f", {show_usd(worst)} at most" if worst is not None else ""
            ways.append(f"for {self.nearest.price.accelerator} ({self.nearest}{costs})")
        return f"ask {', or '.join(ways)}"

    def _what_to_ask(self) -> str:
        reasons = {each.reason for each in self.why_not}
        if reasons & {"spot", "spot price"}:
            return "ask for one on demand, or fetch today's prices: `%cost get --refresh`"
        if reasons & {"provider", "place"}:
            return "ask for any provider, region and zone"
        return "`%cost ls` lists the accelerators that there are"


@dataclass(slots=True)
class _Scan:
    """Rows that were looked at: what the budget buys, the cheapest that it does not, and the others by the reason."""

    affordable: list[Price] = field(default_factory=list)
    refused: Price | None = None
    rejected: Counter[Reason] = field(default_factory=Counter)


def choose(
    rows: Catalogue | Iterable[Price],
    wanted: Wanted | None = None,
    *,
    spot: bool = False,
    may_fall_back: bool = True,
    memory_gib: float | None = None,
    providers: Collection[str] | None = None,
    places: Collection[str] | None = None,
    for_s: float | None = None,
    budget_usd: float | None = None,
    most: int = MOST,
    stale_before: str | None = None,
) -> Choice:
    """The machines that are what was asked for, cheapest first.

    rows: a catalogue; of anything else one is made, which takes longer than the choice. wanted: any accelerator when
    None. spot: only at spot prices. may_fall_back: the machine may go on at the price on demand, which is then the
    worst case, as it is where the spot price is stale; otherwise the request has to carry the spot price as its limit.
    memory_gib: of each accelerator, or each slice. places: names of regions or zones. for_s, budget_usd: an offer whose
    worst case, of whole minutes, is more than the budget is none. stale_before: the first day, as YYYY-MM-DD, whose
    prices are still today's; by default STALE_DAYS ago.
    """
    catalogue = rows if isinstance(rows, Catalogue) else Catalogue.of(rows)
    fresh_from = prices.stale_before() if stale_before is None else stale_before
    request = MachineRequest(wanted, spot, may_fall_back, memory_gib, providers, places, for_s, budget_usd, fresh_from)
    found = _Scan()
    for name, distrusted in catalogue.distrusted.items():
        if _is_named(request, name):
            found.rejected.update(distrusted)
        else:
            found.rejected["accelerator"] += sum(distrusted.values())
    for name, of_name in catalogue.by_accelerator.items():
        if _is_named(request, name):
            _look(of_name, name, request, found)
        else:
            found.rejected["accelerator"] += len(of_name)
    offers = tuple(_offer(each, request) for each in heapq.nsmallest(most, found.affordable, key=request.rank))
    refused = None if found.affordable else found.refused
    return Choice(
        request,
        offers,
        len(found.affordable),
        tuple(Rejection(reason, count) for reason, count in found.rejected.most_common()),
        _offer(refused, request) if refused else None,
        _nearest(catalogue, request, refused) if refused else None,
        tuple(_notes(offers, fresh_from)),
    )


def _look(rows: Iterable[Price], name: str, request: MachineRequest, found: _Scan) -> None:
    """Look at all rows of an accelerator.

    There may be many thousands: an object for each would have the garbage collector look at the whole table.
    """
    by_count: dict[float, Reason | None] = {}
    limit_usd = request.limit_usd_per_hour
    for price in rows:
        if price.count not in by_count:
            by_count[price.count] = _lack(request, name, price.count)
        if reason := by_count[price.count] or _unfit(request, price):
            found.rejected[reason] += 1
        elif (worst := request.worst_usd_per_hour(price)) <= limit_usd:
            found.affordable.append(price)
        else:
            found.rejected["budget"] += 1
            if found.refused is None or worst < request.worst_usd_per_hour(found.refused):
                found.refused = price


def _is_named(request: MachineRequest, name: str) -> bool:
    return request.wanted is None or request.wanted.needs(name) is not None


def _lack(request: MachineRequest, name: str, count: float) -> Reason | None:
    """What so many accelerators of that name lack."""
    if request.wanted is None:
        known = accelerators.spec(name)
        found = [known.memory_gib * min(count, 1.0) if known else None]
    else:
        fitting = [each for each in request.wanted.alternatives if each.fits(name, count)]
        if not fitting:
            return "too few"
        found = [each.memory_gib(name, count) for each in fitting]
    enough = request.memory_gib is None or any(gib is not None and gib >= request.memory_gib for gib in found)
    return None if enough else "memory"


def _unfit(request: MachineRequest, price: Price) -> Reason | None:
    """What is wrong with a machine besides its accelerators and its price."""
    if request.providers is not None and price.provider not in request.providers:
        return "provider"
    if request.places is not None and price.region not in request.places and price.zone not in request.places:
        return "place"
    if request.spot and price.spot_high_usd is None:
        return "spot price" if price.spot_distrust else "spot"
    return None


def _offer(price: Price, request: MachineRequest) -> PricedOffer:
    usd, worst, _ = request.rank(price)
    return PricedOffer(price, request.spot, usd, worst, worst * request.hours if request.for_s else None)


def _nearest(catalogue: Catalogue, request: MachineRequest, refused: Price) -> PricedOffer | None:
    """The cheapest that the budget would buy of the accelerator whose memory is nearest to that one's."""
    goal, anything, whole = _memory_gib(refused.accelerator), replace(request, wanted=None), min(refused.count, 1.0)
    by_price, order = (catalogue.by_spot, _spot) if request.is_capped else (catalogue.by_accelerator, _on_demand)
    for name in sorted(by_price, key=lambda name: (abs(_memory_gib(name) - goal), name)):
        found = _Scan()
        dearest = bisect_right(by_price[name], request.limit_usd_per_hour, key=order)
        _look(by_price[name][:dearest], name, anything, found)
        # A quarter of one is none.
        if enough := [price for price in found.affordable if price.count >= whole]:
            return _offer(min(enough, key=request.rank), request)
    return None


def _spot(price: Price) -> float:
    return math.inf if price.spot_high_usd is None else price.spot_high_usd


def _on_demand(price: Price) -> float:
    return price.usd_per_hour


def _memory_gib(name: str) -> float:
    known = accelerators.spec(name)
    return known.memory_gib if known else 0.0


def _notes(offers: Collection[PricedOffer], stale_before: str) -> Iterator[str]:
    if old := [offer for offer in offers if offer.price.as_of < stale_before]:
        which = "all" if len(old) == len(offers) else f"{len(old)} of {len(offers)}"
        since = min(offer.price.as_of for offer in old)
        yield (
            f"prices of {which} offers are older than {STALE_DAYS} days, from {since} on: the worst case is that on "
            "demand; `%cost get --refresh` fetches today's of AWS"
        )
