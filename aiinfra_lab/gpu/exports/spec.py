"""What an export renders: the spec of a session's machine, from its record or from flags as `%gpu start` has them."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from ...config import settings
from ...cost import prices
from ...cost.accelerators import Alternative
from ...cost.choice import PricedOffer, choose
from ...cost.wanted import Wanted
from ...errors import NotFound, Unavailable
from ...jobs.home import make_home_id
from ...units import parse_duration
from .. import offers, sessions, starting
from ..base import Offer
from ..record import Limits, SessionRecord
from ..renting import LaunchSpec
from ..starting import SessionRequest

_WHICH = "say what it is to be: add `--gpu A10G`, or another of those that `%cost ls` lists"


def spec_of(request: SessionRequest, providers: Collection[str]) -> tuple[LaunchSpec, str]:
    """The spec, and the provider whose machine it is of: the session's own where it is one of these.

    Where a machine is chosen anew, clouds are judged by the price table and asked nothing. NotFound where there is no
    such session and nothing says what it is to be; Denied and Unavailable as `%gpu start` raises them.
    """
    found = sessions.get(request.name)
    body = found.body if found else None
    if body is None and request.gpu is None:
        raise NotFound(f"there is no session gpu:{request.name}", _WHICH)
    if body and request.gpu is None and body.provider in providers:
        offer, provider = offers.offered_as(body), body.provider
    else:
        same = replace(request, gpu=_gpu_of(body), spot=request.spot or body.spot) if body else request
        offer, provider = _chosen(same if request.gpu is None else request, providers)
    where = settings()
    spec = LaunchSpec(
        session=request.name,
        owner=make_home_id(where.home),
        # The same at each export: whoever applies it twice means one machine.
        token=f"aiinfra-{request.name}".replace("_", "-").replace(".", "-")[:63].rstrip("-"),
        offer=offer,
        deadline_at=_deadline_at(request, body, offer),
        folder=where.home,
    )
    return spec, provider


def _chosen(request: SessionRequest, providers: Collection[str]) -> tuple[Offer, str]:
    wanted = request.wanted
    if any(price.provider in providers for price in prices.table()):
        if request.gpu == offers.CPU:
            raise Unavailable("the price table has no cpu: each of its machines has accelerators", _WHICH)
        offers.check(wanted.wanted)
        found = choose(
            prices.catalogue(),
            wanted.wanted,
            spot=request.spot,
            providers=providers,
            places=_regions() if tuple(providers) == ("aws",) else None,
            for_s=request.for_s,
            budget_usd=request.budget_usd,
        ).best()
        return _offer_at(found, wanted.wanted), found.price.provider
    [answer] = offers.ask(providers, request.gpu or offers.CPU)
    if answer.problem:
        raise answer.problem
    return starting._choose(answer.offers, request, answer.provider), answer.provider


def _regions() -> Collection[str] | None:
    """Where machines of AWS may be; None where nobody says."""
    named = settings().get("gpu.aws_regions", "")
    return [each.strip() for each in named.split(",")] if named else None


def _offer_at(found: PricedOffer, wanted: Wanted | None) -> Offer:
    """A row of the price table as its cloud's provider would offer it; see there for what a device is."""
    price = found.price
    fitting = [one for one in (wanted.alternatives if wanted else ()) if one.fits(price.accelerator, price.count)]
    profile = fitting[0].profile if fitting else ""
    # A price may be of a whole region. Of AWS a zone has to be named, and there is nearly always a first one.
    place = [price.type, price.region, price.zone or (f"{price.region}a" if price.provider == "aws" else "")]
    return Offer(
        price.accelerator,
        found.usd_per_hour,
        device="/".join([*place, profile] if profile else place),
        spot=found.spot,
        type=price.type,
        where=price.place,
        count=price.count,
        worst_usd_per_hour=found.worst_usd_per_hour,
    )


def _gpu_of(body: SessionRecord) -> str:
    """What a session has, as it is asked for."""
    return str(Alternative(body.gpu, body.count or 1.0))


def _deadline_at(request: SessionRequest, body: SessionRecord | None, offer: Offer) -> float:
    """When its machine ends: as a session that lives has it, or at what comes first of what was given."""
    now = time.time()
    if body and body.is_open and body.deadline_at and request.for_s is None and request.budget_usd is None:
        return body.deadline_at
    usual_s = parse_duration(settings().get("gpu.rented_for", "12h"))
    limits = Limits.of(offer.dearest_usd_per_hour, now, now + (request.for_s or usual_s), request.budget_usd)
    return limits.deadline_at or now + usual_s
