"""The record of a run while it goes on: only the run itself writes it."""

from __future__ import annotations

from collections.abc import Callable

from ..store import Event, Record, Store, patiently, update
from .record import RunRecord, StepRecord

Run = Record[RunRecord]
Show = Callable[[Run], None]


class RunWriter:
    """Collects what becomes of a run's steps, and writes it down at once.

    run: as it was written last. show: takes that, whenever it was.
    """

    def __init__(self, store: Store, run: Run, show: Show) -> None:
        self.run = run
        self._store, self._show, self._body = store, show, run.body
        self._events: list[Event] = []

    @property
    def body(self) -> RunRecord:
        """The run as it will be written."""
        return self._body

    def step(self, name: str) -> StepRecord:
        """One of its steps, as it will be written."""
        found = self._body.step(name)
        assert found is not None, "a run has a record of each of its steps from its first commit on"
        return found

    def set(self, step: StepRecord, event: Event | None = None) -> None:
        """Have that written next, with what has happened."""
        self._body = self._body.with_step(step)
        if event is not None:
            self._events.append(event)

    def end(self, body: RunRecord, event: Event | None = None) -> None:
        """Write a whole body."""
        self._body = body
        if event is not None:
            self._events.append(event)
        self.write()

    def write(self) -> None:
        """Write what was collected, and return when it is on disk; nothing when there is nothing."""
        if self._body == self.run.body and not self._events:
            return
        self._commit(next(iter(self._events), None))
        for event in self._events[1:]:  # a commit takes one
            self._log(event)
        self._events = []
        self._show(self.run)

    def _commit(self, event: Event | None) -> None:
        # Nobody but the run knows what becomes of it, so what is stored gives way: on another machine, where its
        # process cannot be seen, somebody may have written it down as lost.
        # A database that restarts ends no pipeline: nobody is there at night to start it again. The commit may have
        # landed and its answer been lost: then the event is there too.
        body = self._body

        def change(there: RunRecord) -> RunRecord | None:
            return None if there == body else body

        self.run = patiently(lambda: update(self._store, RunRecord, self.run.name, change, event))

    def _log(self, event: Event) -> None:
        patiently(lambda: self._store.commit([], event))
