"""Writing a verdict to a file, and the two samples that it was made of."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import settings
from ..errors import NotFound
from ..files import make_folder, refuse_taken, writing
from ..modes import tighten
from ..providers import make, names
from .base import SampleReport
from .record import DriftRecord

if TYPE_CHECKING:
    import polars as pl

JSON = "json"
_CONTRACT = "drift.report"
_ANOTHER = "choose another --into"
_SAMPLES = ("reference", "current")
# Not the kind's own folder, as once: whoever numbers a verdict looks through that one for what its record lost, and a
# verdict's number comes from the records alone.
_PLACE = "samples"


def forms() -> list[str]:
    """What a verdict can be written as: JSON, and every report that is installed here."""
    # Ours is the first: a package that calls its report so cannot take its place.
    return list(dict.fromkeys([JSON, *names(_CONTRACT)]))


def keep(reference: pl.DataFrame, current: pl.DataFrame) -> str:
    """Keep both samples as files, so that the verdict can be looked into later; returns their folder's name."""
    # Not the verdict's own name: its number is known only once the record is committed, which comes after.
    name = secrets.token_hex(6)
    folder = _folder(name)
    # The rows may be about people, and the log that they came from is as private.
    make_folder(folder.parent)
    folder.mkdir(mode=0o700)
    for sample, frame in zip(_SAMPLES, (reference, current), strict=True):
        frame.write_parquet(folder / f"{sample}.parquet")
    tighten(folder)
    return name


def samples(name: str, again: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both samples: the reference, the current one. NotFound when their files are gone; `again`: how to make them."""
    import polars as pl

    paths = [_folder(name) / f"{sample}.parquet" for sample in _SAMPLES]
    if not name or not all(path.exists() for path in paths):
        raise NotFound(f"the samples in {_folder(name)} are gone", again)
    reference, current = map(pl.read_parquet, paths)
    return reference, current


def write(verdict: Mapping[str, object], sample: str, form: str, into: Path) -> None:
    """Write the verdict as JSON, or a report on its samples, whole or not at all.

    Conflict when something is there, Denied when the file cannot be written, NotFound when the samples are gone, Failed
    when the report makes nothing of them.
    """
    refuse_taken(into, _ANOTHER)
    with writing(into, fix=_ANOTHER) as aside:
        if form == JSON:
            aside.write_text(json.dumps(verdict, indent=1, ensure_ascii=False) + "\n", "utf-8")
        else:
            report: SampleReport = make(_CONTRACT, form)
            again = f"check again: `%drift check {verdict['endpoint']} --against {verdict['against']} --report`"
            report.write(*samples(sample, again), aside)


def _folder(name: str) -> Path:
    home = settings().home
    former = home / DriftRecord.kind / name
    return former if name and former.is_dir() else home / _PLACE / name
