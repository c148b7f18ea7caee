"""When the jobs of a definition are due: by our calendar, where clocks are changed too."""

from __future__ import annotations

from jupyter_scheduler.task_runner import TaskRunner

from ...errors import UsageProblem
from ..schedule.calendar import Calendar


def calendar_of(schedule: str, timezone: str | None) -> Calendar:
    """UsageProblem for a line that is none of cron, or a zone that there is not."""
    return Calendar(schedule.strip(), timezone or "UTC")


class LabTaskRunner(TaskRunner):  # type: ignore[misc]  # it ships no types
    """See `TaskRunner` of jupyter-scheduler, which asks croniter; that goes by the wall clock."""

    def compute_next_run_time(self, schedule: str, timezone: str | None = None) -> int:
        """Epoch milliseconds. A line of before that only croniter understands is left to it."""
        try:
            due = calendar_of(schedule, timezone).next()
        except UsageProblem:
            due = None
        return int(super().compute_next_run_time(schedule, timezone)) if due is None else int(due * 1000)
