"""The records of a run while it goes on: only the run itself writes them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Conflict
from ..files import retry
from ..store import Event, patiently
from .history import changes_too_fast, recorded_run
from .record import RunRecord, StepRecord, StepState
from .recorded import RecordedRun

Show = Callable[[RecordedRun], None]


class RunWriter:
    """Collects what becomes of a run and of its steps, and writes it down at once.

    run: as it was written last. show: takes that, whenever it was.
    """

    def __init__(self, run: RecordedRun, show: Show) -> None:
        self.run = run
        self._show, self._now = show, run
        self._events: list[tuple[str, Event]] = []

    @property
    def body(self) -> RunRecord:
        """The run's own record as it will be written."""
        return self._now.body

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """Its steps as they will be written."""
        return self._now.steps

    def step(self, name: str) -> StepRecord:
        """One of its steps, as it will be written."""
        found = self._now.step(name)
        assert found is not None, "a run knows each of its steps from its first commit on"
        return found

    def set(self, step: StepRecord, event: Event | None = None) -> None:
        """Have that written next, with what has happened."""
        self._now = self._now.with_steps([step.without_secrets()])
        if event is not None:
            self._events.append((step.name, event))

    def change(self, body: RunRecord) -> None:
        """Have the run's own record be that when it is written next."""
        self._now = self._now.with_body(body)

    def end_steps(self, ended: StepState) -> None:
        """Write that the running steps have ended so, and that no further one begins."""
        self._now = self._now.with_end(ended, time.time())
        self.write()

    def end(self, body: RunRecord, event: Event) -> None:
        """Write the end of the run."""
        self._now = self._now.with_body(body)
        self._events.append(("", event))
        self.write()

    def write(self) -> None:
        """Write what was collected, and return when it is on disk; nothing when there is nothing."""
        if self._now is self.run and not self._events:
            return
        while len(self._events) > 1:  # a commit takes one: each with the step that it is of
            name, event = self._events[0]
            self._commit(self.run.with_steps([self.step(name)]), event)
            del self._events[0]
            self._now = self._now.after(self.run)
        self._commit(self._now, next((event for _, event in self._events), None))
        self._events.clear()
        self._now = self.run
        self._show(self.run)

    def _commit(self, now: RecordedRun, event: Event | None) -> None:
        # Nobody but the run knows what becomes of it, so what is stored gives way: on another machine, where its
        # process cannot be seen, somebody may have written it down as lost.
        # A database that restarts ends no pipeline: nobody is there at night to start it again. The commit may have
        # landed and its answer been lost: then nothing differs from what is there, and the event is there too.
        before = self.run

        def step() -> RecordedRun:
            nonlocal before, now
            try:
                return now.commit(before, event, with_own=True)
            except Conflict:
                before = recorded_run(self.run.name)
                now = now.after(before)
                raise

        self.run = patiently(lambda: retry(step, changes_too_fast(self.run)))
