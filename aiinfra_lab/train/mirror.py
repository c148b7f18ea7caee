"""Telling the tracking server what the run's own files say, in batches, and again later where it did not listen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..errors import LabError
from ..providers import make
from ..store import Record
from . import history, record
from .base import Ending, Intent, Tracker
from .history import Point

EVERY_S = 5.0
AT_MOST = 1000


def tracker() -> Tracker:
    """The workspace's tracking server."""
    made: Tracker = make("train.tracker")
    return made


class Mirror:
    """The server's copy of one run. A server that fails while the run goes on does not fail the run."""

    def __init__(self, run: Record) -> None:
        self._run = run
        self._tracker = tracker()
        self._id = ""
        self._waiting: list[Point] = []
        self._told_at = time.monotonic()

    def begin(self) -> str:
        """Make the run there. Unavailable before any code has run is better than afterwards."""
        self._id = self._tracker.begin(intent(self._run))
        record.change(self._run.name, tracked_as=self._id)
        return self._id

    def add(self, points: Sequence[Point]) -> None:
        """Pass points on, once enough have come together."""
        self._waiting += points
        if len(self._waiting) >= AT_MOST or time.monotonic() - self._told_at >= EVERY_S:
            self._tell()

    def close(self, ending: Ending) -> None:
        """Pass on the rest and how it ended; what cannot be told now is told by `settle`."""
        if self._id and self._tell():
            try:
                self._tracker.end(self._id, ending)
            except LabError:
                return
            record.change(self._run.name, tracked=True)

    def _tell(self) -> bool:
        self._told_at = time.monotonic()
        try:
            self._tracker.log(self._id, self._waiting)
        except LabError:
            return False
        self._waiting = []
        return True


def intent(run: Record) -> Intent:
    """A run as the server is told of it."""
    body = run.body
    tags = {
        "lab.seed": str(body["seed"]),
        "lab.code.digest": body["code_digest"],
        **{f"lab.{key}": value for key, value in body["machine"].items()},
        **({"lab.resumed_from": body["resumed_from"]} if body["resumed_from"] else {}),
        **({"lab.on": body["on"]} if body["on"] else {}),
    }
    params = {key: str(value) for key, value in body["params"].items()}
    return Intent(f"train:{run.name}", body["rows"], body["rows_digest"], params, tags)


def settle(*, ask: bool = False) -> list[str]:
    """Write down runs that were killed, and tell the server whatever it missed; says what was done.

    ask: also ask the server whether it still has what it was told
    """
    done = []
    for run in record.records():
        state = record.state(run)
        if state in record.LIVE:
            continue
        if run.body["state"] != state:
            record.change(run.name, state=state, **record.end_of(run))
            done.append(f"train:{run.name} was {state}")
        if not _tracked(run, ask=ask):
            _retell(run, state)
            done.append(f"told the tracking server about train:{run.name}")
    return done


def behind(*, ask: bool = False) -> list[str]:
    """Runs that the tracking server does not know to their end, one sentence each.

    ask: also ask the server whether it still has what it was told
    """
    ended = [run for run in record.records() if record.state(run) not in record.LIVE]
    missed = [run.name for run in ended if not _tracked(run, ask=ask)]
    return [f"the tracking server does not know how train:{name} ended" for name in missed]


def _tracked(run: Record, *, ask: bool) -> bool:
    if not run.body.get("tracked"):
        return False
    return not ask or tracker().read(run.body["tracked_as"]) is not None


def _retell(run: Record, state: Any) -> None:
    server = tracker()
    run_id = server.begin(intent(run))
    server.log(run_id, history.read(record.folder(run.name) / history.FILE))
    server.end(run_id, state)
    record.change(run.name, tracked=True, tracked_as=run_id)
