"""Evidently's report on a verdict's two samples. The only file that imports it.

Its defaults judge by fixed distances above 1,000 rows and by a goodness-of-fit test below, after dropping what is
missing: its flags are its own, and the report is for looking.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Settings, opt_out
from ..errors import Failed

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 50_000
"""Evidently holds every row in memory several times over; of a longer sample that many rows are drawn."""


class Evidently:
    """Its drift report as one page that needs nothing else, by its preset of drift tests. See `SampleReport`."""

    def __init__(self, where: Settings) -> None:
        pass

    def write(self, reference: pl.DataFrame, current: pl.DataFrame, into: Path) -> None:
        _write_html(reference, current, into)


def _write_html(reference: pl.DataFrame, current: pl.DataFrame, into: Path) -> None:
    opt_out()  # before the import: Evidently reads the switch then
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # other packages' deprecations, of which it has many
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        numbers = [name for name in reference.columns if reference[name].dtype.is_numeric()]
        texts = [name for name in reference.columns if name not in numbers]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
        before, now = (Dataset.from_pandas(_drawn(frame), data_definition=definition) for frame in (reference, current))
        try:
            # Evidently takes the current data first, then the reference.
            made = Report([DataDriftPreset()]).run(now, before)
        except Exception as problem:  # whatever it raises on samples it cannot handle
            raise Failed(f"Evidently makes no report of this: {problem}", "take --as json") from problem
        made.save_html(str(into))


def _drawn(frame: pl.DataFrame) -> object:
    # Always the same rows: a verdict's report, made again, shows the same.
    return (frame.sample(MOST_ROWS, seed=0) if frame.height > MOST_ROWS else frame).to_pandas()
