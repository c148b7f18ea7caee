"""What a session costs while somebody waits for it: a line of its live frame, of what is written down here alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..cost import budgets
from ..errors import LabError
from ..show import Sentence
from ..store import Record
from ..units import show_duration, show_share, show_usd
from . import pool_members, sessions
from .record import SessionRecord


def meter(name: str) -> Callable[[], list[Sentence]]:
    """Gives the line of a session now, `0.12 of 5.00 USD · 0.46 USD/h · ends in 1 h 52 min`; none without any."""

    def line() -> list[Sentence]:
        try:
            record = sessions.get(name)
        except LabError:  # a store that is away for a moment
            return []
        text = " · ".join(_parts(record)) if record is not None and record.body.is_open else ""
        return [Sentence(text)] if text else []

    return line


def _parts(record: Record[SessionRecord]) -> Iterator[str]:
    body = record.body
    if body.usd_per_hour:
        spent_usd = sessions.rented_usd(record) if body.is_rented else body.spent_usd(None)
        spent = show_usd(spent_usd)
        if body.budget_usd is not None:
            spent = f"{spent.removesuffix(' USD')} of {show_usd(body.budget_usd)}"
        yield spent
        yield f"{body.usd_per_hour:.2f} USD/h"
        is_share = pool_members.pool_of(record) is not None  # of which it is given more where there is more
        if body.budget_usd and not is_share and (reached := budgets.reached(spent_usd, body.budget_usd)):
            yield f"▲ over {show_share(reached)} of its budget"
    if body.deadline_at is not None:
        yield f"ends in {show_duration(max(0.0, body.deadline_at - time.time()))}"
