"""A run in a session whose machine has nothing of the workspace, as the notebook that asks for it sees it.

A job does it (`far_follower`), which lives on when the notebook is closed; here is only shown what becomes of it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

from .. import jobs, kernels
from ..errors import Interrupted, LabError
from ..host.frames import MessageChannel
from ..kernels import KeptKernel, recovery
from ..kernels.client import RunningCode, connected
from ..resolve import resolve
from ..show import Card, TickingFrame
from ..store import Record, patiently
from . import checkpoint, far_package, history, record
from .far_messages import FarRun
from .history import FILE
from .observing import ObservedTraining, find
from .record import RunProblem, TrainingRun
from .rendering import frame
from .results import run_of

_LOOK_S = 0.2
# The run ends at its next step, which may take any time, and its follower with it.
_GRACE_S = 7 * 86400.0


def check(kernel: KeptKernel) -> None:
    """Say what differs there. Missing for what it cannot train without."""
    if differing := far_package.check(kernel):
        named = ", ".join(f"{each.package} {each.theirs} (here {each.ours})" for each in differing)
        _print(f"{kernel.uri} trains with {named}\n")


def execute(planned: Record[TrainingRun]) -> Record[TrainingRun]:
    """Have it done and show it here as it goes on; the run that came to the end, which another machine may have done.

    Interrupted on Ctrl-C: it goes on.
    """
    begin(planned)
    try:
        while True:
            _show(planned)
            if not (after := _far(planned).next):
                return planned
            before, planned = planned, patiently(lambda after=after: resolve(after, TrainingRun))  # type: ignore[misc]
            announce(planned, find(before.uri).record.body.problem.what)
    except KeyboardInterrupt:
        what = f"you stopped waiting; {planned.uri} goes on in {planned.body.on}"
        fix = f"see it with `%train log {planned.name}`, end it with `%train stop {planned.name}`"
        raise Interrupted(what, fix) from None


def begin(planned: Record[TrainingRun]) -> None:
    """Start the job that has it done. Where it does not start, the run has failed."""
    argv = [sys.executable, "-m", "aiinfra_lab.train.far_follower", planned.uri]
    try:
        jobs.start(planned.uri, argv, restart=True, grace_s=_GRACE_S)
    except LabError as problem:
        said = RunProblem(problem.what, problem.fix)
        record.end(planned.name, state="failed", ended_at=time.time(), problem=said)
        raise


def announce(after: Record[TrainingRun], what: str) -> None:
    """Say that a run goes on in the place of another one, since its machine is gone: the first of what was said."""
    source = after.body.resumed_from
    kept = checkpoint.progress(record.folder(resolve(source, TrainingRun).name) / checkpoint.FILE) if source else None
    since = f"from its checkpoint {kept}" if kept else "from its beginning"
    _print(f"{after.body.on}: {what.partition(' in the middle')[0]}; {after.uri} goes on {since}\n")


def _print(text: str) -> None:
    kernels.republish({"msg_type": "stream", "content": {"name": "stderr", "text": text}, "metadata": {}})


def _far(planned: Record[TrainingRun]) -> FarRun:
    return FarRun.read(record.folder(planned.name)) or FarRun(exchange="")


def _show(planned: Record[TrainingRun]) -> None:
    """Show its curves and what it prints, until its end is written."""
    kernel, shown = KeptKernel.of(planned.body.on), ""
    curves = TickingFrame(_drawing(planned))
    try:
        while (seen := patiently(lambda: find(planned.uri))).is_live:
            request = _far(planned).request
            if request == shown:
                time.sleep(_LOOK_S)
                continue
            shown = request
            with contextlib.suppress(LabError):  # its follower hears of it as well, and writes down what it means
                _follow(kernel, request)
    except BaseException:
        curves.clear()
        raise
    _close(curves, seen)


def _close(curves: TickingFrame, seen: ObservedTraining) -> None:
    if seen.state == "done":
        curves.clear()
    else:
        curves.close(run_of(seen).card())


def _drawing(planned: Record[TrainingRun]) -> Callable[[], Card]:
    folder, body = record.folder(planned.name), planned.body

    def draw() -> Card:
        points, kept = history.read(folder / FILE), checkpoint.progress(folder / checkpoint.FILE)
        return frame(planned.uri, points, body.params, body.started_at, body.on, kept.epoch if kept else None)

    return draw


def _follow(kernel: KeptKernel, request: str) -> None:
    """Show here what the code of that message puts out, from its beginning to its end."""
    with connected(kernel) as client:  # whatever is published from here on arrives; all before it was written down
        found = [*recovery.messages(kernel, MessageChannel.IOPUB, request)]
        for message in found:
            if message["msg_type"] in recovery.OUTPUTS:
                _but_errors(message)
        is_over = any(
            message["msg_type"] == "status" and message["content"]["execution_state"] == "idle" for message in found
        )
        if not is_over:
            seen = {message["msg_id"] for message in found}
            RunningCode(kernel, client, _but_errors, None).follow(request, seen)


def _but_errors(output: recovery.Output) -> None:
    """Errors are raised by whoever asked for the run."""
    if output["msg_type"] != "error":
        kernels.republish(output)
