import pytest

from aiinfra_lab.cost import prices
from aiinfra_lab.cost.accelerators import fits
from aiinfra_lab.gpu import Offer

TABLE = [
    ("A100", "A100", True),
    ("A100", "A100-40GB", True),
    ("A100", "A100-SXM4-80GB", True),
    ("a100-sxm4", "A100-SXM4-80GB", True),
    ("A100-80GB", "A100-SXM4-80GB", True),
    ("A100-80GB", "A100-40GB", False),
    ("a100-sxm4", "A100-PCIE-40GB", False),
    ("A10", "A10G", False),
    ("A10G", "A10", False),
    ("a10g", "A10G", True),
    ("H100", "H100-80GB-HBM3", True),
    ("H100", "H200", False),
    ("L4", "L40S", False),
    ("cpu", "cpu", True),
    ("cpu", "T4", False),
]


@pytest.mark.parametrize(("wanted", "offered", "is_it"), TABLE)
def test_what_fits_what(wanted, offered, is_it):
    assert fits(wanted, offered) is is_it


@pytest.mark.parametrize(("wanted", "offered", "is_it"), TABLE)
def test_a_machine_and_a_price_are_matched_alike(workspace, wanted, offered, is_it):
    price = prices.Price(
        uri="cost:x.y", provider="x", type="y", accelerator=offered, count=1, usd_per_hour=1.0, spot_low_usd=None,
        spot_high_usd=None, region="r", source="s", as_of="2026-01-01",
    )  # fmt: skip
    assert bool(list(prices.having(wanted, [price]))) is Offer(offered, 1.0).is_a(wanted) is is_it
