"""What the noun tells of recipes: each is a thing with a file of its own, and its runs are its versions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from .. import jobs
from ..errors import NotFound, UsageProblem
from ..nouns import STATE_DETAILS, Budget, Details, Fact, Keeping, Notice, Noun, Observation, Span, StepSpan, Thing
from ..resolve import resolve
from ..store import Record, open_store
from ..units import counted, show_duration, show_usd
from ..uris import Uri
from . import alerting, budget, declaration, filling, history, started
from .base import Value
from .history import ObservedRun
from .record import RunRecord, StepRecord
from .references import filled_values
from .schedule.declared import meanings_at
from .schedule.record import ScheduleRecord

if TYPE_CHECKING:
    from .plan_result import RecipePlan
    from .schedule.calendar import Calendar

# Steps in these states never began: one that is skipped says when an earlier run's began.
_DAY_S = 24 * 3600.0
_NEVER_BEGAN = ("waiting", "blocked", "skipped")


class RecipeNoun(Noun[RunRecord]):
    """See `Noun`."""

    name = "recipe"
    kind = RunRecord
    has_versions = True
    more_kinds = (StepRecord, ScheduleRecord)
    plural = "recipes"
    settings: ClassVar = {
        "at_once": "how many steps of a run go on at once; as many as there are cores when not set",
        "archive_days": "for how many days the executed notebooks of runs are kept",
        "archive_gib": "how much those may take together, in GiB",
    }

    def first(self, name: str) -> str:
        """How to make it run for the first time, or, when there is no such recipe, how to get one."""
        return f"run it: `%recipe run {name}`" if name in declaration.names() else declaration.first(name)

    def things(self) -> Sequence[Thing]:
        """The recipes; one that never ran changed when its file did."""
        found = [_thing(name, history.newest(name)) for name in declaration.names()]
        return sorted(found, key=lambda thing: thing.changed_at, reverse=True)

    def names(self) -> Sequence[str]:
        """The recipes, and every run."""
        runs = open_store().list(RunRecord, skip_unreadable=True)
        return [*declaration.names(), *(record.name for record in runs)]

    def offered(self, starts: str, labels: Sequence[str]) -> Sequence[str]:
        """The recipes, also those that never ran, and these runs."""
        recipes = [name for name in declaration.names() if name.startswith(starts)]
        return list(dict.fromkeys([*recipes, *super().offered(starts, labels)]))

    def observe(self, records: Sequence[Record[RunRecord]]) -> Sequence[Observation]:
        return list(map(_observation, history.observe([history.looked_at(record) for record in records])))

    def watched(self, ended: int = 20) -> Sequence[Observation]:
        store = open_store()
        going = self.observe(store.list(RunRecord, is_open=True, skip_unreadable=True))
        # By when they were written last, which for what has ended is its end.
        last = store.list(RunRecord, is_open=False, limit=ended, order="written", skip_unreadable=True)
        over = self.observe(last)
        kept = map(_scheduled, store.list(ScheduleRecord, is_open=True, skip_unreadable=True))
        # A run that was found lost just now stands in both: it was open, and then its end was written.
        return list({each.uri: each for each in (*kept, *going, *over)}.values())

    def details(self, uri: str) -> Details:
        """See `Noun.details`: the steps, and the error of the one that failed."""
        asked = Uri.parse(uri)
        record = open_store().get(RunRecord, asked.label)
        # A recipe's name stands for its newest run.
        run = history.observe([history.looked_at(record)])[0] if record else history.newest(asked.label)
        if run is None:
            schedule = open_store().get(ScheduleRecord, asked.label)
            return Details(tuple(_schedule_facts(schedule))) if schedule else super().details(uri)
        failed = next((step for step in run.record.steps if step.error), None)
        schedule = open_store().get(ScheduleRecord, asked.name) if not asked.tag else None
        return Details(
            facts=(*(_schedule_facts(schedule) if schedule else ()), *_facts(run)),
            problem=_problem(run, failed),
            fix=f"`%recipe show {run.record.name}` shows its notebook" if failed else "",
            log=super().details(uri).log if jobs.find(uri) else "",
        )

    def plan(self, uri: str) -> RecipePlan:
        """See `HasPlan` of the panel: what `recipe run --dry` says. A run stands for its recipe with its parameters; a
        recipe runs with those of the next time of its schedule, where that is kept."""
        from . import RecipePlan, run  # the package needs this module

        asked = Uri.parse(uri, self.name)
        found = run(asked.label, param={} if asked.tag else _due_parameters(asked.name), dry=True)
        assert isinstance(found, RecipePlan)
        return found

    def stop(self, uri: str) -> Sequence[str]:
        """See `Noun.stop`: the cell that runs is interrupted, and no further step begins. A recipe's own name is its
        schedule, where that is kept: it is paused, and a run goes on."""
        from .schedule import keeping

        asked = Uri.parse(uri, self.name)
        if not asked.tag and keeping.pause(asked.name):
            return []
        going = history.going(str(asked))
        if not going:
            run = resolve(uri, RunRecord)
            raise NotFound(f"{run.uri} is over", f"`%recipe show {run.name}` says how it ended")
        return [jobs.cancel(job.id).id for job in going]

    def notices(self) -> Sequence[Notice]:
        """What lives on although it was to end with a run that vanished, and was not asked to end or did not heed; and
        alerts that somebody lacks."""
        seen = history.observe(history.readable_runs())
        lost = [run.record.uri for run in seen if run.record.body.may_leave_things]
        # Vendors count what they are asked: once for all runs, and not at all where none was lost.
        left = [_left_living(one) for one in started.living(*lost) if one.can_stop] if lost else []
        return [*left, *alerting.undelivered()]

    def budgets(self) -> Sequence[Budget]:
        """None that others have to look after: a run keeps to its own, and people hear of that by `[alert]`."""
        return []

    def keepings(self) -> Sequence[Keeping]:
        from . import retention

        return [retention.archives()]

    def spans(self, *, with_steps: bool = False) -> Sequence[Span]:
        seen = history.observe(history.readable_runs(with_steps=with_steps))
        return [_span(run, with_steps=with_steps) for run in seen]


def _left_living(one: Observation) -> Notice:
    run = Uri.parse(one.context.partition("/")[0])
    return Notice(one.uri, f"it was to end with {run}, whose process vanished", f"`%recipe stop {run.label}`")


def _thing(name: str, run: ObservedRun | None) -> Thing:
    changed_at = run.record.updated_at if run else declaration.path_of(name).stat().st_mtime
    return Thing(str(Uri(history.KIND, name)), changed_at, history.state_of(run))


def _scheduled(record: Record[ScheduleRecord]) -> Observation:
    """A schedule that is kept, by the times that it is kept by: the recipe's file is not read at every look."""
    body, calendar = record.body, _calendar(record.body)
    next_at = calendar.next(body.decided_until) if calendar else None
    last = open_store().get(RunRecord, Uri.parse(body.run).label) if body.run else None
    return Observation(
        uri=str(Uri(history.KIND, record.name)),
        state="needs a look" if body.problem else "scheduled",
        is_live=True,
        started_at=body.started_at,
        detail=body.problem,
        can_stop=True,
        figure=_soon(calendar, next_at) if calendar and next_at else "",
        facts=tuple(filter(None, [calendar.words if calendar else "", f"last: {last.body.state}" if last else ""])),
        # It runs in the daemon, which takes nothing.
        usd_per_hour=0.0,
        on_machine=False,
        kind="schedule",
    )


