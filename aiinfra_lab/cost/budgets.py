"""Budgets: how much of each is spent, and the warnings at 50, 80 and 100 % of it, each of which is sent once.

A warning is a signal (`signal_records`), so the panel and the notebook hear of it, and a notice as long as it stands,
which `lab` shows. That a budget ends what it is the budget of is nobody's business here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

from .. import nouns, signal_records
from ..alerts import Alert, deliver_aside
from ..config import settings
from ..errors import LabError, UsageProblem
from ..nouns import Budget, Notice
from ..show import Meter
from ..store import Record, Store, open_store
from ..units import show_share, show_usd
from . import daily
from .record import BudgetWarning
from .spending import spendings, total_usd

LEVELS = (0.5, 0.8, 1.0)
"""Shares of a budget at which somebody is warned."""

MONTH = "cost:month"
"""What the workspace's own budget is of: everything in a calendar month."""


def budgets() -> Iterator[Budget]:
    """Every budget that holds now: those of things that live on one, and the workspace's own where it has one."""
    for noun in nouns.every():
        yield from noun.budgets()
    if limit := usd_per_month():
        yield month(limit)


def usd_per_month() -> float:
    """What everything may cost in a calendar month: `cost.budget_usd_per_month` of the settings, 0 for no budget."""
    limit = settings().get("cost.budget_usd_per_month", 0.0)
    if not 0 <= limit < math.inf:
        fix = "give it dollars a month, e.g. 40, or take it out"
        raise UsageProblem(f"cost.budget_usd_per_month = {limit} is no budget", fix)
    return limit


def month(limit: float) -> Budget:
    """What everything has cost since the first of this month, beside that limit."""
    began = month_began_at()
    spent = total_usd(daily.within(spendings(), began, math.inf))
    fix = "`%cost show` says what cost it; `cost.budget_usd_per_month` in aiinfra.toml is the budget"
    return Budget(MONTH, began, limit, spent, fix)


def month_began_at() -> float:
    """When this calendar month began, in this machine's time zone."""
    return daily.start_of(dt.date.today().replace(day=1))  # noqa: DTZ011  # a month of the person who asks


def level(budget: Budget) -> float:
    """The highest of the levels that was reached; 0 for none."""
    return reached(budget.spent_usd, budget.budget_usd)


def reached(spent_usd: float, budget_usd: float) -> float:
    """The same of an amount and a budget."""
    # A sum of floats may be off by its last digit.
    return max((each for each in LEVELS if spent_usd >= each * budget_usd * (1 - 1e-9)), default=0.0)


def used(spent_usd: float, budget_usd: float) -> str:
    """How much of a budget is spent, in words: `12 % of 5.00 USD`."""
    share = spent_usd / budget_usd if budget_usd > 0 else 1.0
    return f"{show_share(round(share, 2) if share < 0.995 else share)} of {show_usd(budget_usd)}"


def meter(spent_usd: float, budget_usd: float) -> Meter:
    """The same as a bar, whose last fifth is a warning."""
    return Meter(min(spent_usd, budget_usd), budget_usd, used(spent_usd, budget_usd), LEVELS[1] * budget_usd)


def look() -> Sequence[Budget]:
    """Every budget, after a warning was sent of each that has reached a level of which nobody was warned.

    To be called by whoever has a face to show it on, as often as it likes; of several at a time one sends it. Nothing
    is sent where the store takes no writes.
    """
    found = list(budgets())
    for each in found:
        warn(each)
    return found


def warn(budget: Budget) -> str:
    """Send the warning that is due of one budget, as whoever keeps its thing does; its text, empty where none is."""
    return _warn(open_store(), budget) if level(budget) else ""


def notices(found: Sequence[Budget]) -> list[Notice]:
    """What is worth a line as long as it stands, for each budget one."""
    return [Notice(each.uri, _text(each), each.fix, _state(each)) for each in found if level(each)]


def _state(budget: Budget) -> str:
    return "over budget" if level(budget) >= LEVELS[-1] else "needs a look"


def _text(budget: Budget) -> str:
    whose = "this month's budget of the workspace" if budget.uri == MONTH else "its budget"
    return f"{used(budget.spent_usd, budget.budget_usd)}, {whose}, is spent"


def _warn(store: Store, budget: Budget) -> str:
    name = budget.uri.replace(":", "-").replace("@", "-")
    before, reached = store.get(BudgetWarning, name), level(budget)
    if before and _is_of(before.body, budget) and before.body.level >= reached:
        return ""
    body = BudgetWarning(subject=budget.uri, started_at=budget.started_at, budget_usd=budget.budget_usd, level=reached)
    warning = Record(BudgetWarning.kind, name, body, before.rev if before else 0)
    try:
        # In one transaction: whoever loses the race for the one sends not the other.
        store.commit([warning, signal_records.record(store, budget.uri, _text(budget), budget.fix)])
    except LabError:
        return ""  # somebody else was faster, or nothing can be written now: whoever looks next sends it
    if reached >= LEVELS[-1]:
        # Aside: whoever keeps a session that costs money must not wait for a mail server.
        facts = {"spent": used(budget.spent_usd, budget.budget_usd)}
        deliver_aside(Alert("over budget", budget.uri, "its budget is spent", budget.fix, facts=facts))
    return _text(budget)


def _is_of(warned: BudgetWarning, budget: Budget) -> bool:
    """Whether that was of this very start with this very budget."""
    return (warned.started_at, warned.budget_usd) == (budget.started_at, budget.budget_usd)
