"""AWS's prices, of a price list on loopback; what `%cost get --refresh` does with them."""

import pytest

from aiinfra_lab import cost
from aiinfra_lab.config import settings
from aiinfra_lab.cost import prices
from aiinfra_lab.cost.aws import AwsPrices
from aiinfra_lab.errors import Conflict, Denied, Missing, Unavailable, UsageProblem
from aiinfra_lab.testing.cost import PricesSourceContract
from tests.fakes import aws_prices
from tests.fakes.aws_prices import KEY, Aws, Machine, gpu, neuron

EAST, WEST = "us-east-1", "us-west-2"


def machines() -> list[Machine]:
    return [
        Machine("m7i.large", usd={EAST: 0.1008, WEST: 0.1008}, spots={"us-east-1a": (0.03,)}),
        Machine("g5.xlarge", gpu("A10G", 1, 24576), {EAST: 1.006}, {"us-east-1a": (0.61, 0.42), "us-east-1b": (0.5,)}),
        Machine("p4d.24xlarge", gpu("A100", 8, 40960), {EAST: 21.9576, WEST: 21.9576}),
        Machine("p4de.24xlarge", gpu("A100", 8, 81920), {EAST: 27.447, WEST: 27.447}, {"us-west-2c": (9.9,)}),
        Machine(
            "g6f.2xlarge",
            gpu("L4", 0, 5722, "<logicalGpuCount>1</logicalGpuCount><gpuPartitionSize>0.25</gpuPartitionSize>"),
            {EAST: 0.4, WEST: 0.4},
        ),
        Machine("trn2.48xlarge", neuron("Trainium2", 16), {EAST: ""}, {"us-east-1a": (12.0,)}),
        Machine("inf2.xlarge", neuron("Inferentia2", 1), {EAST: 0.7582}, {"us-east-1a": (0.7582,)}),
    ]


@pytest.fixture
def aws(workspace, monkeypatch):
    """A price list that answers, and credentials that it knows."""
    known = Aws(machines())
    with aws_prices.serving(known) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(workspace / "no-such-file"))
        yield known


class TestAws(PricesSourceContract):
    @pytest.fixture
    def source(self, aws):
        aws.failing["nowhere-1"] = ("AuthFailure", 401)
        return AwsPrices(settings())

    @pytest.fixture
    def region(self):
        return EAST


def fetched(region: str = EAST) -> dict[str, prices.Price]:
    return {f"{price.type} {price.zone}".strip(): price for price in AwsPrices(settings()).fetch(region)}


def test_a_machine_has_a_price_for_each_zone_with_a_spot_price_and_else_one(aws):
    found = {name: (price.usd_per_hour, price.spot_high_usd) for name, price in fetched().items()}
    assert found == {
        "g5.xlarge us-east-1a": (1.006, 0.42),
        "g5.xlarge us-east-1b": (1.006, 0.5),
        "g6f.2xlarge": (0.4, None),
        "inf2.xlarge us-east-1a": (0.7582, 0.7582),
        "p4d.24xlarge": (21.9576, None),
        "p4de.24xlarge": (27.447, None),
    }


def test_accelerators_are_called_as_in_the_table_and_shares_are_counted(aws):
    found = {price.type: (price.accelerator, price.count) for price in fetched().values()}
    assert found == {
        "g5.xlarge": ("A10G", 1),
        "g6f.2xlarge": ("L4", 0.25),
        "inf2.xlarge": ("Inferentia2", 1),
        "p4d.24xlarge": ("A100-40GB", 8),
        "p4de.24xlarge": ("A100-80GB", 8),
    }


@pytest.mark.parametrize(
    "other",
    [
        {"tenancy": "Dedicated", "usd": "1.1066"},
        {"operatingSystem": "Windows", "usd": "1.19"},
        {"preInstalledSw": "SQL Std", "usd": "2.0"},
        {"capacitystatus": "UnusedCapacityReservation", "usd": "2.0"},
        {"marketoption": "CapacityBlock", "usd": "0.0"},
        {"unit": "Quantity", "usd": "9.0"},
        {"usd": "0.0"},
    ],
)
def test_what_else_is_sold_under_a_types_name_is_not_its_price(aws, other):
    aws.products.append({"instanceType": "g5.xlarge", "regionCode": EAST, **other})
    assert fetched()["g5.xlarge us-east-1a"].usd_per_hour == 1.006


def test_a_region_without_such_machines_has_no_prices_and_the_price_list_is_not_asked(aws):
    assert AwsPrices(settings()).fetch("eu-west-9") == []
    assert aws.asked == ["DescribeInstanceTypes eu-west-9"]


@pytest.mark.parametrize(
    ("code", "status", "kind", "fix"),
    [
        ("UnauthorizedOperation", 403, Denied, "pricing:GetProducts"),
        ("AuthFailure", 401, Denied, "region must be enabled"),
        ("RequestLimitExceeded", 503, Unavailable, "repeat"),
    ],
)
def test_what_aws_refuses_is_an_error_with_a_fix(aws, code, status, kind, fix):
    aws.failing[EAST] = (code, status)
    with pytest.raises(kind, match=code) as problem:
        fetched()
    assert fix in problem.value.fix


