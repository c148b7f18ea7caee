"""What features promise of the store that serves the newest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from .record import Spec

Value = float | int | str | bool | None
Known = tuple[datetime, dict[str, Value]] | None
"""Since when an entity's newest values hold, and the values; None where nothing is known of it."""


class OnlineStore(Protocol):
    """Holds, for each view of a version, the newest values of each entity as of one moment.

    The files are on this machine; where the values are kept is for the store to decide. Every method may be called
    again after a crash at any point, and raises Unavailable when the store cannot be used.
    """

    def load(self, spec: Spec, sources: Mapping[str, Path], until: datetime) -> None:
        """Register the version, and make its content what was known at `until`, and nothing else.

        `sources` maps each view to a parquet file of its events: keys, times, features, and the event's time once
        more in microseconds as `VIEW__time`. Of a view without a timestamp there is one row for each entity, and both
        times are when they were there, as `VIEW__at` and `VIEW__time`. Returns when the values can be read. The files
        stay where they are until the version is loaded again or forgotten.
        """

    def read(self, spec: Spec, keys: Mapping[str, Sequence[Value]]) -> dict[str, list[Known]]:
        """View → what is stored, one for each position in the columns of `keys`, however old it is.

        NotFound when the version was not loaded.
        """

    def forget(self, spec: Spec) -> None:
        """Take the version and its values away; returns silently when it is not there."""
