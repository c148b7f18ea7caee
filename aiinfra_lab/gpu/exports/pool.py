"""What an export of a pool renders: machines such as its sessions have, as many as it may have at most."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ...config import settings
from ...errors import UsageProblem
from ..pool_record import PoolRecord
from ..renting import LaunchSpec
from ..starting import SessionRequest
from .rendered import PoolSize, Rendered
from .spec import spec_of

if TYPE_CHECKING:
    from ...store import Record
    from . import ExportForm


def rendered_pool(
    pool: Record[PoolRecord], request: SessionRequest, to: str, forms: Mapping[str, ExportForm]
) -> tuple[LaunchSpec, str, Rendered]:
    """Its files, the spec of one of its machines, and whose that is.

    request: what is asked for besides; the budget is that of all machines together. UsageProblem where infra/ has
    nothing for a pool; the errors of `spec_of`.
    """
    form, body = forms[to], pool.body
    if form.render_pool is None:
        others = " or ".join(name for name, each in forms.items() if each.render_pool)
        session = f"`%gpu export {pool.name}-1 --to {to}` writes one of its sessions"
        raise UsageProblem(f"{pool.uri} is a pool, and {to} has none", f"take {others}; {session}")
    # Where all of them live to the end, they must not cost more than the pool may.
    budget = body.budget_usd if request.budget_usd is None else request.budget_usd
    # A time of its own and a budget end it together: whichever comes first, and neither refuses the other.
    until = body.until_at if request.for_s is None and body.is_open else None
    asked = replace(
        request,
        gpu=request.gpu or body.gpu or "cpu",
        spot=request.spot or body.spot,
        for_s=max(60.0, until - time.time()) if until and not budget else request.for_s,
        budget_usd=budget / body.max if budget else None,
    )
    spec, provider = spec_of(asked, form.providers)
    if until:
        spec = replace(spec, deadline_at=min(spec.deadline_at, until))
    return spec, provider, form.render_pool(spec, PoolSize(body.min, body.max), settings())
