"""An executor whose notebooks are executed by a function that returns at their end: each in a thread of its own."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from .base import NotebookTask, Outcome

Execute = Callable[[NotebookTask, Callable[[], int]], Outcome]
"""Given a task and how urgently its end is asked for: 0 not at all, 1 by an interrupt, 2 at once. That may be asked
from any thread."""


class HasRoom(Protocol):
    """For how many at once there is room."""

    def is_left_for(self, task: NotebookTask, going: Iterable[NotebookTask]) -> bool:
        """Whether it fits beside those; alone it always does."""


class ThreadExecutor:
    """See `Executor`. execute: what executes one task. room: for how many at once."""

    def __init__(self, execute: Execute, room: HasRoom) -> None:
        self._execute, self._room = execute, room
        self._going: list[TaskThread] = []

    def has_room(self, task: NotebookTask) -> bool:
        """See `Executor.has_room`."""
        self._going = [each for each in self._going if not each.poll()]
        return self._room.is_left_for(task, [each.task for each in self._going])

    def submit(self, task: NotebookTask) -> TaskThread:
        """See `Executor.submit`."""
        begun = TaskThread(self._execute, task)
        self._going.append(begun)
        return begun


class TaskThread:
    """See `TaskHandle`."""

    def __init__(self, execute: Execute, task: NotebookTask) -> None:
        self.task = task
        self._execute, self._urgency = execute, 0
        self._outcome: Outcome | None = None
        self._problem: BaseException | None = None
        # Settings and what is redirected belong to the context of whoever submits.
        run = contextvars.copy_context().run
        # A daemon: what a process leaves behind that ends without it is for the notebook's own keeper to end.
        self._thread = threading.Thread(target=run, args=(self._run,), name=task.archive.stem, daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """See `TaskHandle.poll`."""
        return not self._thread.is_alive()

    def wait_for_end(self, within_s: float) -> None:
        """See `MayBeAwaited`."""
        self._thread.join(within_s)

    def cancel(self, *, at_once: bool = False) -> None:
        """See `TaskHandle.cancel`."""
        self._urgency = max(self._urgency, 1 + at_once)

    def collect(self) -> Outcome:
        """See `TaskHandle.collect`."""
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        assert self._outcome is not None
        return self._outcome

    def _run(self) -> None:
        try:
            self._outcome = self._execute(self.task, lambda: self._urgency)
        except BaseException as problem:  # noqa: BLE001  # for whoever collects it
            self._problem = problem
