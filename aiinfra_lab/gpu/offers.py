"""Which machine to take: what several providers could give now, in the order in which it would be taken, and why not.

`%gpu start` takes the first, `%gpu ls --offers` shows all. What is billed and what a budget buys are rules of
`cost.choice`; here are machines that could be had at this moment, and there rows of a price table.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..cost import prices
from ..cost.accelerators import alternatives, fits, profile_of, spec
from ..cost.choice import Choice, MachineRequest, PricedOffer
from ..cost.prices import Price
from ..cost.specs import ACCELERATORS
from ..cost.wanted import Wanted
from ..errors import Failed, LabError, NotFound, UsageProblem, did_you_mean
from ..providers import make, names
from ..units import show_share, show_usd, write_duration
from .asking import ASK_S, ask_each
from .base import Machines, Offer
from .record import MachineRecord, SessionRecord

CPU = "cpu"

Reason = Literal["accelerator", "too few", "spot", "taken", "budget"]

_REASONS: dict[Reason, str] = {
    "accelerator": "another accelerator, or none",
    "too few": "fewer accelerators than were asked for, or a smaller share of one",
    "spot": "may be taken away, which --spot allows",
    "taken": "taken by a session",
    "budget": "may cost more than the budget",
}


class ProviderOffer(NamedTuple):
    """An offer, and whose it is."""

    provider: str
    offer: Offer

    def __str__(self) -> str:
        where = f" in {self.offer.where}" if self.offer.where else ""
        return f"{self.provider} {self.offer.type or self.offer.gpu}{where}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said when it was asked for its offers; problem: why it could not be asked."""

    provider: str
    offers: tuple[Offer, ...] = ()
    problem: LabError | None = None


def asked_for(gpu: str | None, mig: str | None = None) -> str:
    """The text of an accelerator and of a slice of it: one of any that can be cut so where no accelerator is named.

    `A10G, L4` is `A10G or L4`. UsageProblem for what is no name of a slice.
    """
    gpu = gpu and " or ".join(part.strip() for part in gpu.split(","))
    if gpu is not None and not alternatives(gpu):
        Wanted.parse(gpu)  # says how to write it
    if mig is None:
        return gpu or ""
    if not profile_of(mig):
        raise UsageProblem(f"{mig!r} is no MIG profile", did_you_mean(mig, mig_profiles()))
    if gpu is not None:
        return " or ".join(f"{one} {mig}" for one in alternatives(gpu))
    return " or ".join(f"{each.name} {mig}" for each in ACCELERATORS if each.profile(mig)) or f"A100 {mig}"


def mig_profiles() -> list[str]:
    """Every slice that some accelerator can be cut into."""
    return sorted({profile.name for each in ACCELERATORS for profile in each.profiles})


def request(
    gpu: str, *, spot: bool = False, for_s: float | None = None, budget_usd: float | None = None
) -> MachineRequest:
    """What is asked for, any machine where the text is empty.

    A name that nobody knows is no error yet: a driver may list one that no table has, see `check`.
    """
    wanted = Wanted(alternatives(gpu)) if gpu else None
    return MachineRequest(wanted, spot, True, None, None, None, for_s, budget_usd, prices.stale_before())


def check(wanted: Wanted | None) -> None:
    """NotFound, with the nearest name and its price, for an accelerator that nobody knows; see `Wanted.parse`."""
    for each in wanted.alternatives if wanted else ():
        if each.name.lower() != CPU:
            Wanted.parse(str(each))


def ask(providers: Collection[str], wanted: str = "", within_s: float = ASK_S) -> list[Answer]:
    """Each provider's offers, asked once and all at the same time: one that cannot be asked hides no other."""

    def offers_from(provider: str) -> Sequence[Offer]:
        return offers_of(make("gpu.machines", provider), wanted)

    answers = ask_each(providers, offers_from, within_s)
    return [
        Answer(name, problem=given) if isinstance(given, LabError) else Answer(name, tuple(given))
        for name, given in answers.items()
    ]


def offered_as(body: SessionRecord | MachineRecord) -> Offer:
    """What a session or a machine was offered as."""
    return Offer(
        body.gpu,
        body.usd_per_hour,
        device=body.device,
        spot=body.spot,
        type=body.type,
        where=body.where,
        count=body.count or 1.0,  # an earlier version wrote none
        worst_usd_per_hour=body.worst_usd_per_hour if isinstance(body, MachineRecord) else None,
    )


