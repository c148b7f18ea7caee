"""What `cost` tells of itself: it keeps nothing, and names what has cost something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..nouns import Notice, Noun
from ..store import Body
from .record import BudgetWarning


class CostNoun(Noun[Body]):
    """The noun `cost`."""

    name = "cost"
    more_kinds = (BudgetWarning,)
    settings: ClassVar = {
        "machine_usd_per_hour": "what an hour of this machine costs, in USD; 0 when it is not set",
        "budget_usd_per_month": "what everything may cost in a calendar month, in USD: warnings at 50, 80 and 100 %",
        "tags": "which things belong to whom, e.g. team-a: gpu:trainer, train:delay; web: deploy:*",
        "prices": "a table of your own prices, as a path in the project",
        "machine_type": "which machine of the price table this one is, for forecasts, e.g. aws.g5.xlarge",
        "peak": "how many times the mean the busiest hour of a day has, for forecasts",
        "utilisation": "which share of the measured rate a machine is to have at the peak, for forecasts",
        "own_usd": "what an own machine like this one costs to buy, in USD",
        "own_years": "for how many years it is used",
        "own_watts": "what it draws, in watts",
        "pue": "how much power all takes for each watt of a machine, cooling included",
        "usd_per_kwh": "what a kilowatt-hour costs, in USD",
        "own_hours_per_month": "how many hours of work an own machine takes a month",
        "usd_per_work_hour": "what an hour of that work costs, in USD",
        "compare": "the instance with whose price the cost of predictions is compared, e.g. aws.g4dn.xlarge",
    }

    def names(self) -> Sequence[str]:
        from .spending import spendings

        return list(dict.fromkeys(item.span.uri for item in spendings()))

    def notices(self) -> Sequence[Notice]:
        """Budgets of which half or more is spent."""
        from . import budgets

        return budgets.notices(budgets.look())


NOUN = CostNoun()
