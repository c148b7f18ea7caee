"""Today's prices of AWS: its price list for machines on demand, its spot price history for each zone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from ..config import Settings
from ..errors import Denied, Missing, Unavailable
from . import accelerators, specs
from .prices import Price, uri_of

# The price list is answered in a few regions, for all.
PRICING_REGION = "us-east-1"
USUAL_REGION = "us-east-1"
# AWS has about a thousand types: a source that goes on answering would never end.
MOST_TYPES, MOST_PRODUCTS, MOST_SPOTS = 5_000, 5_000, 20_000
_BOUNDS = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
# Of an hour on Linux, shared, without software: what a machine that nobody reserved costs.
_PRODUCT = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
_NEEDS = "ec2:DescribeInstanceTypes, ec2:DescribeSpotPriceHistory and pricing:GetProducts"
_DENIED = ("AccessDenied", "AuthFailure", "Expired", "InvalidClientTokenId", "OptInRequired", "Unauthorized",
           "Unrecognized", "SignatureDoesNotMatch")  # fmt: skip

_NO_ZONE: list[tuple[str, float | None]] = [("", None)]

Machines = Mapping[str, tuple[str, float]]
"""Type → the name and the number of its accelerators."""


class AwsPrices:
    """See `PricesSource` for the contract. Credentials and region are those that boto3 finds."""

    def __init__(self, where: Settings) -> None:
        pass

    def regions(self) -> Sequence[str]:
        return [boto3.Session().region_name or USUAL_REGION]

    def fetch(self, region: str) -> Sequence[Price]:
        with _explained(region):
            # A session of its own: boto3's default one would never read credentials again, once it has some.
            session = boto3.Session()
            ec2 = session.client("ec2", region_name=region, config=_BOUNDS)
            machines = _machines(ec2)
            if not machines:
                return []
            usual = _on_demand(session.client("pricing", region_name=PRICING_REGION, config=_BOUNDS), region)
            spots = _spots(ec2, sorted(machines.keys() & usual.keys()))
        today = dt.datetime.now(dt.UTC).date().isoformat()
        return [
            _price(name, accelerator, count, usual[name], spot, region, zone, today)
            for name, (accelerator, count) in sorted(machines.items())
            if name in usual
            for zone, spot in sorted(spots.get(name, {}).items()) or _NO_ZONE
        ]


def _machines(ec2: Any) -> Machines:
    pages = ec2.get_paginator("describe_instance_types").paginate(
        PaginationConfig={"MaxItems": MOST_TYPES, "PageSize": 100}
    )
    found = {each["InstanceType"]: _accelerators(each) for page in pages for each in page["InstanceTypes"]}
    return {name: has for name, has in found.items() if has}


def _accelerators(machine: Mapping[str, Any]) -> tuple[str, float] | None:
    """The name in our table and the number of a type's accelerators; None where it has none."""
    for gpu in machine.get("GpuInfo", {}).get("Gpus", ()):
        return _name(gpu["Name"], gpu["MemoryInfo"]["SizeInMiB"] / 1024), _gpus(gpu)
    for device in machine.get("NeuronInfo", {}).get("NeuronDevices", ()):
        return device["Name"], float(device["Count"])
    return None


def _gpus(gpu: Mapping[str, Any]) -> float:
    """How many, or which share of one: of a partition, `Count` is 0."""
    logical, share = gpu.get("LogicalGpuCount") or gpu.get("Count", 0), gpu.get("GpuPartitionSize") or 1.0
    return float(logical) if 0 < logical < 1 else float(logical or 1) * share if share < 1 else float(logical)


def _name(name: str, gib: float) -> str:
    """EC2 calls both kinds of A100 alike."""
    kinds = [each for each in specs.ACCELERATORS if accelerators.fits(name, each.name)]
    nearest = min(kinds, key=lambda each: abs(each.memory_gib - gib), default=None)
    return nearest.name if nearest else name.replace(" ", "-")


def _on_demand(pricing: Any, region: str) -> Mapping[str, float]:
    """Type → USD an hour."""
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value}
        for name, value in {**_PRODUCT, "regionCode": region}.items()
    ]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", Filters=filters, PaginationConfig={"MaxItems": MOST_PRODUCTS, "PageSize": 100}
    )
    found: dict[str, float] = {}
    for page in pages:
        for text in page["PriceList"]:
            product = json.loads(text)
            usd = _usd(product)
            if usd is not None:
                # Two products of one type differ in what is not asked for here: the dearer one surprises nobody.
                name = product["product"]["attributes"]["instanceType"]
                found[name] = max(usd, found.get(name, -math.inf))
    return found


def _usd(product: Mapping[str, Any]) -> float | None:
    """The price of an hour, of a product that is billed by the hour."""
    terms = product.get("terms", {}).get("OnDemand", {}).values()
    for dimension in (each for term in terms for each in term["priceDimensions"].values()):
        if dimension["unit"] == "Hrs" and "USD" in dimension["pricePerUnit"]:
            return float(dimension["pricePerUnit"]["USD"])
    return None


def _spots(ec2: Any, names: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Type → zone → USD an hour at this moment."""
    if not names:
        return {}
    now = dt.datetime.now(dt.UTC)
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(names),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,
        EndTime=now,
        PaginationConfig={"MaxItems": MOST_SPOTS},
    )
    newest: dict[tuple[str, str], tuple[dt.datetime, float]] = {}
    for each in (each for page in pages for each in page["SpotPriceHistory"]):
        key, value = (each["InstanceType"], each["AvailabilityZone"]), (each["Timestamp"], float(each["SpotPrice"]))
        newest[key] = max(value, newest.get(key, value))
    found: dict[str, dict[str, float]] = {}
    for (name, zone), (_, usd) in newest.items():
        found.setdefault(name, {})[zone] = usd
    return found


def _price(
    name: str, accelerator: str, count: float, usd: float, spot: float | None, region: str, zone: str, today: str
) -> Price:
    return Price(
        uri=uri_of("aws", name, zone or region),
        provider="aws",
        type=name,
        accelerator=accelerator,
        count=count,
        usd_per_hour=usd,
        spot_low_usd=spot,
        spot_high_usd=spot,
        region=region,
        zone=zone,
        source="AWS price list" + (" and spot price history" if zone else ""),
        as_of=today,
    )


@contextlib.contextmanager
def _explained(region: str) -> Iterator[None]:
    """What boto3 raises, as our errors."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as problem:
        what = f"AWS was not asked for prices in {region}: {problem}"
        raise Missing(what, "give credentials as boto3 reads them, e.g. AWS_PROFILE or `aws configure`") from problem
    except ClientError as problem:
        code, message = (problem.response["Error"].get(key, "") for key in ("Code", "Message"))
        what = f"AWS gave no prices in {region}: {code}: {message}"
        if code.startswith(_DENIED):
            raise Denied(what, f"the credentials need {_NEEDS}, and the region must be enabled") from problem
        raise Unavailable(what, "repeat in a minute") from problem
    except BotoCoreError as problem:
        what = f"AWS cannot be reached in {region}: {problem}"
        raise Unavailable(what, "check the region's name and the network, then repeat") from problem
