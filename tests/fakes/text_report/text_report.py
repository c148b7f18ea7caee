"""A report from a package of its own: a table of plain text, made without pandas, HTML or a library of statistics."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import Failed


class TextReport:
    """See `SampleReport` for the contract."""

    def __init__(self, where: Settings) -> None:
        self._name = where.workspace.name

    def write(self, reference: pl.DataFrame, current: pl.DataFrame, into: Path) -> None:
        if not reference.height or not current.height:
            raise Failed("there are no rows to report on", "take --as json")
        lines = [f"{name}: {_summary(reference[name])} -> {_summary(current[name])}" for name in reference.columns]
        into.write_text("\n".join([self._name, *lines]) + "\n", "utf-8")


def _summary(column: pl.Series) -> str:
    most = column.mean() if column.dtype.is_numeric() else column.mode().sort().first()
    return f"{most} ({column.null_count()} missing)"
