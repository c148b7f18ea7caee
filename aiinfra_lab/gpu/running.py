"""A cell that is run in a session for the notebook, or the shell, that asks for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from .. import kernels
from ..config import settings
from ..errors import LabError, Unavailable
from ..files import until
from ..kernels import CellFailed, KeptKernel, cells, project
from ..kernels.sync import SyncReport
from ..show import Card, Result, in_notebook, working
from ..units import show_bytes, show_duration
from . import metering, sessions

# A kernel that ends by itself lets go of its sockets first.
_ENDS_S = 20.0
_ENDING = Unavailable("its kernel has not ended yet", "run the next cell in a moment")
_NAMED = 5


@dataclass(frozen=True)
class SessionRun(Result):
    """A cell that was run in a session. `run["model"]` is a variable that it brought back, `values` all of them.

    taken, given: the bytes of the variables that it took along and brought back. notes: what of these is not as it
    was, and what became of the project's files, where these are synced. exits: whether it has called `exit()`
    """

    kind = "Session"

    uri: str
    duration_s: float
    taken: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exits: bool = False
    values: Mapping[str, Any] = field(default_factory=dict, repr=False, metadata={"json": False})

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def card(self) -> Card:
        return Card(kind=self.kind, uri=self.uri, lead=" ".join(self._sentences()))

    def _sentences(self) -> Iterator[str]:
        yield f"It ran there in {show_duration(self.duration_s)}."
        if self.taken:
            yield f"{_listed(self.taken)} went along."
        if self.given:
            yield f"**{_listed(self.given)} came back.**"
        yield from self.notes
        if self.exits:
            yield "`exit()` has ended its kernel, as in any notebook; the session goes on with a new, empty one."


def run(session: object, code: str, inputs: Mapping[str, object], outputs: Sequence[str]) -> SessionRun:
    """Run code in a living session, and show here what it puts out."""
    kernel = sessions.kernel_of(session)
    most_bytes = settings().get("gpu.value_bytes", cells.MOST_BYTES)
    has_output = Event()

    def show(output: kernels.Output) -> None:
        has_output.set()  # a frame in the middle would cut what is printed in two
        kernels.republish(output)

    notes = _synced(kernel)
    began, incarnation = time.monotonic(), kernel.state().incarnation
    try:
        meter = metering.meter(kernel.name)
        with working("Session", str(kernel.uri), "runs the cell", meter, may_show=lambda: not has_output.is_set()):
            done = cells.run_cell(kernel, code, inputs, outputs, show, most_bytes)
    except CellFailed as problem:
        if not in_notebook():  # there it is what the cell shows
            error = {"traceback": [*problem.trace]}
            kernels.republish({"msg_type": "error", "content": error, "metadata": {}})
        with contextlib.suppress(LabError):  # that it failed is what counts
            _synced(kernel)
        raise
    took_s = time.monotonic() - began
    if done.exits:
        # The next cell would begin in the kernel that is ending, and be lost with it.
        with contextlib.suppress(Unavailable):
            until(lambda: kernel.state().incarnation != incarnation, _ENDING, within_s=_ENDS_S)
    notes += _synced(kernel)
    seen = tuple(dict.fromkeys([*done.changes, *notes]))
    return SessionRun(str(kernel.uri), took_s, done.taken, done.given, seen, done.exits, done.values)


def _synced(kernel: KeptKernel) -> list[str]:
    """The project's files are the same here and there, where they are to be; what there is to know about it."""
    if not kernel.state().project:
        return []
    with working("Session", str(kernel.uri), "syncs the project's files") as note:
        return synced(kernel, note)


def synced(kernel: KeptKernel, note: Callable[[str], object]) -> list[str]:
    """The same, as a part of something that takes its time."""
    report = project.sync_project(kernel, note)
    return project.sentences(report) if report else []


def conflicts_notes(kernel: KeptKernel) -> list[str]:
    """What both sides had changed when the project's files were synced last."""
    report = project.last_report(kernel)
    return project.sentences(SyncReport(conflicts=report.conflicts)) if report else []


def packages_notes(kernel: KeptKernel) -> list[str]:
    """What differs between the packages here and those of the environment that was made there."""
    found = project.differing(kernel)
    if not found:
        return []
    named = [f"{each.package} ({each.ours} here, {each.theirs} there)" for each in found[:_NAMED]]
    more = [f"{len(found) - _NAMED:,} more"] if len(found) > _NAMED else []
    return [f"not the same here and there: {', '.join([*named, *more])}"]


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({show_bytes(count)})" for name, count in sizes.items())
