"""An executor without a kernel: a notebook is a function of the test, called in this process, where the fakes live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

from aiinfra_lab.recipe.base import Outcome, Value

Act = Callable[[int, Callable[[], bool]], Outcome]
"""Given which notebook of the executor this is (1, 2, …), and the stop request."""


class InProcess:
    """See `Executor`. count: how many notebooks it was given."""

    def __init__(self, act: Act = lambda *_: Outcome("done")) -> None:
        self.count, self._act = 0, act

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], bool],
    ) -> Outcome:
        self.count += 1
        with mock.patch.dict("os.environ", env):
            return self._act(self.count, stop_requested)


def calling(act: Callable[[], object] = lambda: None) -> InProcess:
    """One whose notebooks call that, and end well unless they are to stop."""

    def end(_: int, stop_requested: Callable[[], bool]) -> Outcome:
        act()
        return Outcome("stopped" if stop_requested() else "done")

    return InProcess(end)
