"""A run in the kernel of a gpu session: the same record, the same code, and what it says is shown here."""

from __future__ import annotations

import time
from typing import Any

from .. import kernels
from ..errors import Failed, Interrupted, LabError
from ..gpu import sessions
from ..store import Record
from . import checkpoint, record, worker
from .code import CodeFailed


def session(on: str | None) -> str:
    """The session's URI, or nothing for this process."""
    if on is None or on == "local":
        return ""
    return f"gpu:{sessions.kernel_of(on).name}"


def execute(planned: Record, session: str) -> None:
    """Run it in a session's kernel and pass its outputs on. Failed as it failed there."""
    uri = f"train:{planned.name}"
    text = f"from aiinfra_lab.train.worker import execute\nexecute({uri!r})"
    try:
        reply = kernels.execute(session, text, _but_errors)
    except KeyboardInterrupt:
        raise Interrupted(
            f"you stopped waiting; {uri} goes on in {session}",
            f"see it with `%train log {planned.name}`, end it with `%train stop {planned.name}`",
        ) from None
    except LabError as problem:
        if record.state(record.find(uri)) == "starting":
            record.change(
                planned.name, state="failed", ended_at=time.time(), problem={"what": problem.what, "fix": problem.fix}
            )
        if checkpoint.epoch(record.folder(planned.name) / checkpoint.FILE) is not None:
            raise Failed(problem.what, f"{problem.fix}; then {worker.way_on(planned.name)}") from problem
        raise
    _as_it_ended(uri, f"{reply.get('ename', '')}: {reply.get('evalue', '')}".strip(": "))


def _but_errors(output: dict[str, Any]) -> None:
    """Show a session's output here; its errors are raised here instead."""
    if output["msg_type"] != "error":
        kernels.republish(output)


def _as_it_ended(uri: str, said: str) -> None:
    """Raise here what ended a run elsewhere."""
    found = record.find(uri)
    problem = found.body.get("problem")
    if problem:
        raise CodeFailed(problem["what"], problem["fix"], found.body.get("trace", ""))
    state = record.state(found)
    if state == "stopped":
        raise worker.stopped(found)
    if state != "done":
        raise Failed(
            f"{uri} is {state}: {said or 'its kernel ended in the middle of it'}", f"see `%train log {found.name}`"
        )