def _schedule_facts(record: Record[ScheduleRecord]) -> Iterator[Fact]:
    body, calendar = record.body, _calendar(record.body)
    if calendar:
        yield Fact("schedule", calendar.words, "" if body.is_open else "paused")
        next_at = calendar.next(body.decided_until) if body.is_open else None
        if next_at is not None:
            yield Fact("next", f"{calendar.local(next_at):%Y-%m-%d %H:%M %Z}")
        if body.last_due is not None:
            yield Fact("last due", f"{calendar.local(body.last_due):%Y-%m-%d %H:%M %Z}")
    if body.run:
        yield Fact("last run", Uri.parse(body.run).label)
    if body.missed_count:
        yield Fact("missed", counted(body.missed_count, "run"))


def _due_parameters(name: str) -> dict[str, Value]:
    """What the daemon gives the recipe at the next time of its schedule; nothing where none is kept."""
    record = open_store().get(ScheduleRecord, name)
    calendar = _calendar(record.body) if record and record.body.is_open else None
    due = calendar.next(record.body.decided_until) if record and calendar else None
    if due is None:
        return {}
    recipe = declaration.read(name)
    own = recipe.schedule.parameters if recipe.schedule else {}
    return filling.given_values(recipe, filled_values(own, meanings_at(recipe.schedule, due)), at=due)


