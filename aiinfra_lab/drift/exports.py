"""Writing a verdict to a file, and the two samples that it was made of."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import settings
from ..errors import NotFound
from ..files import writing
from ..providers import make
from .base import Report

if TYPE_CHECKING:
    import polars as pl

_NAMES = ("reference", "current")


def keep(reference: pl.DataFrame, current: pl.DataFrame) -> str:
    """Keep both samples as files, so that the verdict can be looked into later; returns their folder's name."""
    name = secrets.token_hex(6)
    folder = settings().home / "drift" / name
    folder.mkdir(parents=True, mode=0o700)
    for part, frame in zip(_NAMES, (reference, current), strict=True):
        frame.write_parquet(folder / f"{part}.parquet")
    return name


def samples(name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both samples again. NotFound when their files are gone."""
    import polars as pl

    folder = settings().home / "drift" / name
    if not (folder / "current.parquet").exists():
        raise NotFound(f"the samples in {folder} are gone", "check again: `%drift check NAME --against …`")
    reference, current = (pl.read_parquet(folder / f"{part}.parquet") for part in _NAMES)
    return reference, current


def write(verdict: dict[str, object], sample: str, form: str, into: Path) -> None:
    """Write the verdict as `json`, or a report's page on its samples, whole or not at all."""
    with writing(into, fix="choose another --into") as aside:
        if form != "json":
            report: Report = make("drift.report", form)
            report.write(*samples(sample), aside)
        else:
            aside.write_text(json.dumps(verdict, indent=1, ensure_ascii=False) + "\n", "utf-8")
