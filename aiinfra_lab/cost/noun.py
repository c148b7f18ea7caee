"""What `cost` tells of itself: it keeps nothing, and names what has cost something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..nouns import Noun
from ..store import Body


class CostNoun(Noun[Body]):
    """The noun `cost`."""

    name = "cost"
    settings: ClassVar = {
        "machine_usd_per_hour": "what an hour of this machine costs, in USD; 0 when it is not set",
        "prices": "a table of your own prices, as a path in the project",
        "compare": "the instance with whose price the cost of predictions is compared, e.g. aws.g4dn.xlarge",
    }

    def names(self) -> Sequence[str]:
        from .spending import spendings

        return list(dict.fromkeys(item.span.uri for item in spendings()))


NOUN = CostNoun()
