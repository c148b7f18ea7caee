"""What drift promises of a report: a page for people on the two samples of a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


class Report(Protocol):
    """Somebody else's look at the same two samples. It decides nothing: the verdict is ours."""

    def write(self, reference: pl.DataFrame, current: pl.DataFrame, into: Path) -> None:
        """Write the report to that file, which the caller puts in its place when this returns; may be called again.

        Failed when it makes nothing of these samples.
        """
