"""The times that a line of cron means, in a time zone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from ...errors import UsageProblem

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * SUN",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS = 5
_HOUR_S = 3600


@dataclass(frozen=True)
class Calendar:
    """A line of cron in a zone, both checked.

    Where a clock is put forward, a fixed time in the hour that is left out comes right after it; where it is put back,
    a fixed time in the hour that comes twice comes once. Lines whose minute or hour begins with `*` go by what the
    clock shows: not at all in what is left out (`*/15 2 * * *`), and each time in what comes twice. So does cron of
    Debian, whose rules the library `cronsim` has.
    """

    cron: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise UsageProblem(
                f"there is no time zone {self.tz!r}", 'write one of the IANA database, e.g. tz = "Europe/Berlin"'
            ) from None
        line = self.line
        if len(line.split()) != _FIELDS:
            raise UsageProblem(f"{self.cron!r} is no line of cron", _fix())
        try:
            next(CronSim(line, datetime.now(zone)))
        except CronSimError as problem:
            raise UsageProblem(f"{self.cron!r} is no line of cron: {str(problem).lower()}", _fix()) from None
        except StopIteration:
            raise UsageProblem(f"{self.cron!r} never comes", "there is no such day in any year") from None

    @property
    def line(self) -> str:
        """The five fields."""
        return _NAMED.get(self.cron, self.cron)

    def after(self, at: float) -> Iterator[float]:
        """The times after that one, in epoch seconds, the first first."""
        for due in _HalfHours(self.line, datetime.fromtimestamp(at, ZoneInfo(self.tz))):
            # In the hour that comes twice it begins with the first again.
            if due.timestamp() > at:
                yield due.timestamp()

    def between(self, after: float, until: float) -> list[float]:
        """The times after the first and until the second."""
        return list(itertools.takewhile(lambda due: due <= until, self.after(after)))

    def next(self, at: float | None = None) -> float | None:
        """The first time after that one, after now; None when there is none in the next years."""
        return next(self.after(time.time() if at is None else at), None)

    def local(self, at: float) -> datetime:
        """A time as the clocks of the zone show it."""
        return datetime.fromtimestamp(at, ZoneInfo(self.tz))

    @property
    def words(self) -> str:
        """What it means, in words."""
        zone = "" if self.tz == "UTC" else f" ({self.tz})"
        return f"{CronSim(self.line, datetime.now(ZoneInfo(self.tz))).explain()}{zone or ' UTC'}"


class _HalfHours(CronSim):
    """CronSim, which jumps by hours, also where a clock is changed by a part of one, as on Lord Howe Island; and to
    midnight, also where the clocks leave that out, as in Beirut."""

    def tick(self, seconds: int = 1) -> None:
        begin = self.dt
        if begin.utcoffset() is None:  # fixed times, which have their zone later
            super().tick(seconds)
            return
        # To the next hour as the clock shows it.
        super().tick(seconds - begin.minute * 60 - begin.second if seconds == _HOUR_S else seconds)
        if (_offset_s(self.dt) - _offset_s(begin)) % _HOUR_S:
            self.dt = begin
            while _offset_s(self.dt) == _offset_s(begin):
                super().tick(60 - self.dt.second)

    def advance_hour(self) -> bool:
        """Not from the full hour before, as CronSim goes: on the Chatham Islands that lies before the change of the
        clocks, and it would come by here for ever."""
        if self.dt.tzinfo is None or self.dt.hour in self.hours:
            return super().advance_hour()
        while True:
            self.tick(_HOUR_S)
            if self.dt.hour == 0 or self.dt.hour in self.hours:
                return True

    def advance_month(self) -> None:
        super().advance_month()
        self._show()

    def advance_day(self) -> bool:
        is_moved = super().advance_day()
        self._show()
        return is_moved

    def _show(self) -> None:
        """To what the clocks show in place of a time that they leave out."""
        if self.dt.tzinfo is not None:
            self.dt = self.dt.astimezone(UTC).astimezone(self.dt.tzinfo)


def _offset_s(at: datetime) -> float:
    offset = at.utcoffset()
    return offset.total_seconds() if offset else 0.0


def _fix() -> str:
    return f'write minute, hour, day, month and weekday, as cron = "0 3 * * *", or one of {", ".join(_NAMED)}'
