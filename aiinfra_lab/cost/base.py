"""What the price table asks of whoever knows today's prices: a cloud's price list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .prices import Price


class PricesSource(Protocol):
    """Where `%cost get --refresh` fetches prices. Nothing is rented, and nothing is written anywhere."""

    def regions(self) -> Sequence[str]:
        """Where it is asked when nobody says; asks nobody."""

    def fetch(self, region: str) -> Sequence[Price]:
        """Today's price of every machine with an accelerator in a region, one for each zone whose spot price is known.

        `source` and `as_of` say where and when. Prices are as they were given: whether they can be true is judged by
        whoever reads them. Returns after a bounded number of questions, with nothing where the region has no
        such machine. Missing without credentials, Denied where they do not suffice, Unavailable when the region cannot
        be reached or does not exist.
        """
