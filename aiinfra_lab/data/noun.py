"""What the noun data tells of its things: versions that neither live nor cost anything."""

from __future__ import annotations

from ..nouns import Noun
from .record import DataVersion


class DataNoun(Noun[DataVersion]):
    """Versions of files and tables."""

    name = "data"
    kind = DataVersion
    has_versions = True
    plural = "versions of data"

    def first(self, name: str) -> str:
        return f"`%data add {name} PATH` makes one"


NOUN = DataNoun()