def offers_of(machines: Machines, wanted: str = "") -> Sequence[Offer]:
    """What a provider could give now. One that rents looks up what is wanted; others list all that they have."""
    looks_up = "wanted" in inspect.signature(machines.offers).parameters
    if looks_up and wanted.lower() != CPU:
        return machines.offers(wanted)  # type: ignore[call-arg]  # asked the line before
    return machines.offers()


@dataclass(frozen=True, slots=True)
class OfferChoice:
    """The offers that are what was asked for, in the order in which they are taken; and the others.

    taken: what others have of it. refused: the cheapest of what may cost more than the budget. nearest: what the budget
    buys of the accelerator whose memory is nearest to that one's, or where there is none of it, whatever it would cost.
    why_not: how many are none, by the reason.
    """

    request: MachineRequest
    offers: tuple[ProviderOffer, ...]
    taken: tuple[ProviderOffer, ...]
    refused: ProviderOffer | None
    nearest: ProviderOffer | None
    why_not: tuple[tuple[Reason, int], ...]

    def reasons(self) -> list[tuple[int, str]]:
        """Why the others are none: how many, and the reason in words."""
        return [(count, _REASONS[reason]) for reason, count in self.why_not]

    def check_budget(self) -> None:
        """Denied, with what would fit, when all that could be had may cost more than the budget."""
        if self.refused and not self.offers:
            nearest = _priced(self.nearest, self.request) if self.nearest else None
            Choice(self.request, (), 0, (), _priced(self.refused, self.request), nearest).best()


def choose(offers: Iterable[ProviderOffer], request: MachineRequest) -> OfferChoice:
    """Those that are what is asked for, first to be taken first: spot before others where spot is asked for, then by
    price. One that may be taken away is none unless that was asked for."""
    fitting: list[ProviderOffer] = []
    taken: list[ProviderOffer] = []
    refused: list[ProviderOffer] = []
    others: list[ProviderOffer] = []
    why: Counter[Reason] = Counter()
    for each in offers:
        reason = _unfit(each.offer, request)
        if reason is None:
            fitting.append(each)
            continue
        why[reason] += 1
        kinds = {"taken": taken, "budget": refused, "accelerator": others, "too few": others}
        if reason in kinds:
            kinds[reason].append(each)
    ordered = sorted(fitting, key=lambda each: _rank(each, request))
    dear = min(refused, key=lambda each: each.offer.dearest_usd_per_hour, default=None)
    return OfferChoice(
        request, tuple(ordered), tuple(taken), dear, _nearest(others, request, dear), tuple(why.most_common())
    )


def worst_case_usd(offer: Offer, request: MachineRequest) -> float | None:
    """What it may cost in the time that was given, in whole minutes; None where none was."""
    return offer.dearest_usd_per_hour * request.hours if request.for_s else None


def memory_gib(offer: Offer) -> float | None:
    """The memory of one of its accelerators, as its provider or else its vendor has it; of a share, the share's."""
    if offer.memory_gib is not None:
        return offer.memory_gib
    known = spec(offer.gpu)
    return known.memory_gib * min(offer.count, 1.0) if known else None


def risk(each: ProviderOffer, table: Iterable[Price] | None = None) -> str:
    """What is known of how likely it is taken away: nothing for one that stays."""
    offer = each.offer
    if not offer.spot:
        return ""
    rows = (
        row
        for row in (prices.table() if table is None else table)
        if (row.provider, row.type) == (each.provider, offer.type) and offer.where in ("", row.zone, row.region)
    )
    known = next((row for row in rows if row.spot_high_usd is not None), None)
    if known is None:
        return "may be taken; how often is unknown"
    below = 1 - offer.usd_per_hour / known.usd_per_hour
    return f"may be taken away; {show_share(round(below, 2))} below the price on demand, as of {known.as_of}"


def no_room(provider: str, wanted: Offer, tried: Sequence[tuple[Offer, str]], there: Iterable[Offer]) -> Failed:
    """That an accelerator is not to be had: what was tried and why that was none, and what is nearest of all that is
    there."""
    asked = request(wanted.gpu, spot=wanted.spot)
    near = choose((ProviderOffer(provider, each) for each in there), asked).nearest
    what = "; ".join(f"{offer.device or offer.gpu} ({why})" for offer, why in tried)
    fix = "try again later, or ask for another accelerator, of those that `%cost ls` lists"
    if near:
        fix = f"try again later, or take --gpu {near.offer.gpu}: {near}, {show_usd(near.offer.usd_per_hour)} an hour"
    return Failed(f"{provider} has no room for {asked}: tried {what}", fix)