def test_without_credentials_it_says_how_to_give_some(aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Missing, match="credentials") as problem:
        fetched()
    assert "aws configure" in problem.value.fix


def test_what_cannot_be_reached_says_so(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached in us-east-1"):
        fetched()


def test_a_region_is_that_of_the_account_where_nobody_says_one(aws, monkeypatch):
    assert AwsPrices(settings()).regions() == [EAST]
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert AwsPrices(settings()).regions() == ["eu-west-1"]


# ---- the workspace's own table ----


def test_fetched_prices_count_beside_the_shipped_ones_which_stay_as_they_were(aws):
    before, shipped = len(prices.table()), prices.SHIPPED.read_bytes()
    found = cost.get(refresh=True, region=[EAST])
    mine = [price for price in found if price.source.startswith("AWS")]
    assert {price.region for price in mine} == {EAST}
    assert not any(price.stale for price in mine)
    assert [price.spot_high_usd for price in mine if price.type == "g5.xlarge"] == [0.42, 0.5]
    # What was shipped of the same machines in that region gave way.
    assert [price.type for price in found if price.region == EAST and price.type == "g5.xlarge"] == ["g5.xlarge"] * 2
    assert len(found) > before
    assert prices.SHIPPED.read_bytes() == shipped
    assert "6 prices of us-east-1 fetched" in found.card().text()


def test_a_spot_price_that_no_market_made_is_kept_as_unknown(aws):
    (found,) = (price for price in cost.get(refresh=True, region=[EAST]) if price.type == "inf2.xlarge" and price.zone)
    assert (found.spot_high_usd, found.usd_per_hour) == (None, 0.7582)


def test_a_region_that_is_fetched_again_replaces_what_it_had_and_no_other(aws):
    cost.get(refresh=True, region=[EAST, WEST])
    aws.machines[1].usd = {EAST: 2.0}
    cost.get(refresh=True, region=[EAST])
    mine = prices.read(prices.fetched_path())
    assert {price.usd_per_hour for price in mine if price.type == "g5.xlarge"} == {2.0}
    assert {price.region for price in mine} == {EAST, WEST}
    assert len(mine) == len({price.uri for price in mine})


def test_a_region_that_has_no_such_machine_any_more_has_no_price(aws):
    cost.get(refresh=True, region=[EAST, WEST])
    for machine in aws.machines:
        machine.usd.pop(WEST, None)
    assert "us-west-2 has no such machine" in cost.get(refresh=True, region=[WEST]).card().text().replace("Us-", "us-")
    assert {price.region for price in prices.read(prices.fetched_path())} == {EAST}


def test_a_region_that_cannot_be_reached_says_so_and_the_others_are_kept(aws):
    cost.get(refresh=True, region=[WEST])
    aws.failing[WEST] = ("RequestLimitExceeded", 503)
    text = cost.get(refresh=True, region=[EAST, WEST]).card().text()
    assert "us-west-2 was not fetched, what is known of it stays: AWS gave no prices" in text.replace("Us-", "us-")
    assert {price.region for price in prices.read(prices.fetched_path())} == {EAST, WEST}


def test_when_none_can_be_reached_nothing_is_written(aws):
    aws.failing[EAST] = ("RequestLimitExceeded", 503)
    with pytest.raises(Unavailable, match="RequestLimitExceeded"):
        cost.get(refresh=True)
    assert not prices.fetched_path().exists()


def test_too_many_regions_at_once_are_refused_before_anybody_is_asked(aws):
    with pytest.raises(UsageProblem, match="9 regions"):
        cost.get(refresh=True, region=[f"r-{number}" for number in range(9)])
    assert aws.asked == []


def test_a_table_of_ones_own_counts_alone_and_a_refresh_says_so(aws, workspace, monkeypatch):
    (workspace / "mine.csv").write_text(prices.written(prices.table()[:1]))
    monkeypatch.setenv("AIINFRA_COST_PRICES", "mine.csv")
    found = cost.get(refresh=True, region=[EAST])
    assert len(found) == 1
    assert "which alone counts here" in found.card().text()


def test_the_table_is_handed_over_and_written_without_asking_anybody(aws, workspace):
    found = cost.get(into="prices-now.csv")
    assert len(found.df()) == len(prices.table())
    with pytest.raises(Conflict):
        cost.get(into="prices-now.csv")
    assert aws.asked == []


@pytest.mark.parametrize("flags", [{"region": [EAST]}, {"on": "aws"}])
def test_where_to_fetch_means_nothing_without_fetching(workspace, flags):
    with pytest.raises(UsageProblem, match="say where to fetch"):
        cost.get(**flags)
