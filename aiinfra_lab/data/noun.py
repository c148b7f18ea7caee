"""What the noun data tells of its things: versions that neither live nor cost anything."""

from __future__ import annotations

from typing import Any

import msgspec

from ..nouns import Details, Fact, Noun
from ..store import Record, canonical_digest, open_store
from ..units import counted, show_bytes
from ..uris import Uri
from .record import DataVersion


class DataNoun(Noun[DataVersion]):
    """Versions of files and tables."""

    name = "data"
    kind = DataVersion
    has_versions = True
    plural = "versions of data"

    def first(self, name: str) -> str:
        return f"`%data add {name} PATH` makes one"

    def digest(self, record: Record[Any]) -> str:
        """Of its files, and of how its tables are read: the same bytes may be numbers or text."""
        version: DataVersion = record.body
        return canonical_digest([version.digest, version.only, msgspec.to_builtins(version.described)])

    def details(self, uri: str) -> Details:
        record = open_store().get(DataVersion, Uri.parse(uri).label)
        if record is None:  # a job may be all that there is
            return super().details(uri)
        body = record.body
        rows = [Fact("rows", f"{body.rows:,}")] if body.rows is not None else []
        size = Fact("size", f"{show_bytes(body.size_bytes)} in {counted(body.files, 'file')}")
        return Details((*rows, size, Fact("from", body.source), Fact("digest", body.digest[:12])))


NOUN = DataNoun()
