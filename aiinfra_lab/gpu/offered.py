"""The offers of all providers as a result of `gpu ls --offers`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cost.choice import MachineRequest
from ..providers import chosen, names
from ..show import Card, Listing
from . import cards
from . import offers as offering
from .sim import SimMachines


@dataclass(frozen=True)
class Offered:
    """A machine that could be had now.

    on: whose. where: its zone, region, partition or host. count: of accelerators, a share of one where it has less.
    worst_hourly_usd: what an hour may cost, and worst_case_usd the whole time, where one was given. risk: what is known
    of how likely it is taken away, empty for one that stays. memory_gib: of one accelerator.
    """

    on: str
    type: str
    where: str
    gpu: str
    count: float
    spot: bool
    hourly_usd: float
    worst_hourly_usd: float
    worst_case_usd: float | None
    memory_gib: float | None
    risk: str
    note: str


@dataclass(frozen=True, repr=False)
class Offers(Listing):
    """Machines that could be had now, the first to be taken first.

    for_s: the time that they were asked for. why_not: how many others there are, by the reason. unasked: providers that
    cannot be asked, each with why and what helps.
    """

    for_s: float | None = None
    why_not: tuple[tuple[int, str], ...] = ()
    unasked: tuple[tuple[str, str, str], ...] = ()
    start: str = field(default="", metadata={"json": False})

    def card(self) -> Card:
        return cards.offers_card(self)


def listing(request: MachineRequest, text: str, on: str | None) -> Offers:
    """What all providers could give now, or the one that is named."""
    # What the cloud in a clock offers costs nothing, and is no machine: only who asks for it sees it.
    real = [each for each in names("gpu.machines") if each != SimMachines.name or each == chosen("gpu.machines")]
    answers = offering.ask([on] if on else real, text)
    if on and answers[0].problem:
        raise answers[0].problem
    found = [offering.ProviderOffer(each.provider, offer) for each in answers for offer in each.offers]
    among = offering.choose(found, request)
    if not among.offers:
        offering.check(request.wanted)
    header = ("on", "type", "where", "gpu", "count", "spot", "hourly_usd", "worst_case_usd", "memory_gib", "risk")
    problems = ((each.provider, each.problem) for each in answers if each.problem)
    return Offers(
        "gpu:offers",
        tuple(_offered(each, request) for each in among.offers),
        header,
        f"there is no {request} now" if request.wanted else "there is none now",
        title="Offers",
        for_s=request.for_s,
        why_not=tuple(among.reasons()),
        unasked=tuple((provider, problem.what, problem.fix) for provider, problem in problems),
        start=offering.start_command(among.offers[0], request, text) if among.offers else "",
    )


def _offered(each: offering.ProviderOffer, request: MachineRequest) -> Offered:
    offer = each.offer
    return Offered(
        on=each.provider,
        type=offer.type,
        where=offer.where,
        gpu=offer.gpu,
        count=offer.count,
        spot=offer.spot,
        hourly_usd=offer.usd_per_hour,
        worst_hourly_usd=offer.dearest_usd_per_hour,
        worst_case_usd=offering.worst_case_usd(offer, request),
        memory_gib=offering.memory_gib(offer),
        risk=offering.risk(each),
        note=offer.note,
    )
