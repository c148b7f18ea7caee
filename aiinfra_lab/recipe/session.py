"""Where a step is executed that says so: `on = "gpu:trainer"`, in the kernel of that session or of the next free one
of that pool; or by another executor, `on = "local"`."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from .. import modes
from ..config import settings
from ..errors import Failed, Interrupted, LabError, NotFound, Unavailable, UsageProblem
from ..files import take_lock, until
from ..gpu import pools, running, sessions
from ..gpu.keeping import KeepingMachines
from ..kernels import KeptKernel, await_turn, send_control
from ..providers import make
from ..uris import Uri
from .base import Executor, NotebookTask, Outcome, Recipe, RecipeStep, is_file
from .threads import Execute, TaskThread, ThreadExecutor

if TYPE_CHECKING:
    from .engine.attached import AttachedKernel

_log = logging.getLogger(__name__)

# Held while a step has the session; the note is left where its process vanishes.
_LOCK, _NOTE = "recipe.lock", "recipe.step"
_LOOK_S, _RESTART_S = 0.2, 30.0


class SessionExecutor(ThreadExecutor):
    """See `Executor`. Each notebook gets a kernel that has run nothing: that of the session begins anew before it, and
    after one that is done. name: of the session, or of the pool"""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__(partial(_execute, name, threading.Event()), SessionRoom(name))

    def submit(self, task: NotebookTask) -> SessionTask:
        """See `Executor.submit`."""
        begun = threading.Event()
        handle = SessionTask(partial(_execute, self._name, begun), task, begun)
        self._going.append(handle)
        return handle


class SessionTask(TaskThread):
    """See `TaskHandle` and `MayWait`. begun: set once its notebook has the session"""

    def __init__(self, execute: Execute, task: NotebookTask, begun: threading.Event) -> None:
        self._begun = begun
        super().__init__(execute, task)

    @property
    def has_begun(self) -> bool:
        """See `MayWait.has_begun`."""
        return self._begun.is_set()


@dataclass(frozen=True)
class SessionRoom:
    """As many at once as there may be sessions. name: as in `SessionExecutor`"""

    name: str

    def is_left_for(self, task: NotebookTask, going: Iterable[NotebookTask]) -> bool:
        """See `HasRoom`."""
        return sum(1 for _ in going) < _places(self.name)


def executor_on(on: str) -> Executor:
    """The executor that `on` of a step names. NotFound for one that is not there."""
    if Uri.is_one(on, "gpu"):
        return SessionExecutor(Uri.parse(on, "gpu").name)
    executor: Executor = make("recipe.executor", on)
    return executor


def check_places(recipe: Recipe) -> None:
    """That the steps of a filled recipe can be executed where they say. NotFound and Unavailable for a session that
    does not live, UsageProblem for what cannot come back from where it is."""
    for step in recipe.steps:
        if Uri.is_one(step.on, "gpu"):
            _check(step, Uri.parse(step.on, "gpu").name)
        elif step.on:
            try:
                executor_on(step.on)
            except NotFound as problem:
                what = f"{step.declared_name}: there is no executor {step.on!r}"
                fix = f'write on = "gpu:{step.on}" for a session, or the name of an executor: {problem.fix}'
                raise NotFound(what, fix) from None


def accelerator_on(on: str) -> str:
    """The class of accelerator that a step has there; empty for that of this machine, and while nobody knows."""
    if not Uri.is_one(on, "gpu"):
        return ""
    name = Uri.parse(on, "gpu").name
    pool, session = pools.find(name), sessions.get(name)
    body = pool.body if pool and pool.body.is_open else session.body if session else None
    return (body.gpu or "cpu") if body else ""


def _check(step: RecipeStep, name: str) -> None:
    pool = pools.find(name)
    if pool and pool.body.is_open:
        machines, is_synced = make("gpu.machines", pool.body.provider), False
    else:
        sessions.kernel_of(name)  # for its errors
        record = sessions.find(name)
        machines, is_synced = sessions.machines(record), record.body.sync
    if not isinstance(machines, KeepingMachines) or machines.has_our_files:
        return
    if step.outputs:
        what = (
            f"{step.name}: {', '.join(step.outputs.values())} would stay on {step.on}, which has no workspace of yours"
        )
        fix = 'have it make files, `out = { table = "build/table.csv" }`, and a step of this machine record them'
        raise UsageProblem(what, fix)
    files = [*step.made_files.values(), *step.files.values(), *filter(is_file, step.inputs.values())]
    if files and not is_synced:
        what = f"{step.name}: {step.on} has none of the project's files"
        raise UsageProblem(what, f"start it with them: `%gpu stop {name}`, then `%gpu start {name} --sync …`")


def _places(name: str) -> int:
    pool = pools.find(name)
    return max(1, pool.body.max) if pool and pool.body.is_open else 1


def _execute(name: str, begun: threading.Event, task: NotebookTask, stop_requested: Callable[[], int]) -> Outcome:
    from .engine import execute  # what executes notebooks takes a second to import

    done = execute(replace(task, hold=None), stop_requested, partial(_attached, name, begun, stop_requested))
    return replace(done, error=_end_of(name) or done.error) if done.state == "killed" else done


def _end_of(name: str) -> str:
    """That a session has ended, and what helps; empty while it lives, and of a pool."""
    with contextlib.suppress(LabError):
        if pools.find(name) is None and not (seen := sessions.observe(sessions.find(name))).is_live:
            return str(Failed(f"gpu:{name} has {seen.label} meanwhile", f"start it again: `%gpu start {name}`"))
    return ""


@contextlib.contextmanager
def _attached(name: str, begun: threading.Event, stop_requested: Callable[[], int]) -> Iterator[AttachedKernel]:
    """The kernel of the session, which no other step has meanwhile. The project's files are the same here and there
    before it and after it."""
    from .engine.attached import AttachedKernel

    end_orphans()
    with pools.member(name, stop_requested) as session:
        kernel = sessions.kernel_of(session)
        with _alone(kernel, stop_requested):
            _await_idle(kernel, stop_requested)
            running.synced(kernel, _nobody)
            begun.set()
            try:
                yield AttachedKernel(kernel, _variables(kernel), sessions.has_our_files(kernel.name))
            finally:
                # What it has written counts whatever became of it.
                with contextlib.suppress(LabError):
                    running.synced(kernel, _nobody)
            with contextlib.suppress(Unavailable):  # the session has ended
                _begin_anew(kernel)


def end_orphans() -> None:
    """End what runs in sessions of steps whose process has vanished: it would go on writing their files."""
    for note in sorted(settings().home.glob(f"gpu/*/{_NOTE}")):
        lock = take_lock(note.with_name(_LOCK), patience_s=0.0)
        if lock is not None:  # else its step goes on
            with lock, contextlib.suppress(LabError):
                kernel = KeptKernel.of(Uri("gpu", note.parent.name))
                note.unlink(missing_ok=True)
                if kernel.is_alive():
                    _begin_anew(kernel)


def _await_idle(kernel: KeptKernel, stop_requested: Callable[[], int]) -> None:
    """What somebody runs in the session comes to its end first."""
    is_noted = False

    def note() -> None:
        nonlocal is_noted
        if stop_requested():
            raise Interrupted(f"you stopped waiting for {kernel.uri}", "somebody runs code in it: run it again then")
        if not is_noted:
            _log.warning("a step waits for %s, which runs code of somebody", kernel.uri)
        is_noted = True

    with contextlib.suppress(Unavailable):  # it has not begun yet: nobody runs anything
        await_turn(kernel, note)


def _begin_anew(kernel: KeptKernel) -> None:
    """What a step has of the accelerator is free for others. Unavailable where that is not so in a while."""
    before = kernel.state().incarnation
    send_control(kernel, "shutdown_request", restart=True)
    late = Unavailable(f"{kernel.uri} did not start its kernel again", "the next step waits for it")
    until(lambda: kernel.state().incarnation > before or not kernel.is_alive(), late, within_s=_RESTART_S)


@contextlib.contextmanager
def _alone(kernel: KeptKernel, stop_requested: Callable[[], int]) -> Iterator[None]:
    while (lock := take_lock(kernel.folder / _LOCK, patience_s=0.0)) is None:
        if stop_requested():
            raise Interrupted(f"you stopped waiting for {kernel.uri}", "another step has it: run it again")
        time.sleep(_LOOK_S)
    note = kernel.folder / _NOTE
    with lock:
        note.touch(modes.OWNER_ONLY)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def _variables(kernel: KeptKernel) -> dict[str, str]:
    """What names the project there, where that is a copy."""
    there = kernel.state().project
    return {"AIINFRA_PROJECT": there, "AIINFRA_WORKSPACE": there} if there else {}


def _nobody(_: str) -> None:
    """A run says nothing of what a step waits for."""
