"""How long executed notebooks are kept: those of runs that are over fall under `recipe.archive_days` and `archive_gib`.

Of each step those of its last execution and of its last success stay: later runs in which it is skipped stand on these,
whatever came in between without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import settings
from ..nouns import Keeping, KeptFile
from ..store.base import leave_out, left_out
from ..uris import split_label
from . import holding
from .archives import is_left, kept_by
from .history import KIND, readable_runs
from .recorded import RecordedRun

SETTING, GIB = "recipe.archive", 5.0
_WHY = "those of each step's last execution, and of its last success, are kept"


def archives() -> Keeping:
    """The folders of executed notebooks that nothing needs but people who look back."""
    return Keeping(SETTING, GIB, (*_unneeded(), *_left_by_holds()), _WHY)


def _unneeded() -> Iterator[KeptFile]:
    home = settings().home / KIND
    with left_out() as unreadable:
        runs = readable_runs(with_steps=True)
    needed, unsure = _needed(runs), {_base_of_unreadable(each) for each in unreadable}
    for run in (run for run in runs if run.base not in unsure):
        folder = home / run.name
        if run.body.is_open or run.name in needed:
            # What a process that was killed has left, and that nobody has looked at: an archive may lack it.
            for journal in filter(is_left, folder.glob("*.journal")):
                yield from (_kept(run.uri, each, journal) for each in _parts(journal))
        elif folder.is_dir():  # else it executed none, or they were freed before
            yield KeptFile(run.uri, folder, run.body.ended_at or run.body.started_at, _bytes_below(folder))


def _needed(runs: Iterable[RecordedRun]) -> set[str]:
    """The labels of the runs whose executed notebooks stay."""
    last = dict[tuple[str, str, str], str]()
    for run in sorted(runs, key=lambda run: run.version, reverse=True):
        for step in (step for step in run.steps if step.archive):
            own = Path(step.archive).parent.name
            # One that was skipped stands on its last success, which need not be how it was executed last.
            if own == run.name:
                last.setdefault((run.base, step.name, "execution"), own)
            if step.succeeded:
                last.setdefault((run.base, step.name, "success"), own)
    return set(last.values())


def _base_of_unreadable(found: str) -> str:
    """The recipe of a run, or of a step, that cannot be read: it may need any run of that. It is still left out."""
    kind, _, label = found.partition(" ")
    leave_out(kind, label)
    return split_label(label)[0]


def _parts(journal: Path) -> tuple[Path, ...]:
    """A journal, and what it takes where its kernel would have been held; that first, as nothing else leads there."""
    kept = kept_by(journal)
    return (journal,) if kept is None or kept.is_relative_to(journal) or not kept.is_dir() else (kept, journal)


def _left_by_holds() -> Iterator[KeptFile]:
    """What kernels have sent that would have been held, where no notebook is to be completed by it any more."""
    home = settings().home / KIND
    folders = list(home.glob("*.held/*"))  # first: a run that begins makes its journal before
    needed = {kept_by(journal) for journal in home.glob("*/*.journal")}
    for folder in folders:
        if folder not in needed and not holding.is_alive(folder):
            with contextlib.suppress(FileNotFoundError):  # one whose time has just ended goes by itself
                yield _kept(f"{KIND}:{folder.parent.stem}", folder, folder)


def _kept(uri: str, path: Path, written: Path) -> KeptFile:
    return KeptFile(uri, path, written.stat().st_mtime, _bytes_below(path))


def _bytes_below(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.lstat().st_size
    return found
