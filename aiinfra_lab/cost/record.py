"""What the workspace remembers of budgets: of which levels somebody was warned."""

from __future__ import annotations

from typing import ClassVar

from ..store import Body


class BudgetWarning(Body, frozen=True, kw_only=True):
    """The highest level of a budget that somebody was warned of. subject: whose. started_at: of which start of it."""

    kind: ClassVar[str] = "cost.warning"

    subject: str
    started_at: float
    budget_usd: float
    level: float

    @property
    def about(self) -> str:
        return self.subject
