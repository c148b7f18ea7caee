"""How long executed notebooks are kept: those of runs that are over fall under `recipe.archive_days` and `archive_gib`.

Of each step those of its last execution and of its last success stay: later runs in which it is skipped stand on these,
whatever came in between without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config import settings
from ..nouns import Keeping, KeptFile
from ..store.base import leave_out, left_out
from ..uris import split_label
from .archives import is_left
from .history import KIND, readable_runs

SETTING, GIB = "recipe.archive", 5.0
_WHY = "those of each step's last execution, and of its last success, are kept"


def archives() -> Keeping:
    """The folders of executed notebooks that nothing needs but people who look back."""
    return Keeping(SETTING, GIB, tuple(_unneeded()), _WHY)


def _unneeded() -> Iterator[KeptFile]:
    home, last = settings().home / KIND, dict[tuple[str, str, str], str]()
    with left_out() as unreadable:
        runs = readable_runs(with_steps=True)
    for run in sorted(runs, key=lambda run: run.version, reverse=True):
        for step in (step for step in run.steps if step.archive):
            own = Path(step.archive).parent.name
            # One that was skipped stands on its last success, which need not be how it was executed last.
            if own == run.name:
                last.setdefault((run.base, step.name, "execution"), own)
            if step.succeeded:
                last.setdefault((run.base, step.name, "success"), own)
    needed = set(last.values())
    # A run or a step that cannot be read may need any of them.
    unsure = set[str]()
    for kind, _, label in (each.partition(" ") for each in unreadable):
        leave_out(kind, label)
        unsure.add(split_label(label)[0])
    for run in runs:
        if run.base in unsure:
            continue
        folder = home / run.name
        if run.body.is_open or run.name in needed:
            # What a process that was killed has left, and that nobody has looked at: an archive may lack it.
            journals = (journal for journal in folder.glob("*.journal") if is_left(journal))
            yield from (KeptFile(run.uri, each, each.stat().st_mtime, _bytes_below(each)) for each in journals)
        elif folder.is_dir():  # else it executed none, or they were freed before
            yield KeptFile(run.uri, folder, run.body.ended_at or run.body.started_at, _bytes_below(folder))


def _bytes_below(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.lstat().st_size
    return found
