"""The steps of a run: each begins when those before it have ended and there is room for it, so that several go on."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from ..config import settings
from ..errors import LabError
from ..providers import chosen
from ..store import Event
from . import archives, holding, started
from .at_once import at_once
from .attempts import Attempts, StepExecution, has_room
from .base import FAILURES, Executor, Hold, NotebookTask, Outcome, Recipe, RecipeStep, is_file
from .budget import RunBudget
from .expectations import unmet
from .handed import HANDED_OVER, handed_over
from .history import recorded_run
from .made_files import made_files
from .plan import PlannedStep, Planner, made, needs_revival
from .prepared import Prepared, written_besides
from .record import MadeFile, Output, StepRecord
from .run_writer import RunWriter
from .stopping import StopRequests
from .taken import file_digest, looked_at, place_of
from .watching import Opened, ProjectWatch, StepWindow

_log = logging.getLogger(__name__)

# Between two looks at what goes on: a step that takes a moment is taken at once, and a long one costs no time.
_SHORTEST_S, _LONGEST_S = 0.001, 0.1
_GONE = ("the kernel that was held is gone",)


@dataclass(frozen=True)
class _Going:
    """A step that is being executed. digest: of the notebook that runs: somebody may edit the file meanwhile."""

    step: RecipeStep
    prepared: Prepared
    record: StepRecord
    execution: StepExecution
    window: StepWindow
    digest: str


class RunSteps:
    """Executes the steps of one run. folder: for their executed notebooks."""

    def __init__(
        self,
        recipe: Recipe,
        planner: Planner,
        executor: Executor,
        writer: RunWriter,
        folder: Path,
        budget: RunBudget,
    ) -> None:
        self._recipe, self._planner, self._executor, self._budget = recipe, planner, executor, budget
        self._steps = {step.name: step for step in recipe.steps}
        self._writer, self._folder = writer, folder
        self._planned: dict[str, PlannedStep] = {}
        # Those that were skipped and must run after all, since a step that runs needs what they start.
        self._revived: set[str] = set()
        self._others: dict[str, Executor] = {}
        self._starting: PlannedStep | None = None
        self._going: dict[str, _Going] = {}
        self._stop: StopRequests

    def go(self, stop: StopRequests) -> None:
        """Begin what may begin and take what has ended, until nothing is left; the writer has all of it."""
        self._stop = stop
        pause_s = _SHORTEST_S
        with ProjectWatch() as watch:
            while not self._is_over():
                if self._turn(stop(), watch):
                    pause_s = _SHORTEST_S
                else:
                    self._wait(pause_s)
                    pause_s = min(1.1 * pause_s, _LONGEST_S)  # what it loses is a tenth of what it waits

    def _wait(self, within_s: float) -> None:
        """Wait so long; until the end of the only step that goes on, or a look is due, where that can be awaited."""
        if going := next(iter(self._going.values()), None):
            # Each look takes the interpreter from the thread that executes the step.
            is_only = len(self._going) == 1 and going.execution.can_be_awaited
            going.execution.wait(_LONGEST_S if is_only else within_s)
        else:
            time.sleep(within_s)

    def abandon(self) -> None:
        """Kill what goes on, of a run that ends before its time; returns when it has ended."""
        for going in self._going.values():
            going.execution.abandon()
        self._going.clear()

    def _is_over(self) -> bool:
        open_ = any(step.state in ("waiting", "running") for step in self._writer.steps)
        return not (open_ or self._revived or self._going)

    def _turn(self, urgency: int, watch: ProjectWatch) -> bool:
        """One look at every step; whether something has become of any."""
        urgency = self._budget.urgency(urgency, self._writer.body.started_at)
        done = [(going, end) for going in self._going.values() if (end := going.execution.turn(urgency)) is not None]
        for going, end in done:
            self._finish(going, end, watch)
        urgency = self._budget.urgency(urgency, self._writer.body.started_at)  # what has ended may have used it up
        # In the order of the recipe: what is skipped lets those behind it be looked at right now.
        with at_once():
            decided = [
                step.name
                for step in self._recipe.steps
                if self._is_due(step) and self._tried(step, partial(self._decide, step, urgency))
            ]
        # Before the process of a step begins: a run that is killed must have said that it may have begun.
        self._writer.write()
        if self._starting is not None:
            self._tried(self._steps[self._starting.name], partial(self._start, self._starting, watch))
            self._starting = None
        return bool(done or decided)

    def _tried(self, step: RecipeStep, act: Callable[[], bool | None]) -> bool:
        """What was done about a step: where that is refused, as for a file that was there when the run began, it has
        failed for that."""
        try:
            return bool(act())
        except LabError as problem:
            self._revived.discard(step.name)
            self._going.pop(step.name, None)
            self._writer.set(replace(self._writer.step(step.name), state="failed", error=str(problem)))
            return True

    def _is_due(self, step: RecipeStep) -> bool:
        is_open = step.name in self._revived or self._writer.step(step.name).state == "waiting"
        return is_open and step.name not in self._going and all(map(self._has_ended, step.depends_on))

    def _has_ended(self, name: str) -> bool:
        return name not in self._revived and self._writer.step(name).state not in ("waiting", "running")

    def _decide(self, step: RecipeStep, urgency: int) -> bool:
        """What becomes of a step whose turn it is; False when nothing does yet, for there is no room."""
        record = self._writer.step(step.name)
        if urgency or self._stopped_by():
            self._revived.discard(step.name)
            if record.state == "waiting":
                self._writer.set(replace(record, state="not run", error=self._budget.reason or self._stopped_by()))
            return True
        if failed := self._failed_before(step):
            self._revived.discard(step.name)
            self._writer.set(replace(record, state="blocked", error=f"{', '.join(failed)} did not succeed"))
            return True
        planned = self._planned.get(step.name) or self._planner.plan(step)
        if (held := self._planner.given_up.pop(step.name, None)) is not None:
            holding.end(held)
        if planned.found is not None:
            self._planned[step.name] = planned
            self._skip(planned, planned.found)
            return True
        if step.name not in self._planned and self._revive_before(step):
            return True  # it is planned again when they have ended
        self._planned[step.name] = planned
        # One that does not even know whether it has room is given the first all the same, and says what is wrong.
        if self._starting is not None or (self._going and not has_room(self._executor_of(step), self._task(step))):
            return False
        self._revived.discard(step.name)
        self._starting = planned
        planned.prepared.environment.keep()
        running = StepRecord(
            name=step.name,
            state="running",
            key=planned.prepared.key,
            values=dict(planned.prepared.values),
            archive=str(self._task(step).archive),
            began_at=time.time(),
            parts=dict(planned.prepared.parts),
            because=planned.because,
        )
        self._writer.set(running)
        return True

    def _failed_before(self, step: RecipeStep) -> list[str]:
        return [name for name in step.depends_on if not self._writer.step(name).succeeded]

    def _stopped_by(self) -> str:
        """Why no further step begins since one has failed; empty when any may."""
        for step in self._recipe.steps:
            if step.on_failure == "stop" and self._writer.step(step.name).state in FAILURES:
                return f"{step.name} did not succeed, and its on_failure is stop"
        return ""

    def _skip(self, planned: PlannedStep, found: StepRecord) -> None:
        """Take what an attempt has made, or have the step failed where that is not what is expected now."""
        now, disappointed = planned.prepared, planned.because[0] if planned.action == "fail" else ""
        self._planner.take(planned.name, now.key, found)
        skipped = StepRecord(
            name=planned.name,
            state="failed" if disappointed else "skipped",
            error=disappointed,
            # Without one it is no attempt: nothing ran, and with another rule it may stand for the step again.
            key="" if disappointed else now.key,
            parts=dict(now.parts),
            values=dict(now.values),
            outputs=found.outputs,
            files=found.files,
            archive=found.archive,
            archive_sha256=found.archive_sha256,
            seconds=0.0,
            opened=found.opened,
            opened_more=found.opened_more,
        )
        self._writer.set(skipped)

    def _revive_before(self, step: RecipeStep) -> bool:
        """Have those run after all that this step needs, that were skipped, and whose things live no more."""
        needed = [name for name in step.depends_on if _needs_revival(self._writer.step(name))]
        for name in needed:
            because = (f"{step.name} needs what it starts",)
            self._planned[name] = dataclasses.replace(self._planned[name], action="run", because=because, found=None)
            self._revived.add(name)
            self._revive_before(self._steps[name])
        return bool(needed)

    def _executor_of(self, step: RecipeStep) -> Executor:
        if not step.on or step.on == chosen("recipe.executor"):
            return self._executor
        if step.on not in self._others:
            from .session import executor_on  # here, since few steps run elsewhere

            self._others[step.on] = executor_on(step.on)
        return self._others[step.on]

    def _task(self, step: RecipeStep, more: Mapping[str, str] | None = None) -> NotebookTask:
        where = settings()
        env = {
            "AIINFRA_CONTEXT": f"{started.context_of(self._writer.run.uri)}{step.name}",
            "AIINFRA_WORKSPACE": str(where.workspace),
            "AIINFRA_PROJECT": str(where.project),
            **(more or {}),
        }
        planned = self._planned[step.name]
        env[HANDED_OVER] = handed_over(planned.prepared.sources, step.makes)
        archive, held = self._folder / f"{step.name}.ipynb", self._planner.held.get(step.name)
        folder = held or holding.folder_of(self._recipe.name, self._writer.run.version, step.name)
        hold = Hold(folder, step.hold_s, goes_on=bool(held)) if step.hold_s or held else None
        return NotebookTask(step.notebook, archive, planned.prepared.given, env, step.memory_bytes, hold)

    def _start(self, planned: PlannedStep, watch: ProjectWatch) -> None:
        step, record = self._steps[planned.name], self._writer.step(planned.name)
        try:
            with looked_at("its notebook"):
                digest = file_digest(step.notebook)
        except LabError as problem:  # it has waited for room, and was there before
            self._writer.set(replace(record, state="failed", error=str(problem)))
            return
        # Beside the archive, whose folder the executor makes.
        window = watch.open(self._folder / f"{step.name}.opened")
        leftovers = self._planner.leftovers(step)
        executor = self._executor_of(step)
        execution = StepExecution(executor, step, self._task(step, window.variables), leftovers)
        self._going[step.name] = _Going(step, planned.prepared, record, execution, window, digest)

    def _finish(self, going: _Going, done: Attempts, watch: ProjectWatch) -> None:
        """Take its end. Whatever goes wrong with that is the end of this step, and of no other."""
        del self._going[going.step.name]
        began_at = going.record.began_at or 0.0
        try:
            ended = self._ended(going, done, watch.close(going.window), began_at)
        except Exception as problem:  # noqa: BLE001  # no other step pays for it
            error = str(problem) if isinstance(problem, LabError) else f"its end could not be taken: {problem!r}"
            _log.warning("step %s: %s", going.step.name, error, exc_info=not isinstance(problem, LabError))
            seconds = time.time() - began_at
            ended = replace(going.record, state="failed", error=error, attempts=done.number, seconds=seconds)
        self._planner.take(going.step.name, ended.key, ended)
        self._writer.set(ended, self._event(going, ended))

    def _ended(self, going: _Going, done: Attempts, found: Opened, began_at: float) -> StepRecord:
        outcome, made_now, files = _made(going.step, done, self._budget.as_ended(done.outcome), self._writer.run.uri)
        # As they are reported: the project may be reached by a link.
        own = tuple(place_of(path).resolve() for path in going.step.made_files.values())
        opened, more = going.prepared.opened(found, began_at, own)
        prepared, is_held = going.prepared.after(found), going.step.name in self._planner.held
        ended = replace(
            going.record,
            key=prepared.key,
            parts=dict(prepared.parts),
            state=self._stop.word if outcome.state == "stopped" else outcome.state,
            error=outcome.error,
            cell=outcome.cell,
            attempts=done.number,
            held_until=outcome.held_until,
            went_on=done.outcome.went_on,
            because=going.record.because if done.outcome.went_on or not is_held else _GONE,
            outputs=made_now,
            files=files,
            seconds=time.time() - began_at,
            changed=going.prepared.changed(found),
            opened=opened,
            opened_more=more,
            wrote=written_besides(found, own),
        )
        if not done.outcome.is_clean:
            archives.clean(Path(ended.archive))
        if done.outcome.state == "stopped" != ended.state:
            archives.rename_end(Path(ended.archive), ended.state)
        return replace(ended, archive_sha256=archives.digest_of(Path(ended.archive)))

    def _event(self, going: _Going, ended: StepRecord) -> Event:
        step, run = going.step, self._writer.run.uri
        taken = [self._planner.uris[source] for source in (*step.inputs.values(), *step.data.values())]
        taken += [each for one in step.gathered.values() for each in one.made(self._planner.uris)]
        used = tuple(each for each in taken if not is_file(each))
        detail = {
            "step": step.name,
            "state": ended.state,
            "values": ended.values,
            "notebook": step.notebook.name,
            "notebook_sha256": going.digest,
            **({"files": {file.path: file.digest for file in ended.files}} if ended.files else {}),
        }
        return Event("recipe run", run, used, (run, *ended.made.values()), detail)


def _runs_of_kernel(run: str, step: str) -> list[str]:
    """That run, and those before it whose kernel it went on in."""
    found = [run]
    while (resumed := recorded_run(found[-1]).body.resumes) and resumed not in found:
        found.append(resumed)
        before = recorded_run(resumed).step(step)
        if before is None or not before.went_on:
            break
    return found


def _needs_revival(found: StepRecord) -> bool:
    return found.state == "skipped" and needs_revival(found)


def _made(
    step: RecipeStep, done: Attempts, outcome: Outcome, run: str
) -> tuple[Outcome, tuple[Output, ...], tuple[MadeFile, ...]]:
    """What a step made, and its outcome: it may have ended well and yet have made nothing."""
    if outcome.state != "done":
        return outcome, (), ()
    try:
        found = made(step, _runs_of_kernel(run, step.name) if outcome.went_on else [run])
        files = made_files(step, done.began_at, went_on=outcome.went_on)
        problem = unmet(step.expect, {output.name: output.uri for output in found})
        return (Outcome("failed", problem) if problem else outcome), found, files
    except LabError as error:
        return Outcome("failed", str(error)), (), ()
