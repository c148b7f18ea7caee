"""On this machine: the file that JupyterLab edits is what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import Settings
from ..files import make_folder
from .base import Outcome, Value


class LocalExecutor:
    """See `Executor` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], int],
    ) -> Outcome:
        from .engine import execute  # what executes notebooks takes a second to import

        make_folder(archive.parent)
        return execute(notebook, parameters, archive, env, stop_requested)
