"""The table [schedule] of a recipe's file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ...errors import UsageProblem, did_you_mean
from ..base import Recipe, Value
from ..references import RUN_WORDS, words
from .calendar import Calendar
from .deciding import CATCH_UP, OVERLAP, RecipeSchedule

KEYS = {
    "cron": 'minute, hour, day, month, weekday, as "0 3 * * *"; or @hourly, @daily, @weekly, @monthly, @yearly',
    "tz": 'the time zone of that, e.g. "Europe/Berlin"; UTC where it is left out',
    "catch_up": "which of the times that passed unseen run later: last (where it is left out), all or none",
    "overlap": "where the run before still goes on: wait (where it is left out) or skip",
    "parameters": "name = value for these runs; ${run.date} and ${run.time} stand for the time that is due",
}


def read_schedule(where: str, table: Mapping[str, Any]) -> RecipeSchedule:
    """A table that has no other keys than `KEYS`. UsageProblem for what is wrong in it."""
    cron, tz = table.get("cron"), table.get("tz", "UTC")
    if not isinstance(cron, str) or not isinstance(tz, str):
        raise UsageProblem(f"{where}: it has no line of cron", 'write cron = "0 3 * * *"')
    try:
        calendar = Calendar(cron.strip(), tz)
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: {problem.what}", problem.fix) from None
    catch_up, overlap = table.get("catch_up", "last"), table.get("overlap", "wait")
    for key, value, known in (("catch_up", catch_up, CATCH_UP), ("overlap", overlap, OVERLAP)):
        if value not in known:
            raise UsageProblem(f"{where}: {key} cannot be {value!r}", did_you_mean(str(value), known))
    parameters = table.get("parameters", {})
    if not isinstance(parameters, dict):
        raise UsageProblem(f"{where}: parameters must be a table", 'write parameters = { day = "${run.date}" }')
    for name, value in parameters.items():
        for word in words(value):
            if word not in RUN_WORDS:
                raise UsageProblem(
                    f"{where}: {name} holds ${{{word}}}, which stands for nothing", did_you_mean(word, RUN_WORDS)
                )
    return RecipeSchedule(calendar, catch_up, overlap, parameters)


def kept_by(recipe: Recipe) -> tuple[str, str]:
    """The five fields of its times and their zone; without any the first is empty."""
    return (recipe.schedule.calendar.line, recipe.schedule.calendar.tz) if recipe.schedule else ("", "UTC")


def meanings_at(schedule: RecipeSchedule | None, at: float) -> dict[str, Value]:
    """What `${run.date}` and `${run.time}` stand for at that time, in the zone of the schedule, else in UTC."""
    local = schedule.calendar.local(at) if schedule else dt.datetime.fromtimestamp(at, dt.UTC)
    return {"run.date": local.date().isoformat(), "run.time": local.isoformat()}
