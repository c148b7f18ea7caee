import doctest

import pytest

from aiinfra_lab.cost import accelerators, prices
from aiinfra_lab.gpu import Offer

TABLE = [
    # wanted, offered, whether it is what was asked for
    ("A100", "A100-40GB", True),
    ("A100", "A100-SXM4-80GB", True),
    ("a100-sxm4", "A100-SXM4-80GB", True),
    ("A100-80GB", "A100-SXM4-80GB", True),
    ("a100-80gb-sxm4", "A100-SXM4-80GB", True),
    ("A100 80GB", "A100-SXM4-80GB", True),
    ("A100-SXM4-80GB", "A100-80GB", False),
    ("A100-80GB", "A100-40GB", False),
    ("A10", "A10G", False),
    ("A10G", "A10", False),
    ("H100", "GH100", False),
    ("H200", "GH200", False),
    ("H100", "H100-80GB-HBM3", True),
    ("L4", "L40S", False),
    ("T4", "T4g", False),
    ("TPU", "TPU-v5e", True),
    ("A6000", "RTX-A6000", True),
    ("cpu", "cpu", True),
    ("cpu", "A10G", False),
    ("", "A10G", False),
    ("-", "A10G", False),
]


@pytest.mark.parametrize(("wanted", "offered", "fits"), TABLE)
def test_an_accelerator_is_what_was_asked_for_when_it_has_every_part_of_the_name(wanted, offered, fits):
    assert accelerators.fits(wanted, offered) is fits


@pytest.mark.parametrize(("wanted", "offered", "fits"), TABLE)
def test_offers_and_prices_ask_the_same(wanted, offered, fits):
    price = prices.Price(
        uri="cost:x.a",
        provider="x",
        type="a",
        accelerator=offered,
        count=1,
        usd_per_hour=1.0,
        spot_low_usd=None,
        spot_high_usd=None,
        region="r",
        source="s",
        as_of="2999-01-01",
    )
    assert list(prices.having(wanted, [price])) == [price] * fits
    assert Offer(offered, 1.0).fits(wanted) is fits


def test_a_price_is_built_by_the_names_of_its_fields():
    with pytest.raises(TypeError):
        prices.Price("cost:x.a", "x", "a", "T4", 1, 1.0, None, None, "r", "s", "2999-01-01")


def test_the_examples_in_the_documentation_are_right():
    assert doctest.testmod(accelerators) == (0, 1)