def start_command(each: ProviderOffer, request: MachineRequest, gpu: str) -> str:
    """What takes it."""
    wanted = each.offer.gpu if request.wanted is None else gpu
    return " ".join(["%gpu start NAME", *_flags(wanted, request), "--on", each.provider])


def check_provider(on: str | None, name: str, gpu: str, request: MachineRequest) -> None:
    """NotFound for a cloud whose machines SkyPilot rents, and nothing here does: with the line that writes its task."""
    from .exports import skypilot

    if on is None or on in names("gpu.machines") or on not in skypilot.CLOUDS:
        return
    there = [row for row in prices.table() if row.provider == on and not skypilot.is_tpu(row.accelerator)]
    lacks = gpu and not any(fits(gpu, row.accelerator, row.count) for row in there)
    typed = min(there, key=lambda row: row.usd_per_hour).accelerator if lacks or not gpu else gpu
    line = " ".join([f"%gpu export {name} --to skypilot --on {on}", *_flags(typed, request)])
    other = f"; `%cost ls` has no {gpu} there" if lacks else ""
    raise NotFound(f"nothing here rents machines of {on}", f"SkyPilot does: `{line}` writes its task{other}")


def _flags(gpu: str, request: MachineRequest) -> list[str]:
    """What is asked for, as it is typed."""
    flags = ["--gpu", f'"{gpu}"' if " " in gpu else gpu] if gpu != CPU else []
    flags += ["--spot"] if request.spot else []
    flags += ["--for", write_duration(request.for_s)] if request.for_s else []
    flags += ["--budget", f"{request.budget_usd:g}"] if request.budget_usd is not None else []
    return flags


def _unfit(offer: Offer, request: MachineRequest) -> Reason | None:
    if request.wanted is not None:
        needs = request.wanted.needs(offer.gpu)
        if needs is None:
            return "accelerator"
        if not any(each.fits(offer.gpu, offer.count) for each in request.wanted.alternatives):
            return "too few"
    if offer.spot and not request.spot:
        return "spot"
    if offer.taken_by:
        return "taken"
    return "budget" if offer.dearest_usd_per_hour > request.limit_usd_per_hour else None


def _rank(each: ProviderOffer, request: MachineRequest) -> tuple[bool, float, float]:
    """Less for what is taken first; of the same price each provider's own order counts."""
    offer = each.offer
    return (request.spot and not offer.spot, offer.usd_per_hour, offer.dearest_usd_per_hour)


def _nearest(
    others: Iterable[ProviderOffer], request: MachineRequest, refused: ProviderOffer | None
) -> ProviderOffer | None:
    """The cheapest of the accelerator whose memory is nearest."""
    goal = _goal_gib(request, refused)
    near = [
        each
        for each in others
        if each.offer.gpu != CPU
        and not each.offer.taken_by
        and (request.spot or not each.offer.spot)
        and (refused is None or each.offer.dearest_usd_per_hour <= request.limit_usd_per_hour)
    ]
    if goal is None or not near:
        return None
    return min(near, key=lambda each: (abs((memory_gib(each.offer) or 0.0) - goal), _rank(each, request)))


def _goal_gib(request: MachineRequest, refused: ProviderOffer | None) -> float | None:
    """The memory to be near to; None where no accelerator was asked for."""
    if refused is not None:
        return memory_gib(refused.offer)
    names = [each.name for each in request.wanted.alternatives] if request.wanted else []
    # Of a name that is several, as A100 is, the largest.
    like = (max((one.memory_gib for one in ACCELERATORS if fits(name, one.name)), default=None) for name in names)
    return next((gib for gib in like if gib is not None), None)


def _priced(each: ProviderOffer, request: MachineRequest) -> PricedOffer:
    """The same as a row of a price table: what is said of a budget is said there."""
    offer = each.offer
    row = Price(
        uri=str(each),
        provider=each.provider,
        type=offer.type or offer.gpu,
        accelerator=offer.gpu,
        count=offer.count,
        usd_per_hour=offer.usd_per_hour,
        spot_low_usd=None,
        spot_high_usd=None,
        region=offer.where,
        source=each.provider,
        as_of="",
    )
    worst = offer.dearest_usd_per_hour
    return PricedOffer(row, offer.spot, offer.usd_per_hour, worst, worst_case_usd(offer, request))
