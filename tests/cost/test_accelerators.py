import doctest

import pytest

from aiinfra_lab.cost import accelerators, prices, specs
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
    ("A10G or L4", "L4", True),
    ("A10G | L4", "A10G", True),
    ("A10G or L4", "T4", False),
    ("1/4 L4", "L4", True),
    ("2x L4", "L4", False),
    ("Trainium 2", "Trainium2", True),
    ("Trainium1", "Trainium", True),
    ("Trainium", "Trainium2", False),
    ("TPU v5e", "TPU-v5e", True),
    ("v5p", "TPU-v5e", False),
    ("A100-80GB 1g.10gb", "A100-SXM4-80GB", True),
    ("A100-80GB 1g.5gb", "A100-80GB", False),
    ("A100 1g.10gb", "A100-40GB", True),
    ("A100", "A100-80GB-1g.10gb", False),
    ("A100 1g.10gb", "A100-80GB-1g.10gb", True),
    ("A100 1g.20gb", "A100-80GB-1g.10gb", False),
    ("A10G 1g.5gb", "A10G", False),
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


@pytest.mark.parametrize(
    ("wanted", "offered", "count", "fits"),
    [
        ("L4", "L4", 0.25, False),
        ("1/4 L4", "L4", 0.25, True),
        ("1/4 of an L4", "L4", 0.125, False),
        ("1/3 L4", "L4", 0.333, True),
        ("2x A100", "A100-40GB", 2, True),
        ("2xA100", "A100-40GB", 1, False),
        ("2 A100", "A100-40GB", 8, True),
        # Seven slices of a kind have room on one GPU, the eighth needs another.
        ("7x H100 1g.10gb", "H100", 1, True),
        ("8x H100 1g.10gb", "H100", 1, False),
        ("8x H100 1g.10gb", "H100", 2, True),
        ("3x H100 1g.10gb", "H100-1g.10gb", 2, False),
        ("H100 1g.10gb", "H100", 0.5, False),
    ],
)
def test_a_machine_with_enough_of_them_is_what_was_asked_for(wanted, offered, count, fits):
    assert accelerators.fits(wanted, offered, count) is fits


@pytest.mark.parametrize(
    ("wanted", "offered", "count", "gib"),
    [
        ("L4", "L4", 1, 24),
        ("L4", "L4", 8, 24),
        ("1/4 L4", "L4", 0.25, 6),
        ("H200 1g.18gb", "H200", 8, 18),
        ("A100", "A100-80GB-3g.40gb", 1, 40),
        ("Z80", "Z80", 1, None),
    ],
)
def test_the_memory_of_what_was_asked_for(wanted, offered, count, gib):
    (only,) = accelerators.alternatives(wanted)
    assert only.memory_gib(offered, count) == gib


def test_slices_have_the_memory_of_their_name_and_fit_on_their_gpu():
    for gpu in specs.ACCELERATORS:
        for profile in gpu.profiles:
            slices, _, gib = profile.name.partition("g.")
            assert (profile.compute.numerator * 7 // profile.compute.denominator, profile.memory_gib) == (
                int(slices),
                int(gib.partition("gb")[0]),
            )
            assert profile.instances * profile.compute <= 1
            # Names round: an H200's 3g.71gb is half of 141 GiB.
            assert profile.instances * profile.memory_gib <= gpu.memory_gib + 1
    assert [gpu.name for gpu in specs.ACCELERATORS if gpu.profiles] == [
        "A100-40GB",
        "A100-80GB",
        "B200",
        "H100",
        "H200",
    ]


def test_names_are_in_order_and_no_two_mean_the_same():
    assert list(specs.names()) == sorted(specs.names(), key=lambda name: name.lower().replace("-", ""))
    for gpu in specs.ACCELERATORS:
        assert all(accelerators.spec(name) is gpu for name in (gpu.name, *gpu.also))


def test_a_price_is_built_by_the_names_of_its_fields():
    with pytest.raises(TypeError):
        prices.Price("cost:x.a", "x", "a", "T4", 1, 1.0, None, None, "r", "s", "2999-01-01")


def test_the_examples_in_the_documentation_are_right():
    assert doctest.testmod(accelerators) == (0, 2)
