"""What `cost` tells of itself: it keeps nothing, and names what has cost something."""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import Noun
from ..store import Body


class CostNoun(Noun[Body]):
    """The noun `cost`."""

    name = "cost"

    def names(self) -> Sequence[str]:
        from .spending import spendings

        return list(dict.fromkeys(item.span.uri for item in spendings()))


NOUN = CostNoun()
