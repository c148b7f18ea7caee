"""Running a recorded run, in whichever process this is: the notebook's own, or the kernel of a gpu session.

Everything it needs stands in the run's record. However it ends, that is in the record before anybody else hears of it.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import msgspec

from .. import files, jobs, modes
from ..errors import Failed, LabError, StoppedEarly
from ..jobs import process
from ..resolve import resolve
from ..show import Card, TickingFrame, mark_of
from ..store import Record, patiently
from . import checkpoint, code, record
from .base import Ending
from .context import Context
from .history import FILE, Point, latest, read
from .observing import find
from .plain import PlainRows
from .record import RunProblem, StoredHoldout, TrainingRun
from .rendering import frame
from .results import run_of
from .sync import RunSync

if TYPE_CHECKING:
    from ..data import Dataset
    from .heldout import HoldoutScores

OUTPUT = "output.txt"


class TrainingEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and what came of it: the fields of its record."""

    state: Ending
    ended_at: float
    metrics: dict[str, float] = {}
    metrics_from: str = ""
    problem: RunProblem = RunProblem()
    trace: str = ""
    files: dict[str, str] = {}
    holdout: str = ""
    stored: StoredHoldout | None = None
    notes: tuple[str, ...] = ()


class Ledger(Protocol):
    """Where a run gets what its record names, and where it is written down what becomes of it."""

    def begin(self) -> None:
        """It begins now. What is raised fails it before any of its code has run."""

    def open_rows(self) -> Any:
        """The rows that it learns from."""

    def resumed(self) -> dict[str, Any] | None:
        """The state of the checkpoint that it goes on from."""

    def earlier(self) -> Sequence[Point]:
        """What the run of that checkpoint measured."""

    def add(self, points: Sequence[Point]) -> None:
        """What was measured now; it is in the run's folder already."""

    def end(self, ended: TrainingEnd) -> None:
        """It is over, and its folder has all that it leaves. Nobody hears of the end before this returns."""


class StoreLedger:
    """The workspace and its tracking server: see `Ledger`."""

    def __init__(self, run: Record[TrainingRun]) -> None:
        self._run = run
        self._sync = RunSync(run)

    def begin(self) -> None:
        self._sync.begin()

    def open_rows(self) -> Any:
        from .. import features

        body = self._run.body
        opened = patiently(lambda: features.open_rows(body.rows))
        return opened if body.table is None else PlainRows(cast("Dataset", opened), body.table)

    def resumed(self) -> dict[str, Any] | None:
        source = self.source()
        return None if source is None else checkpoint.load(source / checkpoint.FILE)

    def earlier(self) -> Sequence[Point]:
        source = self.source()
        return [] if source is None else read(source / FILE)

    def source(self) -> Path | None:
        """The folder of the run that it goes on from."""
        if not (uri := self._run.body.resumed_from):
            return None
        return record.folder(patiently(lambda: resolve(uri, TrainingRun)).name)

    def add(self, points: Sequence[Point]) -> None:
        self._sync.add(points)

    def end(self, ended: TrainingEnd) -> None:
        # Our record first: a tracking server that hangs or fails now must not cost the run its end.
        record.end(self._run.name, **{name: getattr(ended, name) for name in ended.__struct_fields__})
        self._sync.close(ended.state, ended.ended_at)


def execute(uri: str) -> None:
    """Run it to its end. Failed when its code failed or it was stopped; by then that is recorded.

    Failed, and nothing runs, when it had ended before it began: killed or given up while it waited for a busy session.
    """
    planned = resolve(uri, TrainingRun)
    refuse_ended(planned)
    folder = record.folder(planned.name)
    prepare(planned, folder)
    try:
        with jobs.here(uri) as job:
            # In a busy session it may have waited for long: its time begins now.
            running = record.change(planned.name, state="running", started_at=time.time())
            # Asked before there was a job to ask: then only the record has it.
            asked = running.body.stop_requested_at is not None
            ledger = StoreLedger(running)
            RunExecution(running, folder, ledger, lambda: asked or job.stop_requested(), is_shown=True).go()
    except (code.Stopped, KeyboardInterrupt):
        raise stopped(planned) from None


def refuse_ended(planned: Record[TrainingRun]) -> None:
    """Failed when it had ended before it began."""
    if not planned.body.is_live:
        kind = StoppedEarly if planned.body.state == "stopped" else Failed
        raise kind(f"{planned.uri} was {planned.body.state} before it began", "run its cell or command again")


def prepare(planned: Record[TrainingRun], folder: Path) -> None:
    """Make its folder, with its code in it."""
    files.make_folder(folder)
    files.write(folder / "code.py", planned.body.code)


def stopped(run: Record[TrainingRun]) -> StoppedEarly:
    """The error of a run that was stopped: the cell must not look as if there were a model."""
    kept = checkpoint.progress(record.folder(run.name) / checkpoint.FILE)
    if kept is None:
        return StoppedEarly(f"{run.uri} was stopped before its first checkpoint", "run its cell or command again")
    what = f"{run.uri} was stopped; its checkpoint {kept} is kept"
    return StoppedEarly(what, how_to_resume(run))


def how_to_resume(run: Record[TrainingRun]) -> str:
    """How to go on from the last checkpoint of a run."""
    return f"go on from there: `%%train run {run.base} --resume …` with the same code"


