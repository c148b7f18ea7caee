"""Papermill on this machine: the file that JupyterLab edits is what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .base import Outcome, Value
from .declaration import notebook_parameters


class Local:
    """See `Runner` for the contract."""

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], bool],
    ) -> Outcome:
        from .engine import execute  # papermill takes 2 s to import

        archive.parent.mkdir(parents=True, exist_ok=True)
        return execute(notebook, parameters, archive, env, stop_requested)

    def parameters(self, notebook: Path) -> Mapping[str, tuple[str, Any]]:
        return notebook_parameters(notebook)
