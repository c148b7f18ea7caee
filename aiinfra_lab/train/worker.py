"""Running a recorded run, in whichever process this is: the notebook's own, or the kernel of a gpu session.

Everything it needs stands in the run's record. However it ends, the record says so before anybody else is told.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from .. import files, jobs
from ..errors import Failed, LabError
from ..show import LiveFrame, in_notebook
from ..store import Record
from . import checkpoint, code, record
from .base import Ending
from .context import Context
from .history import FILE, Point, latest, read
from .looks import frame
from .mirror import Mirror

OUTPUT = "output.txt"


def execute(uri: str) -> None:
    """Run it to its end. Failed when its code failed or it was stopped; by then that is recorded."""
    planned = record.find(uri)
    place = record.folder(planned.name)
    place.mkdir(parents=True, exist_ok=True)
    files.write(place / "code.py", planned.body["code"])
    try:
        with jobs.here(uri) as job:
            # In a busy session it may have waited for long: its time begins now.
            running = record.change(planned.name, state="running", started_at=time.time())
            asked = bool(running.body.get("stop_requested_at"))
            _Execution(running, place, lambda: asked or job.stop_requested()).go()
    except (code.Stopped, KeyboardInterrupt):
        raise stopped(planned) from None


def stopped(run: Record) -> Failed:
    """What to tell about a run that was stopped: the cell must not look as if there were a model."""
    epoch = checkpoint.epoch(record.folder(run.name) / checkpoint.FILE)
    if epoch is None:
        return Failed(f"train:{run.name} was stopped before its first checkpoint", "run the cell again")
    return Failed(f"train:{run.name} was stopped; its checkpoint of epoch {epoch} is kept", way_on(run.name))


def way_on(label: str) -> str:
    """How to go on from the last checkpoint of a run."""
    return f"go on from there: `%%train run {label.partition('@')[0]} --resume …` with the same code"


class _Execution:
    """One run while it goes on."""

    def __init__(self, run: Record, place: Path, stop_requested: Callable[[], bool]) -> None:
        self._run, self._place = run, place
        self._source = f"<train:{run.name}>"
        self._stop_requested = stop_requested
        self._mirror = Mirror(run)
        self._frame = LiveFrame(frame(run, [], "running"))
        self._shown, self._drawn_at = in_notebook(), time.monotonic()
        self._context: Context | None = None

    def go(self) -> None:
        """Run the code, and write down how it ended."""
        ending: Ending = "failed"
        problem: LabError | None = None
        try:
            self._mirror.begin()
            if self._stop_requested():
                raise code.Stopped
            self._call()
            ending = "done"
        except (code.Stopped, KeyboardInterrupt):
            ending = "stopped"
            raise
        except BaseException as raised:  # the user's code may raise anything; it is written down, then raised
            problem = code.explain(raised, f"train:{self._run.name}", self._source, self._run.body["params"])
            raise problem from raised
        finally:
            self._finish(ending, problem)

    def _call(self) -> None:
        body = self._run.body
        checkpoint.seed_all(body["seed"])
        self._context = Context(
            f"train:{self._run.name}",
            self._place,
            params=body["params"],
            seed=body["seed"],
            open_rows=lambda: _open_rows(body["rows"]),
            stop_requested=self._stop_requested,
            resumed=_resumed(body["resumed_from"]),
            logged=self._logged,
        )
        made = code.compiled(body["code"], self._source)
        with (
            (self._place / OUTPUT).open("a", encoding="utf-8") as file,
            contextlib.redirect_stdout(_Tee(sys.stdout, file)),
        ):
            code.run(made, {"run": self._context})
        self._take_over(self._context)

    def _take_over(self, context: Context) -> None:
        """A run that found no epoch left is the network of its checkpoint: what was measured of that is true of it."""
        if context.resumed is None or not context.went_on or context.history.points:
            return
        if checkpoint.epoch(self._place / checkpoint.FILE) is not None:
            return  # it trained, and measured nothing
        source, steps = self._run.body["resumed_from"], context.resumed["steps"]
        points = read(record.folder(record.find(source).name) / FILE)
        last = {point.name: point for point in points if point.step < steps.get(point.name, 0)}
        context.history.take(list(last.values()))
        self._logged(context.history.points)
        record.change(self._run.name, metrics_from=source if last else "")

    def _logged(self, points: Sequence[Point]) -> None:
        self._mirror.add(points)
        if self._shown and time.monotonic() - self._drawn_at >= LiveFrame.MIN_S:
            self._frame.update(frame(self._run, self._points(), "running"))
            self._drawn_at = time.monotonic()

    def _finish(self, ending: Ending, problem: LabError | None) -> None:
        points = self._points()
        if self._context is not None:
            self._context.history.close()
        message = {} if problem is None else {"what": problem.what, "fix": problem.fix}
        record.change(
            self._run.name,
            state=ending,
            ended_at=time.time(),
            metrics=latest(points),
            problem=message,
            trace=getattr(problem, "trace", ""),
        )
        self._mirror.close(ending)
        self._frame.close(frame(self._run, points, ending))

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


def _open_rows(uri: str) -> Any:
    from .. import features

    return features.open_rows(uri)


def _resumed(uri: str) -> dict[str, Any] | None:
    return checkpoint.load(record.folder(record.find(uri).name) / checkpoint.FILE) if uri else None
