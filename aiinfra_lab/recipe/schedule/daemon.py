"""`python -m aiinfra_lab.recipe.schedule.daemon`: begins the runs of the workspace's schedules, until none is open.

A job of the supervisor. More than one may live, on several machines with one store: whose commit comes first begins a
run.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from ... import jobs, logs, modes
from ...alerts import Alert, deliver
from ...errors import Conflict, LabError, NotFound, Unavailable
from ...providers import make
from ...store import Event, Record, open_store
from ...units import counted
from ...uris import Uri
from .. import declaration, filling, history
from ..alerting import report_end
from ..base import Recipe, Value
from ..record import RunRecord
from ..references import filled_values
from ..runner import RecipeRunner
from .calendar import Calendar
from .deciding import RecipeSchedule, RecipeTrigger, decide, due_times
from .declared import kept_by, meanings_at
from .record import ScheduleRecord
from .triggers import fired, present

SUBJECT = "lab:schedules"
_LOOK_S = 1.0
_IDLE_S = 10.0
Also = Callable[[Record[RunRecord]], Record[ScheduleRecord]]
Begin = Callable[[Recipe, Mapping[str, Value], float | None, str, Also], None]
_log = logging.getLogger("aiinfra_lab.recipe.schedule.daemon")  # __name__ is __main__ here


def begin_run(recipe: Recipe, given: Mapping[str, Value], due: float | None, cause: str, also: Also) -> None:
    """Leave the run to the supervisor, in one commit with the record that `also` gives for it."""
    runner = RecipeRunner(recipe, given, make("recipe.executor"), keep=True, force=False)
    runner.begin(due_at=due, cause=cause, also=also)


def _is_busy(name: str) -> bool:
    return bool(history.going(str(Uri("recipe", name))))


def launch() -> None:
    """See to it that one lives in this workspace."""
    if not jobs.ls(SUBJECT, live=True):
        jobs.start(SUBJECT, [sys.executable, "-m", __name__], restart=True)
    jobs.launch()


class ScheduleKeeper:
    """Keeps the schedules of the workspace. clock: gives epoch seconds. begin: begins a run."""

    def __init__(self, clock: Callable[[], float] = time.time, begin: Begin | None = None) -> None:
        self._clock, self._begin_run, self._store = clock, begin or begin_run, open_store()

    def look(self) -> int:
        """Decide what is due; how many schedules are open."""
        found = self._store.list(ScheduleRecord, is_open=True, skip_unreadable=True)
        for record in found:
            try:
                self._keep(record)
            except Conflict:
                continue  # another daemon was faster, or it was paused just now
            except Unavailable as problem:
                _log.warning("%s: %s", record.name, problem)
        return len(found)

    def _keep(self, record: Record[ScheduleRecord]) -> None:
        try:
            recipe = declaration.read(record.name)
            if recipe.schedule is None and recipe.trigger is None:
                what = f"{recipe.path.name} has no [schedule] and no [trigger] any more"
                raise NotFound(what, f"`%recipe stop {record.name}`")
        except LabError as problem:
            self._note(record, problem, is_unread=True)
            return
        if record.body.is_unread:
            (record,) = self._store.commit([record.of(record.body.with_problem())])
        if (record.body.cron, record.body.tz) != kept_by(recipe):
            self._follow(recipe, record)
            return
        if recipe.alert is not None and "failed" in recipe.alert.on and self._report_lost(recipe, record):
            return
        if recipe.schedule is not None and self._is_due(recipe, recipe.schedule, record):
            return  # what else there is comes at the next look, by the record as it is then
        if recipe.trigger is not None:
            self._look_at_trigger(recipe, recipe.trigger, record)

    def _follow(self, recipe: Recipe, record: Record[ScheduleRecord]) -> None:
        """Keep it by the times that its file has from now on: for the past those of before were meant."""
        (cron, tz), body = kept_by(recipe), record.body
        if body.cron is None:
            self._store.commit([record.with_(cron=cron, tz=tz)])
            return
        now, after = self._clock(), body.decided_until
        missed = tuple(due_times(Calendar(body.cron, body.tz), after, now)) if body.cron else ()
        changed = record.of(body.with_missed(missed, max(after, now))).with_(cron=cron, tz=tz)
        if not missed:
            self._store.commit([changed])
            return
        self._store.commit([changed], Event("recipe missed", record.uri, detail={"times": list(missed)}))
        _report(recipe, missed, changed)

    def _report_lost(self, recipe: Recipe, record: Record[ScheduleRecord]) -> bool:
        """Have people hear of a run whose process vanished, which could not do it itself; whether there was one."""
        newest = history.newest(recipe.name)
        if newest is None or newest.state != "lost" or record.body.reported == newest.record.uri:
            return False
        # First, so that of two daemons one does it.
        self._store.commit([record.with_(reported=newest.record.uri)])
        report_end(recipe, newest.record)
        return True

    def _is_due(self, recipe: Recipe, own: RecipeSchedule, record: Record[ScheduleRecord]) -> bool:
        """Decide about the times that are due; whether there were any."""
        # Times from before it was started run one by one, whatever the rule for those that are missed later.
        is_backfill = record.body.decided_until < record.body.started_at
        schedule = own.as_backfill() if is_backfill else own
        now, after = self._clock(), record.body.decided_until
        if decide(schedule, after, now, is_busy=False) is None:
            return False  # the usual look asks nothing else
        decided = decide(schedule, after, now, is_busy=_is_busy(record.name))
        if decided is None:
            return False
        changed = record.of(record.body.with_missed(decided.missed, decided.until))
        if decided.start is None:
            self._store.commit([changed], Event("recipe missed", record.uri, detail={"times": list(decided.missed)}))
        else:
            wanted = filled_values(schedule.parameters, meanings_at(schedule, decided.start))
            changed = self._begin(recipe, wanted, changed.with_(last_due=decided.start), due=decided.start)
        _report(recipe, decided.missed, changed)
        return True

    def _look_at_trigger(self, recipe: Recipe, trigger: RecipeTrigger, record: Record[ScheduleRecord]) -> None:
        seen, before = record.body.seen, record.body.triggered_at
        now = present(trigger, seen)
        if now == seen:
            return
        happened = fired(seen, now)
        if not happened:
            self._store.commit([record.with_(seen=now)])
            return
        if _is_busy(recipe.name) or (before is not None and self._clock() - before < trigger.every_s):
            return  # it runs then, for all that has happened until then
        changed = record.with_(seen=now, triggered_at=self._clock())
        self._begin(recipe, {}, changed, cause="; ".join(happened))

    def _begin(
        self,
        recipe: Recipe,
        wanted: Mapping[str, object],
        record: Record[ScheduleRecord],
        *,
        due: float | None = None,
        cause: str = "",
    ) -> Record[ScheduleRecord]:
        """Begin a run, and write the record with it."""

        def also(run: Record[RunRecord]) -> Record[ScheduleRecord]:
            return record.of(record.body.with_problem()).with_(run=run.uri)

        try:
            self._begin_run(recipe, filling.given_values(recipe, wanted, at=due), due, cause, also)
        except (Conflict, Unavailable):
            raise
        except LabError as problem:  # what it takes is not there: later it may be, and this time is missed
            missed = record if due is None else record.of(record.body.with_missed((due,), record.body.decided_until))
            return self._note(missed, problem, is_missed=True)
        return record

    def _note(
        self, record: Record[ScheduleRecord], problem: LabError, *, is_missed: bool = False, is_unread: bool = False
    ) -> Record[ScheduleRecord]:
        """Write down why a schedule cannot be kept now, once."""
        if not is_missed and record.body.problem == problem.what:
            return record
        _log.warning("%s: %s", record.name, problem)
        noted = record.of(record.body.with_problem(problem.what, problem.fix, is_unread=is_unread))
        return self._store.commit([noted], Event("recipe missed", record.uri, detail={"why": problem.what}))[0]


def _report(recipe: Recipe, missed: tuple[float, ...], record: Record[ScheduleRecord]) -> None:
    """Have people hear of runs that did not come at their time."""
    if recipe.alert is None or "late" not in recipe.alert.on or not (missed or record.body.problem):
        return
    at = missed[-1] if missed else record.body.decided_until
    last = datetime.fromtimestamp(at, ZoneInfo(record.body.tz))
    facts = {"missed": counted(len(missed) or 1, "run"), "last": f"{last:%Y-%m-%d %H:%M %Z}"}
    what = record.body.problem or "a run of its schedule was missed"
    deliver(Alert("late", record.uri, what, f"`%recipe show {recipe.name}`", facts=facts), recipe.alert.to)


def main() -> int:
    """Look again and again until no schedule has been open for some seconds."""
    logs.configure()
    over: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: over.append(number))
    keeper, open_at = ScheduleKeeper(), time.monotonic()
    while not over:
        try:
            if keeper.look():
                open_at = time.monotonic()
        except Unavailable as problem:  # a database that restarts
            _log.warning("%s", problem)
            open_at = time.monotonic()
        if time.monotonic() - open_at > _IDLE_S:
            return 0
        jobs.beat()
        time.sleep(_LOOK_S)
    return 0


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main())
