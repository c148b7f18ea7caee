"""Running a recipe: step after step, each outcome recorded as it happens, dependents of a failure left alone."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from .. import jobs, signals
from ..config import settings
from ..errors import Conflict, LabError, UsageProblem
from ..jobs.record import State
from ..resolve import resolve
from ..secrets import redactor
from ..store import Event, Record, next_version, open_store, patiently
from ..uris import Uri
from . import holding, started
from .alerting import report_end
from .base import ENDED_EARLY, FAILURES, Executor, Recipe, Value
from .budget import RunBudget
from .history import KIND, RECENT, complete_held, going, observe, readable_runs, recent, runs
from .makers import checked
from .plan import Planner
from .record import EndState, RunRecord
from .recorded import ReadSteps, RecordedRun
from .run_writer import RunWriter, Show
from .steps import RunSteps
from .stopping import StopRequests, stop_requests
from .taken import pinned

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Whoever loses the race for a number finds the winner running; it can lose again only to a run that was very short.
_ATTEMPTS = 10
# What a cell gets to heed its interrupt, and some seconds for the end of all that was started.
_GRACE_S = 30.0
_JOB_ENDS: Mapping[str, State] = {"done": "done", "stopped": "stopped", "interrupted": "stopped", "lost": "lost"}


def folder_of(run: RecordedRun) -> Path:
    """Where a run's executed notebooks are kept."""
    return settings().home / KIND / run.name


