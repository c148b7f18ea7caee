"""What the workspace remembers of a recipe's schedule that was started."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ...store import Body

MOST_MISSED = 200


class ScheduleRecord(Body, frozen=True, kw_only=True):
    """A schedule of a recipe, by the recipe's name.

    started_at, paused_at: when it was started, and paused since, in epoch seconds. decided_until: for each time until
    then a run was begun, or it is missed; it is changed in the commit that begins the run, so that of two daemons one
    does. missed: the last times without a run; missed_count: how many in all. problem, fix: why the last time could not
    be kept; is_unread: since its file cannot be read. last_due: the time for which a run was begun last, and run its
    URI. seen: what its trigger looks at → as that was when it was looked at last. triggered_at: when that last began a
    run. reported: the run whose process vanished, of which people have heard. cron, tz: the times that it is kept by,
    as the five fields; empty where the file has none, None where that was not written.
    """

    kind: ClassVar[str] = "recipe.schedule"
    schema_version: ClassVar[int] = 2

    started_at: float
    decided_until: float
    paused_at: float | None = None
    missed: tuple[float, ...] = ()
    missed_count: int = 0
    problem: str = ""
    fix: str = ""
    is_unread: bool = False
    last_due: float | None = None
    run: str = ""
    seen: dict[str, str] = msgspec.field(default_factory=dict)
    triggered_at: float | None = None
    reported: str = ""
    cron: str | None = None
    tz: str = "UTC"

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:  # noqa: ARG003
        """Version 1 did not write the times that it was kept by: those of the file are taken for them."""
        return fields

    @property
    def is_open(self) -> bool:
        """Whether it is to be kept."""
        return self.paused_at is None

    def paused(self, at: float) -> ScheduleRecord:
        """The same, kept no more since then."""
        return msgspec.structs.replace(self, paused_at=at)

    def with_problem(self, problem: str = "", fix: str = "", *, is_unread: bool = False) -> ScheduleRecord:
        """The same with why it could not be kept, or without that."""
        return msgspec.structs.replace(self, problem=problem, fix=fix, is_unread=is_unread)

    def with_missed(self, times: tuple[float, ...], until: float) -> ScheduleRecord:
        """The same with times that are missed, all being decided until then."""
        missed = (*self.missed, *times)[-MOST_MISSED:]
        return msgspec.structs.replace(
            self, missed=missed, missed_count=self.missed_count + len(times), decided_until=until
        )
