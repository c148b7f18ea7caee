"""What every source of prices (`cost.prices_source`) keeps."""

from __future__ import annotations

import datetime as dt

import pytest

from ..cost import accelerators, guards
from ..cost.base import PricesSource
from ..errors import LabError

__all__ = ["PricesSourceContract"]


class PricesSourceContract:
    """A provider's test inherits this and gives the fixtures `source` and `region`, a region with such machines."""

    @pytest.fixture
    def no_region(self) -> str:
        """One that does not exist."""
        return "nowhere-1"

    def test_it_is_asked_somewhere_when_nobody_says_where(self, source: PricesSource) -> None:
        assert list(source.regions())
        assert all(source.regions())

    def test_every_price_says_what_it_is_of_and_where_and_when_it_is_from(
        self, source: PricesSource, region: str
    ) -> None:
        today = dt.datetime.now(dt.UTC).date()
        found = source.fetch(region)
        assert found
        for price in found:
            assert price.provider
            assert price.type
            assert price.region == region
            assert price.source
            assert abs((dt.date.fromisoformat(price.as_of) - today).days) <= 1
            assert price.uri == f"cost:{price.provider}.{price.type}.{price.place}"

    def test_a_machine_has_one_price_in_a_zone(self, source: PricesSource, region: str) -> None:
        found = [price.uri for price in source.fetch(region)]
        assert len(found) == len(set(found))

    def test_some_of_them_can_be_true(self, source: PricesSource, region: str) -> None:
        assert [price for price in source.fetch(region) if guards.of_row(price) is None]

    def test_accelerators_have_the_names_that_are_asked_for(self, source: PricesSource, region: str) -> None:
        assert [price for price in source.fetch(region) if accelerators.spec(price.accelerator)]

    def test_a_region_that_does_not_exist_is_an_error_of_ours(self, source: PricesSource, no_region: str) -> None:
        with pytest.raises(LabError):
            source.fetch(no_region)
