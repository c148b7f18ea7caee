"""The contract of a report: a file for people on the two samples of a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


class SampleReport(Protocol):
    """Somebody else's report on the same two samples. It decides nothing: the verdict is ours."""

    def write(self, reference: pl.DataFrame, current: pl.DataFrame, into: Path) -> None:
        """Write the report to that file, over whatever is in it; may be called again.

        The caller has made the file's folder, and puts the file in its place when this returns: what is written may
        be half a report when this raises. Nothing else is left in the folder, nothing is printed, and the samples stay
        as they are. Both have the same columns: numbers and texts, with nulls where a value is missing, and the
        prediction. Failed when it makes nothing of these samples, such as ones without rows; OSError when the file
        cannot be written.
        """
