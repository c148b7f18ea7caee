"""A run in the kernel of a gpu session: the same record, the same code, and what it outputs is shown here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from .. import jobs, kernels
from ..errors import Failed, Interrupted, LabError
from ..gpu import pools, sessions
from ..kernels import project
from ..show import working
from ..store import Record, open_store, patiently, update
from ..uris import Uri
from . import checkpoint, far, record, worker
from .code import CodeFailed
from .observing import find
from .record import RunProblem, TrainingRun


@contextlib.contextmanager
def session(on: str | None) -> Iterator[str]:
    """The session's URI, or nothing for this process; of a pool the next free one, which nobody else gets meanwhile.
    Missing for one that lacks what training needs."""
    if on is None or on == "local":
        yield ""
        return
    with pools.member(on) as name:
        yield _reachable(name)


def _reachable(name: str) -> str:
    kernel = sessions.kernel_of(name)
    if not sessions.has_our_files(kernel.name):
        with working("Session", str(kernel.uri), "syncs the project's files") as note:
            project.sync_project(kernel, note)
        far.check(kernel)
    return str(kernel.uri)


def execute(planned: Record[TrainingRun], session: str) -> None:
    """Run it in a session's kernel and pass its outputs on. Failed as it failed there."""
    # By its URI alone: all that the run needs stands in its record, which both processes read.
    text = f"from aiinfra_lab.train.worker import execute\nexecute({planned.uri!r})"
    try:
        reply = kernels.execute(session, text, _but_errors)
    except KeyboardInterrupt:
        raise Interrupted(
            f"you stopped waiting; {planned.uri} goes on in {session}",
            f"see it with `%train log {planned.name}`, end it with `%train stop {planned.name}`",
        ) from None
    except kernels.MachineLost:
        raise
    except LabError as problem:
        with contextlib.suppress(LabError):  # what went wrong over there is what helps
            _fail_unless_begun(planned, RunProblem(problem.what, problem.fix))
        if checkpoint.progress(record.folder(planned.name) / checkpoint.FILE) is not None:
            raise Failed(problem.what, f"{problem.fix}; then {worker.how_to_resume(planned)}") from problem
        raise
    _raise_its_end(planned.uri, f"{reply.get('ename', '')}: {reply.get('evalue', '')}".strip(": "))


def execute_on_any(planned: Record[TrainingRun], session: str) -> Record[TrainingRun]:
    """Run it there; where its machine is taken away, go on from its last checkpoint on the next one, as a run of its
    own. The run that came to the end."""
    if not sessions.has_our_files(Uri.parse(session).name):
        last = far.execute(planned)
        _raise_its_end(last.uri, "")
        return last
    while True:
        try:
            execute(planned, session)
        except kernels.MachineLost as lost:
            planned = goes_on(planned)
            far.announce(planned, lost.what)
        else:
            return planned


def goes_on(run: Record[TrainingRun]) -> Record[TrainingRun]:
    """The run that takes its place, from its last checkpoint or, when it has none yet, from where it began.

    Once planned it is that run, also for who was killed before he could write down which it is.
    """
    if (made := _replacing(run)) is not None:
        return made
    is_kept = checkpoint.progress(record.folder(run.name) / checkpoint.FILE) is not None
    source = run.uri if is_kept else run.body.resumed_from
    requested = replace(run.body, state="starting", resumed_from=source, replaces=run.uri)
    return record.plan(Uri.parse(run.uri).name, requested, (run.body.rows, *([source] if source else [])))


def _replacing(run: Record[TrainingRun]) -> Record[TrainingRun] | None:
    made = next((each for each in record.runs(Uri.parse(run.uri).name) if each.body.replaces == run.uri), None)
    if made is None or jobs.find(made.uri) is not None:
        return made
    if not made.body.is_live:  # taken for one that nobody will begin
        return None
    return record.change(made.name, planned_by=record.this_process())


def _fail_unless_begun(planned: Record[TrainingRun], problem: RunProblem) -> None:
    """The session never began it, so nobody over there writes its end."""

    def failed(run: TrainingRun) -> TrainingRun | None:
        # It may begin in this very moment: its kernel writes its end from then on.
        is_waiting = run.state == "starting"
        return replace(run, state="failed", ended_at=time.time(), problem=problem) if is_waiting else None

    if patiently(lambda: find(planned.uri)).state == "starting":
        patiently(lambda: update(open_store(), TrainingRun, planned.name, failed))


def _but_errors(output: dict[str, Any]) -> None:
    """Show a session's output here; its errors are raised here instead."""
    if output["msg_type"] != "error":
        kernels.republish(output)


def _raise_its_end(uri: str, reply: str) -> None:
    """Raise here what ended a run over there. reply: the kernel's own error, for a run that could write nothing."""
    seen = patiently(lambda: find(uri))  # a database that restarts fails no run that is done
    body = seen.record.body
    if body.problem.what:
        raise CodeFailed(body.problem.what, body.problem.fix, body.trace)
    if seen.state == "stopped":
        raise worker.stopped(seen.record)
    if seen.state != "done":
        reason = reply or "its kernel ended in the middle of it"
        raise Failed(f"{uri} is {seen.state}: {reason}", f"see `%train log {seen.record.name}`")
