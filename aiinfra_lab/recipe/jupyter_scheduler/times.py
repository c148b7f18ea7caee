"""When the jobs of a definition are due: by our calendar, where clocks are changed too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jupyter_scheduler.task_runner import TaskRunner

from ...errors import UsageProblem
from ..schedule.calendar import Calendar

NEVER = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)


def calendar_of(schedule: str, timezone: str | None) -> Calendar:
    """UsageProblem for a line that is none of cron, or a zone that there is not."""
    return Calendar(schedule.strip(), timezone or "UTC")


class LabTaskRunner(TaskRunner):  # type: ignore[misc]  # it ships no types
    """See `TaskRunner` of jupyter-scheduler, which asks croniter; that goes by the wall clock."""

    def compute_next_run_time(self, schedule: str, timezone: str | None = None) -> int:
        """Epoch milliseconds. A line of before that only croniter understands is left to it; one that nobody does is
        never due, and keeps no other from being so."""
        try:
            due = calendar_of(schedule, timezone).next()
        except UsageProblem:
            due = None
        try:
            return int(super().compute_next_run_time(schedule, timezone)) if due is None else int(due * 1000)
        except Exception as problem:  # noqa: BLE001  # of the line of somebody else, by a parser of somebody else
            self.log.warning("the schedule %r of a job definition is never due: %s", schedule, problem)
            return NEVER

    def update_job_definition(self, job_definition_id: str, model: Any) -> None:
        """See `TaskRunner`, which knows of no definition that had no schedule before."""
        if self.cache.get(job_definition_id):
            super().update_job_definition(job_definition_id, model)
        else:
            self.add_job_definition(job_definition_id)
