"""An executor without a kernel: a notebook is a function of the test, called in this process, where the fakes live."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

from aiinfra_lab.recipe.base import NotebookTask, Outcome
from aiinfra_lab.recipe.room import Room
from aiinfra_lab.recipe.threads import ThreadExecutor

Act = Callable[[int, Callable[[], int]], Outcome]
"""Given which notebook of the executor this is (1, 2, …), and how urgently its end is asked for."""


class InProcess(ThreadExecutor):
    """See `Executor`. count: how many notebooks it was given. One at a time: they share this process' environment."""

    def __init__(self, act: Act = lambda *_: Outcome("done")) -> None:
        super().__init__(self._call, Room(1))
        self.count, self._act = 0, act

    def _call(self, task: NotebookTask, stop_requested: Callable[[], int]) -> Outcome:
        self.count += 1
        with mock.patch.dict("os.environ", task.env):
            return self._act(self.count, stop_requested)


def calling(act: Callable[[], object] = lambda: None) -> InProcess:
    """One whose notebooks call that, and end well unless they are to stop."""

    def end(_: int, stop_requested: Callable[[], int]) -> Outcome:
        act()
        return Outcome("stopped" if stop_requested() else "done")

    return InProcess(end)
