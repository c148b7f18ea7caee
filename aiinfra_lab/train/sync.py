"""Bringing the tracking server to what our own files say: in batches while a run goes on, and later what it missed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import cast

from ..errors import LabError
from ..providers import make
from ..store import Record, open_store
from . import history, record
from .base import Ending, Intent, Tracker
from .history import Point
from .observing import ObservedTraining, observe
from .record import TrainingRun

EVERY_S = 5.0
# So many points are sent at once, whatever the time: a tight loop measures thousands in those seconds.
AT_MOST = 1000
# So many runs are sent before a new one begins: each takes a tracking server some hundredths of a second, and whoever
# starts a run waits for it. `lab start` sends all.
BEFORE_A_RUN = 20


def tracker() -> Tracker:
    """The workspace's tracking server."""
    made: Tracker = make("train.tracker")
    return made


class RunSync:
    """The server's copy of one run. A server that fails while the run goes on does not fail the run."""

    def __init__(self, run: Record[TrainingRun]) -> None:
        self._run = run
        self._tracker = tracker()
        self._id = ""
        self._waiting: list[Point] = []
        self._sent_at = time.monotonic()

    def begin(self) -> str:
        """Make the run there. Unavailable before any code has run is better than afterwards."""
        self._id = self._tracker.begin(intent(self._run))
        record.change(self._run.name, tracked_as=self._id)
        return self._id

    def add(self, points: Sequence[Point]) -> None:
        """Pass points on, once enough have come together."""
        self._waiting += points
        if len(self._waiting) >= AT_MOST or time.monotonic() - self._sent_at >= EVERY_S:
            self._send()

    def close(self, ending: Ending, at: float) -> None:
        """Pass on the rest, and how and when it ended; what the server cannot take now `catch_up` sends."""
        if self._id and self._send():
            try:
                self._tracker.end(self._id, ending, at)
                record.change(self._run.name, tracked=True)
            except LabError:
                return

    def _send(self) -> bool:
        # Also when it fails: a server that is down must not be asked at every step.
        self._sent_at = time.monotonic()
        try:
            self._tracker.log(self._id, self._waiting)
        except LabError:
            return False
        self._waiting = []
        return True


def intent(run: Record[TrainingRun]) -> Intent:
    """A run as the server is to know it."""
    body = run.body
    tags = {
        "lab.seed": str(body.seed),
        "lab.code.digest": body.code_digest,
        **{f"lab.{key}": value for key, value in body.machine.items()},
        **({"lab.resumed_from": body.resumed_from} if body.resumed_from else {}),
        **({"lab.on": body.on} if body.on else {}),
    }
    params = {key: str(value) for key, value in body.params.items()}
    return Intent(run.uri, body.rows, body.rows_digest, params, tags, body.started_at or None)


def catch_up(*, verify: bool = False, at_most: int | None = None) -> list[str]:
    """Write down runs that were killed, and send the server whatever it missed; what was done, a sentence each.

    verify: also ask the server whether it still has what it was sent. at_most: so many runs, the newest.

    One that cannot be sent keeps no other from being sent. Unavailable when the server cannot be asked.
    """
    return [_caught_up(run) for run in _behind(verify)[:at_most]]


def behind(*, verify: bool = False) -> list[str]:
    """Runs that the tracking server does not know to their end, one sentence each.

    verify: also ask the server whether it still has what it was sent
    """
    return [f"the tracking server does not know how {run.record.uri} ended" for run in _behind(verify)]


def _behind(verify: bool) -> list[ObservedTraining]:
    store = open_store()
    still_open = observe(store.list(TrainingRun, is_open=True, skip_unreadable=True))
    missed = [run for run in still_open if not run.is_live and _is_here(run)]
    return missed + _lost(store.list(TrainingRun, is_open=False, skip_unreadable=True)) if verify else missed


def _lost(runs: Iterable[Record[TrainingRun]]) -> list[ObservedTraining]:
    """Those that the server was sent and does not have any more."""
    sent = {run.body.tracked_as: run for run in runs}
    if not sent:
        return []
    known = tracker().known(list(sent))
    lost = observe([run for run_id, run in sent.items() if run_id not in known])
    return [run for run in lost if _is_here(run)]


def _is_here(run: ObservedTraining) -> bool:
    """Whether this folder has what the run measured, or it never began: another one's only that one can send."""
    return not run.record.body.tracked_as or record.folder(run.record.name).is_dir()


def _caught_up(run: ObservedTraining) -> str:
    """Send a run; what was done, or why it could not be."""
    uri, server = run.record.uri, "the tracking server"
    try:
        _send_again(run)
    except (LabError, OSError) as problem:
        # A server that is away would let each of thousands wait; one that answers refused this run.
        tracker().known([run.record.body.tracked_as or uri])
        reason = f"{problem.what}; {problem.fix}" if isinstance(problem, LabError) else str(problem)
        return f"{uri} could not be sent to {server}: {reason}"
    return f"sent {uri}, which was {run.state}, to {server}"


def _send_again(run: ObservedTraining) -> None:
    server = tracker()
    run_id = server.begin(intent(run.record))
    server.log(run_id, history.read(record.folder(run.record.name) / history.FILE))
    server.end(run_id, cast("Ending", run.state), run.ended_at)  # only what has ended is sent again
    record.change(run.record.name, tracked=True, tracked_as=run_id)
