"""How long environments are kept: as long as a version needs them, and then as `models.environments_days` and
`models.environments_gib` say. One that is needed again is built again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError
from ..nouns import Keeping, KeptFile
from ..store import open_store
from ..train.environments import unneeded
from .record import ModelVersion, folder

SETTING = "models.environments"
GIB = 1.0
_WHY = "no model version needs it"


def environments() -> Keeping:
    """Those that no version needs any more."""
    # What cannot be read may need any of them: then none may go.
    with contextlib.suppress(LabError):
        versions = [version for version in open_store().list(ModelVersion) if not version.body.is_removed]
        return Keeping(SETTING, GIB, tuple(_kept(unneeded(folder(version.name) for version in versions))), _WHY)
    return Keeping(SETTING, GIB, (), _WHY)


def _kept(places: list[Path]) -> Iterator[KeptFile]:
    for place in places:
        with contextlib.suppress(FileNotFoundError):  # it was freed before
            size = sum(file.lstat().st_size for file in place.rglob("*"))
            yield KeptFile("lab:environments", place, place.stat().st_mtime, size)
