"""A schedule is started and paused, and what it is like now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ...errors import NotFound, UsageProblem
from ...store import Event, Record, open_store, update
from ...units import show_duration
from ...uris import Uri
from ..base import Recipe
from . import daemon
from .calendar import Calendar
from .deciding import RecipeTrigger
from .declared import kept_by
from .record import ScheduleRecord
from .triggers import present


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
    """None of a recipe that does not run by itself."""
    if recipe.schedule is None and recipe.trigger is None:
        return None
    times = recipe.schedule.calendar.words if recipe.schedule else ""
    words = "; ".join(filter(None, [times, _when(recipe.trigger)]))
    record = open_store().get(ScheduleRecord, recipe.name)
    if record is None:
        return ScheduleFacts(words, "not started", None)
    until, is_timed = record.body.decided_until, record.body.is_open and recipe.schedule is not None
    return _facts(record.body, words, recipe.schedule.calendar.next(until) if is_timed and recipe.schedule else None)


def kept(name: str) -> ScheduleFacts | None:
    """What is known of a schedule without the recipe's file; None of one that is not kept."""
    record = open_store().get(ScheduleRecord, name)
    if record is None or not record.body.is_open:
        return None
    cron, tz = record.body.cron, record.body.tz
    return _facts(record.body, Calendar(cron, tz).words if cron else "")


def kept_names() -> list[str]:
    """The recipes whose schedules are kept; the file of one may be gone."""
    return [record.name for record in open_store().list(ScheduleRecord, is_open=True, skip_unreadable=True)]


def _facts(body: ScheduleRecord, words: str, next_at: float | None = None) -> ScheduleFacts:
    return ScheduleFacts(
        words,
        "scheduled" if body.is_open else "paused",
        next_at,
        body.last_due,
        body.run,
        body.missed,
        body.missed_count,
        body.problem,
        body.fix,
    )


def _when(trigger: RecipeTrigger | None) -> str:
    if trigger is None:
        return ""
    every = f", at most every {show_duration(trigger.every_s)}" if trigger.every_s else ""
    return f"when {' or '.join(trigger.on)} changes{every}"


def start(recipe: Recipe, since: str | None = None) -> None:
    """Keep its schedule and its trigger from now on; may be repeated. NotFound when it has neither.

    since: a day or a time from which on all times run first
    """
    if recipe.schedule is None and recipe.trigger is None:
        fix = f'write [schedule] with cron = "0 3 * * *" into {recipe.path.name}; `%recipe check --help` has its keys'
        raise NotFound(f"the recipe {recipe.name} has no schedule", fix)
    if recipe.schedule is None and since is not None:
        raise UsageProblem(f"the recipe {recipe.name} has no times to run for", "leave --since out")
    store, now = open_store(), time.time()
    cron, tz = kept_by(recipe)
    until = now if since is None else _epoch(since, tz, now) - 1
    seen = present(recipe.trigger) if recipe.trigger else {}  # what is there already is no news
    before = store.get(ScheduleRecord, recipe.name)
    event = Event("recipe start", _uri(recipe.name))
    if before is None:
        body = ScheduleRecord(started_at=now, decided_until=until, seen=seen, cron=cron, tz=tz)
        store.commit([Record.new(recipe.name, body)], event)
    elif not before.body.is_open or since is not None:
        # What was due while it was paused was not wanted.
        fresh = {"paused_at": None, "started_at": now, "decided_until": until, "seen": seen, "cron": cron, "tz": tz}
        store.commit([before.of(before.body.with_problem()).with_(**fresh)], event)
    elif before.body.is_unread:  # it was read just now
        store.commit([before.of(before.body.with_problem())])
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
