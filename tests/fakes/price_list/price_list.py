"""Another package's source of prices: a cloud with one region and two machines, whose price list is in its head."""

import datetime as dt
from collections.abc import Sequence

from aiinfra_lab.config import Settings
from aiinfra_lab.cost.prices import Price, uri_of
from aiinfra_lab.errors import Unavailable

REGION = "moon-1"


class Listed:
    """Two machines, of which one costs less in the night and nobody says what."""

    def __init__(self, where: Settings) -> None:
        pass

    def regions(self) -> Sequence[str]:
        return [REGION]

    def fetch(self, region: str) -> Sequence[Price]:
        if region != REGION:
            raise Unavailable(f"there is no region {region}", f"ask for {REGION}")
        return [self._price("small", "T4", 0.4, 0.1), self._price("large", "H100", 5.0, None)]

    def _price(self, name: str, accelerator: str, usd: float, spot: float | None) -> Price:
        return Price(
            uri=uri_of("listed", name, REGION), provider="listed", type=name, accelerator=accelerator, count=1,
            usd_per_hour=usd, spot_low_usd=spot, spot_high_usd=spot, region=REGION, source="the moon's price list",
            as_of=dt.datetime.now(dt.UTC).date().isoformat(),
        )  # fmt: skip
