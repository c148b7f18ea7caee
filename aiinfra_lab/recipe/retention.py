"""How long executed notebooks are kept: those of runs that are over fall under `recipe.archive_days` and `archive_gib`.

Those that a recipe's newest run shows stay: a step that was skipped stands on the notebook of the run that executed it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config import settings
from ..nouns import Keeping, KeptFile
from ..store import open_store
from .record import RunRecord

SETTING, GIB = "recipe.archive", 5.0
_WHY = "those of each recipe's newest run are kept"


def archives() -> Keeping:
    """The folders of executed notebooks that nothing needs but people who look back."""
    return Keeping(SETTING, GIB, tuple(_unneeded()), _WHY)


def _unneeded() -> Iterator[KeptFile]:
    home, newest = settings().home / RunRecord.kind, dict[str, int]()
    runs = open_store().list(RunRecord, skip_unreadable=True)
    for run in runs:
        newest[run.base] = max(newest.get(run.base, 0), run.version)
    needed = {Path(step.archive).parent.name for run in runs if run.version == newest[run.base] or run.body.is_open
              for step in run.body.steps if step.archive}  # fmt: skip
    for run in runs:
        if run.body.is_open or run.name in needed:
            continue
        folder = home / run.name
        with contextlib.suppress(FileNotFoundError):  # it executed none, or they were freed before
            size = sum(path.stat().st_size for path in folder.iterdir())
            yield KeptFile(run.uri, folder, run.body.ended_at or run.body.started_at, size)
