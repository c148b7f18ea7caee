"""Running a recipe: step after step, each outcome recorded as it happens, dependents of a failure left alone."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path

from msgspec.structs import replace

from .. import jobs
from ..config import settings
from ..errors import Conflict, LabError
from ..store import Event, Record, next_version, open_store, patiently, update
from ..uris import Uri
from . import started
from .alerting import report_end
from .attempts import Attempts, attempt
from .base import FAILURES, Executor, Outcome, Recipe, RecipeStep, Value
from .history import KIND, RECENT, observe, runs
from .inputs import file_digest, pinned
from .plan import PlannedStep, Planner, made, needs_revival
from .prepared import Prepared
from .record import EndState, Output, RunRecord, StepRecord
from .stopping import stop_requests
from .watching import Opened, opened_files

_log = logging.getLogger(__name__)

Show = Callable[[Record[RunRecord]], None]
Stop = Callable[[], int]
Run = Record[RunRecord]

# Whoever loses the race for a number finds the winner running; it can lose again only to a run that was very short.
_ATTEMPTS = 10


def folder_of(run: Run) -> Path:
    """Where a run's executed notebooks are kept."""
    return settings().home / KIND / run.name


class RecipeRunner:
    """One run of a recipe, `recipe:NAME@N`, from its record to its last step."""

    def __init__(
        self, recipe: Recipe, given: Mapping[str, Value], executor: Executor, *, keep: bool, force: bool
    ) -> None:
        self._recipe = recipe
        self._given = dict(given)
        self._executor = executor
        self._keep = keep
        self._force = force
        self._store = open_store()
        self._steps = {step.name: step for step in recipe.steps}
        self._pinned: dict[str, str] = {}
        self._planner: Planner
        self._prepared: dict[str, Prepared] = {}
        self._run: Run
        self._show: Show

    def go(self, show: Show) -> Run:
        """Run every step that must; returns the run's record, and shows it whenever a step's state changes.

        Ctrl-C ends the run and records it as stopped. Conflict while another run of the recipe goes on: each takes what
        is newest, and would take the other's. What its steps take from outside is pinned here: LabError, and no run,
        when some of it is not there.
        """
        self._show = show
        self._pinned = pinned(self._recipe)
        self._end_leftovers()
        with self._job() as job, stop_requests(job) as stop:
            # Not before the claim: another run may have ended until then, and none does while this one goes on.
            self._planner = Planner(
                self._recipe,
                self._given,
                self._pinned,
                runs(self._recipe.name, RECENT),
                force=self._force,
                alive=self._keep,
            )
            show(self._run)
            state = self._go(stop)
            job.ended = state if state in ("done", "stopped", "lost") else "failed"
        show(self._run)
        return self._run

    def _end_leftovers(self) -> None:
        """End what earlier runs were to end before they vanished: this one may start the same by the same name."""
        observe(self._store.list(RunRecord, is_open=True, skip_unreadable=True))  # those of other recipes are asked
        found = observe(runs(self._recipe.name, RECENT))
        if left := [run.record.uri for run in found if run.record.body.may_leave_things]:
            _warn_of(started.end(*left))

    def _go(self, stop: Stop) -> EndState:
        state: EndState
        try:
            for step in self._recipe.steps:
                self._step(step, stop)
            state = self._state()
        except KeyboardInterrupt:
            self._write(self._run.body.with_end("stopped"))
            state = "stopped"
        except BaseException:
            self._write(self._run.body.with_end("failed"))  # the record must not say that it still runs
            self._end("failed")
            raise
        self._end(state)
        return state

    @contextlib.contextmanager
    def _job(self) -> Iterator[jobs.Here]:
        """The run and its job, begun in one commit: whoever sees a run without a living job writes its end."""
        with contextlib.ExitStack() as stack:
            for _ in range(_ATTEMPTS):
                # The number first: who takes it between here and the commit makes this commit a conflict.
                uri = Uri(KIND, self._recipe.name, next_version(self._store, RunRecord, self._recipe.name))
                self._refuse_second()
                self._run = Record.new(uri.label, self._body())
                event = Event("recipe start", str(uri), detail={"parameters": self._given})
                with contextlib.suppress(Conflict):
                    job = stack.enter_context(jobs.here(str(uri), self._run, event=event))
                    break
            else:
                raise Conflict(f"recipe {self._recipe.name} is started too often at once", "repeat in a moment")
            yield job

    def _refuse_second(self) -> None:
        mine = str(Uri(KIND, self._recipe.name))
        jobs.close_silent(mine)
        if going := jobs.ls(mine, live=True):
            run = Uri.parse(going[0].subject)
            fix = f"look at it with `%recipe show {run.label}`, or end it with `%recipe stop {run.label}`"
            raise Conflict(f"{run} is running", fix)

    def _body(self) -> RunRecord:
        steps = tuple(StepRecord(name=step.name) for step in self._recipe.steps)
        return RunRecord(started_at=time.time(), parameters=self._given, keep=self._keep, steps=steps)

    def _step(self, step: RecipeStep, stop: Stop) -> None:
        failed = [name for name in step.depends_on if not self._of(name).succeeded]
        if stop():
            self._write_step(replace(self._of(step.name), state="not run"))
        elif failed:
            error = f"{', '.join(failed)} did not succeed"
            self._write_step(replace(self._of(step.name), state="blocked", error=error))
        else:
            self._run_or_skip(step, stop)

    def _run_or_skip(self, step: RecipeStep, stop: Stop) -> None:
        try:
            planned = self._planner.plan(step)
        except LabError as problem:  # it was there when the run began
            self._write_step(replace(self._of(step.name), state="failed", error=str(problem)))
            return
        self._prepared[step.name] = planned.prepared
        if planned.found is not None:
            self._skip(planned, planned.found)
            return
        self._revive(step, stop)
        self._execute(step, planned.because, stop)

    def _skip(self, planned: PlannedStep, found: StepRecord) -> None:
        now = planned.prepared
        self._planner.take(planned.name, now.key, found)
        skipped = StepRecord(
            name=planned.name,
            state="skipped",
            key=now.key,
            parts=dict(now.parts),
            values=dict(now.values),
            outputs=found.outputs,
            archive=found.archive,
            seconds=0.0,
            opened=found.opened,
            opened_more=found.opened_more,
        )
        self._write_step(skipped)

    def _revive(self, step: RecipeStep, stop: Stop) -> None:
        """A step that was skipped although what it started lives no more must run after all, if this one needs it."""
        for needed in (self._steps[name] for name in step.depends_on):
            found = self._of(needed.name)
            if found.state == "skipped" and needs_revival(found):
                self._revive(needed, stop)
                self._execute(needed, (f"{step.name} needs what it starts",), stop)

    def _execute(self, step: RecipeStep, because: tuple[str, ...], stop: Stop) -> None:
        now = self._prepared[step.name]
        archive = folder_of(self._run) / f"{step.name}.ipynb"
        running = StepRecord(
            name=step.name,
            state="running",
            key=now.key,
            values=dict(now.values),
            archive=str(archive),
            began_at=time.time(),
            parts=dict(now.parts),
            because=because,
        )
        now.environment.keep()
        self._write_step(running)
        digest = file_digest(step.notebook)  # of what runs: somebody may edit the file meanwhile
        # Beside the archive, whose folder the executor makes.
        with opened_files(archive.with_suffix(".opened")) as (env, found):
            done, made_now = self._outcome(step, stop, archive, env)
        ended = self._ended(running, done, made_now, found)
        self._planner.take(step.name, now.key, ended)
        self._write_step(ended, self._event(step, ended, digest))

    def _ended(self, running: StepRecord, done: Attempts, made_now: tuple[Output, ...], found: Opened) -> StepRecord:
        now, began_at = self._prepared[running.name], running.began_at or 0.0
        opened, more = now.opened(found, began_at)
        return replace(
            running,
            state=done.outcome.state,
            error=done.outcome.error,
            cell=done.outcome.cell,
            attempts=done.number,
            outputs=made_now,
            seconds=time.time() - began_at,
            changed=now.changed(found),
            opened=opened,
            opened_more=more,
        )

    def _outcome(
        self, step: RecipeStep, stop: Stop, archive: Path, watched: Mapping[str, str]
    ) -> tuple[Attempts, tuple[Output, ...]]:
        where = settings()
        env = {
            "AIINFRA_CONTEXT": f"{started.context_of(self._run.uri)}{step.name}",
            "AIINFRA_WORKSPACE": str(where.workspace),
            "AIINFRA_PROJECT": str(where.project),
            **watched,
        }
        values = self._prepared[step.name].values
        done = attempt(self._executor, step, values, archive, env, stop)
        try:
            # The notebook may have ended well and yet have made nothing: only what is there counts.
            return done, made(step) if done.outcome.state == "done" else ()
        except LabError as problem:
            return replaced(done, outcome=Outcome("failed", str(problem))), ()

    def _event(self, step: RecipeStep, ended: StepRecord, digest: str) -> Event:
        used = tuple(self._planner.uris[source] for source in (*step.inputs.values(), *step.data.values()))
        detail = {
            "step": step.name,
            "state": ended.state,
            "values": ended.values,
            "notebook": step.notebook.name,
            "notebook_sha256": digest,
        }
        return Event("recipe run", self._run.uri, used, (self._run.uri, *ended.made.values()), detail)

    def _of(self, name: str) -> StepRecord:
        found = self._run.body.step(name)
        assert found is not None, "a run has a record of each of its steps from its first commit on"
        return found

    def _write_step(self, step: StepRecord, event: Event | None = None) -> None:
        self._write(self._run.body.with_step(step), event)
        self._show(self._run)

    def _write(self, body: RunRecord, event: Event | None = None) -> None:
        # Nobody but the run knows what becomes of it, so what is stored gives way: on another machine, where its
        # process cannot be seen, somebody may have written it down as lost.
        # A database that restarts ends no pipeline: nobody is there at night to start it again. The commit may have
        # landed and its answer been lost: then the event is there too.
        def change(there: RunRecord) -> RunRecord | None:
            return None if there == body else body

        self._run = patiently(lambda: update(self._store, RunRecord, self._run.name, change, event))

    def _state(self) -> EndState:
        states = {step.state for step in self._run.body.steps}
        # The first failure decides: what came after it may have failed for it.
        if bad := next((step.state for step in self._run.body.steps if step.state in FAILURES), None):
            return bad
        return "stopped" if states & {"stopped", "not run"} else "done"

    def _end(self, state: EndState) -> None:
        made_now = [uri for step in self._run.body.steps if step.succeeded for uri in step.made.values()]
        detail: dict[str, object] = {"state": state, "made": made_now}
        if not self._keep and (still_live := patiently(lambda: started.end(self._run.uri))):
            detail["still_live"] = still_live
            _warn_of(still_live)
        event = Event("recipe end", self._run.uri, outputs=(self._run.uri,), detail=detail)
        self._write(replace(self._run.body, state=state, ended_at=time.time()), event)
        report_end(self._recipe, self._run)


def _warn_of(still_live: Sequence[str]) -> None:
    if still_live:
        _log.warning("what a recipe started could not be ended: %s", ", ".join(still_live))
