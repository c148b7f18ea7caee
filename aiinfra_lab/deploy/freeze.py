"""Freeze windows: when no version gets more traffic, unless somebody answers for it. The way back is always open.

The setting `deploy.freeze` names them, in the machine's local time: `fri 16:00 - mon 08:00; 2026-12-20 - 2027-01-03`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ..config import Settings, settings
from ..errors import Conflict, UsageProblem

SETTING = "deploy.freeze"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOMENT = rf"({'|'.join(_DAYS)}) ([01]\d|2[0-3]):([0-5]\d)"
_WEEKLY = re.compile(rf"{_MOMENT} ?- ?{_MOMENT}", re.IGNORECASE)
_DATES = re.compile(r"(\d{4}-\d\d-\d\d) ?- ?(\d{4}-\d\d-\d\d)")
_MINUTE, _WEEK = timedelta(minutes=1), timedelta(weeks=1)
_YEAR = timedelta(days=366)


def frozen_until(where: Settings | None = None, now: datetime | None = None) -> datetime | None:
    """When the freeze of this moment ends; None when there is none. UsageProblem for a setting that is no windows."""
    now = _as_shown(now or datetime.now())  # noqa: DTZ005  # local time, as the setting is
    windows = [window.strip() for window in (where or settings()).get("deploy.freeze", "").split(";")]
    found, end = None, now
    # Windows that overlap or adjoin are one freeze; those that leave no time at all have no end within a year.
    while (later := _end_of(windows, end)) and later - now < _YEAR:
        found = end = later
    return later or found


def _as_shown(now: datetime) -> datetime:
    """Now; and while the clocks show an hour again the last minute of it, so that what has ended begins no second time.

    fold says that they do, as of `datetime.now()`.
    """
    while now.fold and _is_twice(later := now.replace(fold=0) + _MINUTE):
        now = later.replace(fold=1)
    return now.replace(fold=0)


def _is_twice(moment: datetime) -> bool:
    first, again = (moment.replace(fold=fold).astimezone().utcoffset() or timedelta() for fold in (0, 1))
    return first > again


def _end_of(windows: Iterable[str], moment: datetime) -> datetime | None:
    return max((end for window in windows if window for end in _end(window, moment)), default=None)


def refuse(name: str, what: str) -> None:
    """Conflict while a freeze holds. what: the verb that would give a version more traffic."""
    if end := frozen_until():
        raise Conflict(
            f"{name} is frozen until {end:%a %Y-%m-%d %H:%M} by the setting {SETTING}",
            f"wait; or answer for it yourself: add --force to `%deploy {what}`",
        )


def _end(window: str, now: datetime) -> Iterator[datetime]:
    """The end of a window that holds now."""
    if found := _DATES.fullmatch(window):
        first, last = (_date(text, window) for text in found.groups())
        if last < first:
            raise UsageProblem(f"{SETTING} has {window!r}, which ends before it begins", "write the first day first")
        end = last + timedelta(days=1)
        if first <= now < end:
            yield end
    elif found := _WEEKLY.fullmatch(window):
        monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
        groups = found.groups()
        start, end = (monday + _since_monday(*each) for each in (groups[:3], groups[3:]))
        end += _WEEK if end <= start else timedelta()
        for back in (timedelta(), _WEEK):  # one that began last week may last until now
            if start - back <= now < end - back:
                yield end - back
    else:
        raise _unreadable(window)


def _since_monday(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=_DAYS.index(day.lower()), hours=int(hour), minutes=int(minute))


def _date(text: str, window: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007  # local time, as the setting is
    except ValueError:
        raise _unreadable(window) from None


def _unreadable(window: str) -> UsageProblem:
    example = "fri 16:00 - mon 08:00; 2026-12-20 - 2027-01-03"
    return UsageProblem(f"{SETTING} has {window!r}, which is no time", f'write it so: freeze = "{example}"')