def _calendar(body: ScheduleRecord) -> Calendar | None:
    from .schedule.calendar import Calendar

    try:
        return Calendar(body.cron, body.tz) if body.cron else None
    except UsageProblem:  # a zone that this machine has not
        return None


def _soon(calendar: Calendar, at: float) -> str:
    """A time by the clocks of its zone, within a day without its date."""
    return f"{calendar.local(at):{'%H:%M' if at - time.time() < _DAY_S else '%m-%d %H:%M'}}"


def _observation(run: ObservedRun) -> Observation:
    job, steps = run.job, run.record.steps
    done = sum(step.succeeded for step in steps)
    return Observation(
        uri=run.record.uri,
        state=run.state,
        is_live=job is not None,
        started_at=run.record.body.started_at,
        ended_at=run.record.body.ended_at,
        detail=STATE_DETAILS.get(run.state, ""),
        can_stop=job is not None and not job.stop_requested_at,
        job=job.id if job else "",
        figure=_left(run) or next((step.name for step in steps if step.state == "running"), "") if job else "",
        facts=(f"{done} of {counted(len(steps), 'step')}",) if steps else (),
        progress=(done, len(steps)) if job and steps else None,
    )


def _left(run: ObservedRun) -> str:
    """How long it mostly takes from now on, if its steps ran one after the other; nothing where one never ran."""
    usual, now, left_s = history.usual_s(run.record, run.record.base), time.time(), 0.0
    for step in run.record.steps:
        if step.state in ("waiting", "running"):
            if step.name not in usual:
                return ""
            left_s += max(0.0, usual[step.name] - (now - step.began_at if step.began_at else 0.0))
    return f"{show_duration(left_s)} left" if left_s else ""


def _problem(run: ObservedRun, failed: StepRecord | None) -> str:
    if run.record.body.error:
        return run.record.body.error.partition("\n")[0]
    return f"{failed.name}: {failed.error}" if failed else STATE_DETAILS["lost"] if run.state == "lost" else ""


def _facts(run: ObservedRun) -> Iterator[Fact]:
    body = run.record.body
    for step in run.record.steps:
        took = show_duration(step.seconds) if step.seconds and step.state != "skipped" else ""
        yield Fact(step.name, took, step.state)
    yield from (Fact(name, str(value)) for name, value in body.parameters.items())
    if body.budget_usd:
        spent_usd = budget.spent_usd(body)
        text = f"{show_usd(spent_usd)} of {show_usd(body.budget_usd)}"
        yield Fact("budget", text, share=min(1.0, spent_usd / body.budget_usd))
    if not body.keep:
        yield Fact("ends", "what it starts ends with it")


def _span(run: ObservedRun, *, with_steps: bool) -> Span:
    body, is_live = run.record.body, run.job is not None
    ended_at = time.time() if is_live else body.ended_at or run.record.last_sign_at
    steps = tuple(map(_step_span, run.record.steps)) if with_steps else ()
    return Span(run.record.uri, body.started_at, ended_at, is_live, steps=steps)


def _step_span(step: StepRecord) -> StepSpan:
    if step.state in _NEVER_BEGAN:
        return StepSpan(step.name, step.state, None, 0.0)
    return StepSpan(step.name, step.state, step.began_at, step.seconds, step.went_on)


NOUN = RecipeNoun()
