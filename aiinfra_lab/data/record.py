"""A version of data as the workspace remembers it."""

from __future__ import annotations

from typing import ClassVar

from ..store import Body
from .tables import DataTable


class DataVersion(Body, frozen=True, kw_only=True):
    """One version: what its content is, and where it came from.

    key: the content's name in the version store. digest: SHA-256 over every name and every byte. rows: those of the
    main table, None when there is none. source: where it was brought from. only: the file's name when a single file
    was added, else empty. described: the tables among its files. held_by: the provider of `data.versions` that holds
    its content; empty where version 1 did not write it, and then it is the one that the settings choose.
    """

    kind: ClassVar[str] = "data"
    schema_version: ClassVar[int] = 2
    known_metrics: ClassVar[tuple[str, ...]] = ("rows", "files", "size_bytes")
    has_event: ClassVar[bool] = True

    # Also in the record's name; they are here since workspaces of before have them here.
    name: str
    version: int
    key: str
    digest: str
    rows: int | None
    files: int
    size_bytes: int
    source: str
    only: str
    described: tuple[DataTable, ...]
    added_at: float
    held_by: str = ""
    removed_at: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """What a rule may be about."""
        found = {"rows": self.rows, "files": self.files, "size_bytes": self.size_bytes}
        return {name: float(value) for name, value in found.items() if value is not None}

    @property
    def removed_on(self) -> float | None:
        return self.removed_at
