"""On this machine: the file that JupyterLab edits is what runs."""

from __future__ import annotations

from collections.abc import Callable

from ..config import Settings
from .base import NotebookTask, Outcome
from .room import Room, at_once
from .threads import ThreadExecutor


class LocalExecutor(ThreadExecutor):
    """See `Executor` for the contract."""

    def __init__(self, where: Settings) -> None:
        super().__init__(_execute, Room(at_once(where)))


def _execute(task: NotebookTask, stop_requested: Callable[[], int]) -> Outcome:
    from .engine import execute  # what executes notebooks takes a second to import

    return execute(task, stop_requested)
