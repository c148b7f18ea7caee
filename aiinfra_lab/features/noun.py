"""What the noun features tells of its things: versions of feature sets, whose parts are rows made with them."""

from __future__ import annotations

from typing import Any

from ..nouns import Noun
from ..store import Record
from .record import FeatureSetVersion, JoinedRows


class FeaturesNoun(Noun[FeatureSetVersion]):
    """Feature sets. Neither they nor their rows live or cost anything by themselves."""

    name = "features"
    kind = FeatureSetVersion
    part_kind = JoinedRows
    has_versions = True
    plural = "versions of feature sets"

    def first(self, name: str) -> str:
        return f"`%%features add {name}` makes one"

    def digest(self, record: Record[Any]) -> str:
        """Of a version, of its code and all that its views returned; of rows, of their file."""
        return str(record.body.digest)


NOUN = FeaturesNoun()
