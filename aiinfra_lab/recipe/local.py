"""On this machine: the file that JupyterLab edits is what runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..config import Settings
from ..files import lab_errors, make_folder
from ..kernels.waiting import HostCores
from .base import NotebookTask, Outcome
from .room import Room, at_once
from .threads import ThreadExecutor


class LocalExecutor(ThreadExecutor):
    """See `Executor` for the contract."""

    def __init__(self, where: Settings) -> None:
        self._cores = HostCores()
        super().__init__(partial(_execute, self._cores), Room(at_once(where)))

    def prepare_for_task(self) -> None:
        """See `MayPrepare`."""
        self._cores.prepare()

    def discard_prepared(self) -> None:
        """See `MayPrepare`."""
        self._cores.discard()


def _execute(cores: HostCores, task: NotebookTask, stop_requested: Callable[[], int]) -> Outcome:
    from .engine import execute  # what executes notebooks takes a second to import

    with lab_errors(task.archive.parent):
        make_folder(task.archive.parent)
    return execute(task, stop_requested, cores=cores)