class RecipeRunner:
    """One run of a recipe, `recipe:NAME@N`, from its record to its last step.

    resumes: the URI of the run whose steps it goes on with, each in its kernel where that is held
    """

    def __init__(
        self,
        recipe: Recipe,
        given: Mapping[str, Value],
        executor: Executor,
        *,
        keep: bool,
        force: bool,
        resumes: str = "",
    ) -> None:
        self._recipe = checked(recipe, given)
        self._budget = RunBudget(self._recipe)
        self._given = dict(given)
        self._executor = executor
        self._keep = keep
        self._force = force
        self._resumes = resumes
        self._store = open_store()
        self._writer: RunWriter
        self._only = ""
        self._due_at: float | None = None
        self._cause = ""
        self._also: Callable[[Record[RunRecord]], Record[Any]] | None = None
        self._ended: RecordedRun | None = None

    def go(self, show: Show) -> RecordedRun:
        """Run every step that must; returns the run's record, and shows it whenever a step's state changes.

        Ctrl-C ends the run and records it as interrupted. Conflict while another run of the recipe goes on: each takes
        what is newest, and would take the other's. What its steps take from outside is pinned here: LabError, and no
        run, when some of it is not there.
        """
        with self._reported(), contextlib.ExitStack() as stack:
            taken = pinned(self._recipe)
            self._end_leftovers()
            run, job = self._claim(lambda run, event: stack.enter_context(jobs.here(run.uri, run, event=event)))
            there = patiently(lambda: resolve(Uri.parse(run.uri), RunRecord))
            return self._carry_out(RecordedRun(there, ReadSteps()), job, taken, show)

    def begin(
        self,
        *,
        only: str = "",
        due_at: float | None = None,
        cause: str = "",
        also: Callable[[Record[RunRecord]], Record[Any]] | None = None,
    ) -> RecordedRun:
        """Have the workspace's supervisor carry it out in a process of its own; returns its record at once.

        The errors of `go`. only: the step that is left of the recipe, where that is one. due_at: the time of a schedule
        for which it is. cause: what happened that it is for. also: a record to be written in the same commit, given the
        run's; Conflict where it is not as it was
        """
        pinned(self._recipe)  # for its errors
        self._refuse_secrets()
        self._only, self._due_at, self._cause, self._also = only, due_at, cause, also
        run, job = self._claim(self._commit_supervised)
        jobs.launch_or_withdraw(job)
        return RecordedRun(run, ReadSteps())

    def go_on(self, run: RecordedRun, job: jobs.Here, show: Show) -> RecordedRun:
        """Carry out a run that was begun so, as its job; see `go`."""
        taken = pinned(self._recipe)
        self._end_leftovers()
        now = self._body()  # the recipe's file may have been edited since
        with self._reported():
            body = replace(run.body, order=now.order, steps=(), budget_usd=now.budget_usd)
            return self._carry_out(RecordedRun(run.record, ReadSteps()), job, taken, show, body)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Have people hear of its end when that is over: a sink that does not answer keeps no run going, and who does
        not want to wait for it leaves the alert for the next time."""
        try:
            yield
        finally:
            if self._ended is not None:
                with contextlib.suppress(KeyboardInterrupt), signals.taken():
                    report_end(self._recipe, self._ended)

    def _carry_out(
        self, run: RecordedRun, job: jobs.Here, taken: Mapping[str, str], show: Show, now: RunRecord | None = None
    ) -> RecordedRun:
        self._writer = RunWriter(run, show)
        if now is not None and now != run.body:
            self._writer.change(now)
        with stop_requests(job) as stop:
            # Not before the claim: another run may have ended until then, and none does while this one goes on.
            before = recent(self._recipe.name, but=run.name, is_patient=True)
            held = holding.held(self._recipe.name) if self._resumes else {}
            complete_held(self._recipe.name)
            holding.end_all(self._recipe.name, but=held.values())
            planner = Planner(taken, before, force=self._force, alive=self._keep, held=held)
            show(self._writer.run)
            job.ended = _JOB_ENDS.get(self._go(stop, planner), "failed")
        show(self._writer.run)
        return self._writer.run

    def _commit_supervised(self, run: Record[RunRecord], event: Event) -> str:
        options = [*(["--force"] if self._force else []), *(["--only", self._only] if self._only else [])]
        argv = [sys.executable, "-m", "aiinfra_lab.recipe.worker", run.name, *options]
        job = jobs.prepare(run.uri, argv, grace_s=_GRACE_S)
        try:
            self._store.commit([run, job, *([self._also(run)] if self._also else [])], event)
        except LabError:
            jobs.discard(job.name)
            raise
        return job.name

    def _end_leftovers(self) -> None:
        """End what earlier runs were to end before they vanished: this one may start the same by the same name."""
        observe(readable_runs(is_open=True))  # those of other recipes are asked
        found = observe(runs(self._recipe.name, RECENT))
        if left := [run.record.uri for run in found if run.record.body.may_leave_things]:
            _warn_of(started.end(*left))

    def _go(self, stop: StopRequests, planner: Planner) -> EndState:
        steps = RunSteps(self._recipe, planner, self._executor, self._writer, folder_of(self._writer.run), self._budget)
        state: EndState
        try:
            steps.go(stop)
            state = self._state(stop)
        except KeyboardInterrupt:
            steps.abandon()
            self._writer.end_steps("interrupted")
            state = "interrupted"
        except BaseException:
            steps.abandon()
            self._writer.end_steps("failed")  # the record must not say that it still runs
            self._end("failed")
            raise
        self._end(state)
        return state

    def _claim(self, commit: Callable[[Record[RunRecord], Event], T]) -> tuple[Record[RunRecord], T]:
        """The run and its job, begun in one commit: whoever sees a run without a living job writes its end."""
        for _ in range(_ATTEMPTS):
            # The number first: who takes it between here and the commit makes this commit a conflict.
            uri = Uri(KIND, self._recipe.name, next_version(self._store, RunRecord, self._recipe.name))
            self._refuse_second()
            run = Record.new(uri.label, self._body())
            with contextlib.suppress(Conflict):
                return run, commit(run, Event("recipe start", str(uri), detail={"parameters": self._given}))
        raise Conflict(f"recipe {self._recipe.name} is started too often at once", "repeat in a moment")

    def _refuse_secrets(self) -> None:
        """The record is all that the other process has, and secrets are taken out of it."""
        clean = redactor().clean_value(self._given)
        if hidden := [name for name, value in self._given.items() if clean[name] != value]:
            what = f"{', '.join(hidden)} holds a secret, which is written down nowhere: no other process would get it"
            fix = f'in the notebook: `{hidden[0]}: Secret = Secret("NAME")`, and give its name; or wait for the run'
            raise UsageProblem(what, fix)

    def _refuse_second(self) -> None:
        mine = str(Uri(KIND, self._recipe.name))
        jobs.close_silent(mine)
        if others := going(mine):
            run = Uri.parse(others[0].subject)
            fix = f"look at it with `%recipe show {run.label}`, or end it with `%recipe stop {run.label}`"
            raise Conflict(f"{run} is running", fix)

    def _body(self) -> RunRecord:
        given, keep = redactor().clean_value(self._given), self._keep
        return RunRecord(
            started_at=time.time(),
            parameters=given,
            keep=keep,
            due_at=self._due_at,
            cause=self._cause,
            resumes=self._resumes,
            budget_usd=self._recipe.budget_usd,
            order=tuple(step.name for step in self._recipe.steps),
        )

    def _state(self, stop: StopRequests) -> EndState:
        states = [step.state for step in self._writer.steps]
        # The first failure decides: what came after it may have failed for it.
        if bad := next((state for state in states if state in FAILURES), None):
            return bad
        if self._budget.reason and "not run" in states:
            return "failed"
        return stop.word if {*ENDED_EARLY, "not run"}.intersection(states) else "done"

    def _end(self, state: EndState) -> None:
        run = self._writer.run
        made_now = [uri for step in run.steps if step.succeeded for uri in step.made.values()]
        detail: dict[str, object] = {"state": state, "made": made_now}
        if not self._keep and (still_live := patiently(lambda: started.end(run.uri))):
            detail["still_live"] = still_live
            _warn_of(still_live)
        event = Event("recipe end", run.uri, outputs=(run.uri, *made_now), detail=detail)
        error, spent_usd = self._budget.error if state in FAILURES else "", self._budget.spent_usd(run.body.started_at)
        ended = replace(self._writer.body, state=state, ended_at=time.time(), error=error, spent_usd=spent_usd)
        self._writer.end(ended, event)
        self._ended = self._writer.run


def _warn_of(still_live: Sequence[str]) -> None:
    if still_live:
        _log.warning("what a recipe started could not be ended: %s", ", ".join(still_live))
