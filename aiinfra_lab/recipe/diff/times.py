"""Which times in a text are those of the execution itself, and so differ each time; all others are data."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)(?:Z|[+-]\d\d:?\d\d)?")
_CLOCK = re.compile(r"(?<!days )\b(\d\d):(\d\d):(\d\d)(?:[.,]\d+)?\b")
_DAY_S = 86_400.0
_AROUND_S = 60.0


@dataclass(frozen=True)
class ExecutionTimes:
    """When notebooks that are compared were executed, from and to, in epoch seconds; none: that is not known."""

    spans: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, *notebooks: Mapping[str, Any]) -> ExecutionTimes:
        """Those of executed notebooks; none where one of them does not say it."""
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            return cls(tuple(_span(notebook["metadata"]["papermill"]) for notebook in notebooks))
        return cls()

    def without(self, text: str) -> str:
        """The text with `(time)` for each time that belongs to one of them; for every time where they are not known."""
        text = _MOMENT.sub(lambda found: "(time)" if self._has_moment(*found.groups()) else found[0], text)
        return _CLOCK.sub(lambda found: "(time)" if self._has_clock(*map(int, found.groups())) else found[0], text)

    def _has_moment(self, day: str, time: str) -> bool:
        try:
            at = datetime.fromisoformat(f"{day}T{time.replace(',', '.')}").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return not self.spans
        # A day around it, whatever zone its clock shows.
        return not self.spans or any(began - _DAY_S <= at <= ended + _DAY_S for began, ended in self.spans)

    def _has_clock(self, hour: int, minute: int, second: int) -> bool:
        """By the clocks of this machine, and by UTC."""
        at = hour * 3600 + minute * 60 + second
        return not self.spans or any(
            (at - (began + zone - _AROUND_S)) % _DAY_S <= ended - began + 2 * _AROUND_S
            for began, ended in self.spans
            for zone in (0.0, _offset_s(began))
        )


def _span(facts: Mapping[str, Any]) -> tuple[float, float]:
    began, ended = (datetime.fromisoformat(facts[name]).timestamp() for name in ("start_time", "end_time"))
    return began, ended


def _offset_s(at: float) -> float:
    offset = datetime.fromtimestamp(at).astimezone().utcoffset()
    return offset.total_seconds() if offset else 0.0