class RunExecution:
    """One run while it goes on. is_shown: whether it draws its curves where it runs."""

    def __init__(
        self,
        run: Record[TrainingRun],
        folder: Path,
        ledger: Ledger,
        stop_requested: Callable[[], bool],
        *,
        is_shown: bool = False,
    ) -> None:
        self._run, self._folder, self._ledger = run, folder, ledger
        self._source = f"<{run.uri}>"
        self._stop_requested = stop_requested
        self._context: Context | None = None
        self._measured: HoldoutScores | None = None
        self._metrics_from = ""
        self._frame = TickingFrame(self._drawn) if is_shown else None

    def go(self) -> None:
        """Run the code, and write down how it ended."""
        ending: Ending = "failed"
        problem: LabError | None = None
        try:
            self._ledger.begin()
            if self._stop_requested():
                raise code.Stopped
            self._call()
            ending = "done"
        except (code.Stopped, KeyboardInterrupt):
            ending = "stopped"
            raise
        except BaseException as raised:  # the user's code may raise anything; it is written down, then raised
            problem = code.explain(raised, self._run.uri, self._source, self._run.body.params)
            raise problem from raised
        finally:
            self._finish(ending, problem)

    def _call(self) -> None:
        body = self._run.body
        checkpoint.seed_all(body.seed)
        self._context = Context(
            self._run.uri,
            self._folder,
            params=body.params,
            seed=body.seed,
            open_rows=self._ledger.open_rows,
            stop_requested=self._stop_requested,
            resumed=self._ledger.resumed(),
            logged=self._ledger.add,
        )
        # Compiled again: a session's kernel is another process than the one that checked it.
        made = code.compiled(body.code, self._source)
        with (
            # By lines: whoever looks while it runs sees what was printed, and a kill loses none of it.
            open(self._folder / OUTPUT, "a", buffering=1, encoding="utf-8", opener=modes.opener) as file,
            contextlib.redirect_stdout(_Tee(sys.stdout, file)),
            process.forks_end(),
        ):
            code.run(made, {"run": self._context})
        self._take_over(self._context)
        self._measured = self._context.measure()

    def _take_over(self, context: Context) -> None:
        """A run that found no epoch left is the network of its checkpoint: what was measured of that is true of it."""
        if context.resumed is None or not context.went_on or context.history.points:
            return
        if checkpoint.progress(self._folder / checkpoint.FILE) is not None:
            return  # it trained, and measured nothing
        steps = context.resumed["steps"]
        # Only what came before the checkpoint: what was measured after it is true of weights that are gone.
        last = {point.name: point for point in self._ledger.earlier() if point.step < steps.get(point.name, 0)}
        context.history.take(list(last.values()))
        self._ledger.add(context.history.points)
        self._metrics_from = self._run.body.resumed_from if last else ""

    def _finish(self, ending: Ending, problem: LabError | None) -> None:
        is_closed = False
        try:
            self._write_end(ending, problem)
            self._close_frame(ending)
            is_closed = True
        finally:
            # Where the store is away, or somebody interrupts once more: no frame may go on saying that it runs.
            if not is_closed and self._frame is not None:
                lead = "**Its end could not be written down.**"
                card = replace(self._drawn(), state=mark_of(ending), progress=None, lead=lead, next=())
                self._frame.close(card)

    def _write_end(self, ending: Ending, problem: LabError | None) -> None:
        points = self._points()
        if self._context is not None:
            # What could not be written, on a full disk, was told when it was measured; the end is to be recorded.
            with contextlib.suppress(OSError):
                self._context.history.close()
        self._ledger.end(
            TrainingEnd(
                state=ending,
                ended_at=time.time(),
                metrics=latest(points),
                metrics_from=self._metrics_from,
                problem=RunProblem() if problem is None else RunProblem(problem.what, problem.fix),
                trace=getattr(problem, "trace", ""),
                files=files.digests(self._folder / record.MODEL),
                holdout=self._context.holdout if self._context else "",
                stored=self._measured.stored if self._measured else None,
                notes=self._measured.notes if self._measured else (),
            )
        )

    def _close_frame(self, ending: Ending) -> None:
        """Leave the curve of a run whose end is an error, which has none; else the result says it all."""
        if self._frame is None:
            return
        if ending != "done":
            with contextlib.suppress(LabError):  # a store that is away must not hide what went wrong
                self._frame.close(run_of(find(self._run.uri)).card())
                return
        self._frame.clear()

    def _drawn(self) -> Card:
        body = self._run.body
        # A copy: the frame is drawn by another thread than the one that measures.
        return frame(self._run.uri, [*self._points()], body.params, body.started_at, body.on, self._checkpoint())

    def _checkpoint(self) -> int | None:
        return self._context.checkpointed if self._context else None

    def _points(self) -> list[Point]:
        return self._context.history.points if self._context else []


class _Tee(io.TextIOBase):
    """What the code prints goes to the cell, and to the run's folder for `%train log`."""

    def __init__(self, cell: TextIO, file: TextIO) -> None:
        self._both = (cell, file)

    def write(self, text: str) -> int:
        for stream in self._both:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._both:
            stream.flush()
