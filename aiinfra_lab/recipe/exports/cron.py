"""A cron line: five fields and a time zone, checked, and as systemd writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from ...errors import UsageProblem
from ..schedule.deciding import RecipeSchedule

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIX = (
    'five fields: minute, hour, day of the month, month, day of the week, e.g. "0 3 * * *" or "*/15 8-18 * * mon-fri"'
)
_PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")


@dataclass(frozen=True)
class _Field:
    what: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0

    def values(self, text: str) -> set[int]:
        """The numbers that a field means. UsageProblem where it is none."""
        return {value for part in text.split(",") for value in self._part(part)}

    def _part(self, text: str) -> Iterator[int]:
        found = _PART.fullmatch(text)
        if not found or (found[1] == "*" and found[2]):
            raise self._problem(text)
        step = int(found[3] or 1)
        low = self.low if found[1] == "*" else self._number(found[1])
        high = self._number(found[2]) if found[2] else self.high if found[1] == "*" or found[3] else low
        if step < 1 or low > high:
            raise self._problem(text)
        yield from range(low, high + 1, step)

    def _number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.first
        if not text.isascii() or not text.isdigit() or not self.low <= int(text) <= self.high:
            raise self._problem(text)
        return int(text)

    def _problem(self, text: str) -> UsageProblem:
        return UsageProblem(f"{text!r} is no {self.what} of a cron line, which are {self.low} to {self.high}", _FIX)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class CronLine:
    """When a recipe is to run: `text` in the time zone `tz`."""

    text: str
    tz: str = "UTC"

    @classmethod
    def parse(cls, text: str, tz: str = "UTC") -> CronLine:
        """UsageProblem when it is no cron line, or there is no such time zone."""
        fields = text.split()
        if len(fields) != len(_FIELDS):
            raise UsageProblem(f"{text!r} is no cron line: it has {len(fields)} fields", f"write {_FIX}")
        for field, value in zip(_FIELDS, fields, strict=True):
            field.values(value)
        try:
            ZoneInfo(tz)
        except (KeyError, ValueError, OSError):
            raise UsageProblem(f"there is no time zone {tz!r}", "write one of IANA's, e.g. Europe/Berlin") from None
        return cls(" ".join(fields), tz)

    def calendars(self) -> list[str]:
        """As values of systemd's OnCalendar. Cron takes either day where both are restricted: that makes two; where one
        of both begins with `*`, as `*/2`, a day has to be of both."""
        minute, hour, day, month, weekday = self.text.split()
        clock = f"{_listed(_FIELDS[1], hour)}:{_listed(_FIELDS[0], minute)}:00 {self.tz}"
        numbers = {value % 7 for value in _FIELDS[4].values(weekday)}
        names = "" if len(numbers) == len(_DAYS) else ",".join(_DAYS[value].title() for value in sorted(numbers)) + " "
        dates = f"*-{_listed(_FIELDS[3], month)}-{_listed(_FIELDS[2], day)} {clock}"
        if day.startswith("*") or weekday.startswith("*"):
            return [f"{names}{dates}"]
        return [dates, f"{names}*-{_listed(_FIELDS[3], month)}-* {clock}"]


def schedule_of(own: RecipeSchedule | None, cron: str | None, tz: str) -> CronLine | None:
    """When a recipe is to run: as it was asked for, else by the recipe's own schedule."""
    if cron is not None:
        return CronLine.parse(cron, tz)
    return CronLine.parse(own.calendar.line, own.calendar.tz) if own is not None else None


def _listed(field: _Field, text: str) -> str:
    width = 1 if text == "*" else 2
    return "*" if text == "*" else ",".join(f"{value:0{width}d}" for value in sorted(field.values(text)))
