"""A schedule is started and paused, and what it is like now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ...errors import NotFound, UsageProblem
from ...store import Event, Record, open_store, update
from ...uris import Uri
from ..base import Recipe
from . import daemon
from .record import ScheduleRecord


@dataclass(frozen=True)
class ScheduleFacts:
    """A recipe's schedule as people and programs see it. Times are epoch seconds.

    words: when it is due. state: not started, scheduled or paused. next_at: None while it is not kept. missed: the
    last times without a run, and missed_count all of them. problem: why the last time could not be kept.
    """

    words: str
    state: str
    next_at: float | None
    last_due: float | None = None
    run: str = ""
    missed: tuple[float, ...] = ()
    missed_count: int = 0
    problem: str = ""
    fix: str = ""


def facts(recipe: Recipe) -> ScheduleFacts | None:
    """None of a recipe that has no schedule."""
    if recipe.schedule is None:
        return None
    calendar = recipe.schedule.calendar
    record = open_store().get(ScheduleRecord, recipe.name)
    if record is None:
        return ScheduleFacts(calendar.words, "not started", None)
    body = record.body
    is_kept = body.is_open
    return ScheduleFacts(
        calendar.words,
        "scheduled" if is_kept else "paused",
        calendar.next(body.decided_until) if is_kept else None,
        body.last_due,
        body.run,
        body.missed,
        body.missed_count,
        body.problem,
        body.fix,
    )


def start(recipe: Recipe, since: str | None = None) -> None:
    """Keep its schedule from now on; may be repeated. since: a day or a time from which on all times run first.

    NotFound when it has none.
    """
    if recipe.schedule is None:
        fix = f'write [schedule] with cron = "0 3 * * *" into {recipe.path.name}; `%recipe check --help` has its keys'
        raise NotFound(f"the recipe {recipe.name} has no schedule", fix)
    store, now = open_store(), time.time()
    until = now if since is None else _epoch(since, recipe.schedule.calendar.tz, now) - 1
    before = store.get(ScheduleRecord, recipe.name)
    if before is None:
        body = ScheduleRecord(started_at=now, decided_until=until)
        store.commit([Record.new(recipe.name, body)], Event("recipe start", _uri(recipe.name)))
    elif not before.body.is_open or since is not None:
        # What was due while it was paused was not wanted.
        changed = before.with_(paused_at=None, started_at=now, decided_until=until, problem="", fix="")
        store.commit([changed], Event("recipe start", _uri(recipe.name)))
    daemon.launch()


def pause(name: str) -> bool:
    """Keep its schedule no more; whether it was kept."""
    store = open_store()
    found = store.get(ScheduleRecord, name)
    if found is None or not found.body.is_open:
        return False

    def change(body: ScheduleRecord) -> ScheduleRecord | None:
        return body.paused(time.time()) if body.is_open else None

    update(store, ScheduleRecord, name, change, Event("recipe pause", _uri(name)))
    return True


def _uri(name: str) -> str:
    return str(Uri("recipe", name))


def _epoch(text: str, tz: str, now: float) -> float:
    """A day or a time, as the clocks of that zone show it."""
    try:
        day = datetime.fromisoformat(text) if "T" in text or " " in text else date.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f"{text!r} is no day", "write it as 2026-04-01 or 2026-04-01T06:00") from None
    when = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)  # noqa: DTZ001  # its zone comes
    at = (when if when.tzinfo else when.replace(tzinfo=ZoneInfo(tz))).timestamp()
    if at > now:
        raise UsageProblem(f"{text} is yet to come", "a schedule is started from now on, or since a day that is over")
    return at
