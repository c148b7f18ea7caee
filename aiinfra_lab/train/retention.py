"""How long the rows of a hold-out are kept: as long as a model version or the newest run of a name is measured on them,
and then as `train.holdout_days` and `train.holdout_gib` say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from .. import nouns
from ..errors import LabError
from ..nouns import Keeping, KeptFile
from ..store import Record, open_store
from . import heldout
from .record import TrainingRun

SETTING = "train.holdout"
GIB = 10.0
_WHY = "no model version and no newest run of a name needs it"


def holdouts() -> Keeping:
    """The files that no comparison needs any more."""
    # What cannot be read may need any of them: then none may go.
    with contextlib.suppress(LabError):
        return Keeping(SETTING, GIB, tuple(_unneeded(open_store().list(TrainingRun))), _WHY)
    return Keeping(SETTING, GIB, (), _WHY)


def _unneeded(runs: Sequence[Record[TrainingRun]]) -> Iterator[KeptFile]:
    newest: dict[str, Record[TrainingRun]] = {}
    for run in runs:
        newest[run.base] = max(newest.get(run.base, run), run, key=lambda one: one.version or 0)
    needing = _behind_versions() | {run.uri for run in newest.values()}
    of_digest = {run.body.stored.digest: run for run in runs if run.body.stored}
    needed = {run.body.stored.digest for run in runs if run.body.stored and run.uri in needing}
    for digest in of_digest.keys() - needed:
        path = heldout.path_of(digest)
        with contextlib.suppress(FileNotFoundError):  # it was freed before
            status = path.stat()
            yield KeptFile(of_digest[digest].uri, path, status.st_mtime, status.st_size)


def _behind_versions() -> set[str]:
    """The runs that a version of a model came from which was not removed."""
    kind: Any = nouns.find("models").kind
    return {version.body.run for version in open_store().list(kind) if not version.body.is_removed}
