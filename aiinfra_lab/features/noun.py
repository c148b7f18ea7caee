"""What the noun features tells of its things: versions of feature sets, whose parts are rows made with them."""

from __future__ import annotations

from ..nouns import Noun
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


NOUN = FeaturesNoun()
