"""Price tables as dirty as public ones, requests for machines, and the answer by looking at every row.

The answer is written without the code that it judges: names, slices, memory and guards are compared here once more.
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from aiinfra_lab.cost.accelerators import Alternative
from aiinfra_lab.cost.prices import Price
from aiinfra_lab.cost.wanted import Wanted

TODAY, OLD, STALE_BEFORE = "2026-11-20", "2026-06-01", "2026-05-01"
STALE = "2025-06-01"
# Accelerator → GiB, USD an hour of one, and what of it can be cut: profile → GiB, and how many there can be.
KINDS: dict[str, tuple[float, float, dict[str, tuple[float, int]]]] = {
    "T4": (16, 0.5, {}),
    "A10G": (24, 1.0, {}),
    "L4": (24, 0.8, {}),
    "L40S": (48, 1.9, {}),
    "A100-40GB": (40, 2.7, {"1g.5gb": (5, 7), "1g.10gb": (10, 4), "2g.10gb": (10, 3), "3g.20gb": (20, 2)}),
    "A100-80GB": (80, 3.4, {"1g.10gb": (10, 7), "2g.20gb": (20, 3), "3g.40gb": (40, 2)}),
    "H100": (80, 6.9, {"1g.10gb": (10, 7), "1g.20gb": (20, 4), "4g.40gb": (40, 1)}),
    "H200": (141, 7.9, {"1g.18gb": (18, 7), "3g.71gb": (71, 2)}),
    "B200": (180, 14.0, {"1g.23gb": (23, 7)}),
    "Trainium": (32, 1.3, {}),
    "TPU-v5e": (16, 1.2, {}),
    "X9000": (math.nan, 0.9, {}),  # of which nobody knows the memory
}
POISONS = ("zero", "negative", "blank", "endless", "count 0", "dedicated", "older")
SPOT_POISONS = ("on demand", "on demand, rounded", "dearer", "floor", "floor, rounded", "nothing")


@dataclass(frozen=True)
class Row:
    """A price, and what is wrong with it and with its spot price."""

    price: Price
    wrong: str = ""
    spot_wrong: str = ""


@dataclass(frozen=True)
class Asked:
    """What a request asks for, as `choose` takes it and as it is compared here: name, count or share, profile."""

    ones: tuple[tuple[str, float, str], ...]
    options: dict[str, Any]

    @property
    def wanted(self) -> Wanted:
        return Wanted(tuple(Alternative(*one) for one in self.ones))


def rows(count: int, dice: random.Random) -> list[Row]:
    """A table of about so many rows: zones of regions of types, a tenth of them wrong in each of the ways."""
    found: list[Row] = []
    number = 0
    while len(found) < count:
        number += 1
        name = dice.choice(list(KINDS))
        counts = [1, 1, 1, 2, 4, 8, 16] + ([0.125, 0.25, 0.5] if name in ("L4", "A10G") else [])
        provider, how_many = dice.choice(("aws", "azure", "gcp", "lambda")), dice.choice(counts)
        as_of = dice.choice((TODAY, TODAY, STALE))
        for region in range(dice.randint(1, 12)):
            usd = round(KINDS[name][1] * how_many * dice.uniform(0.7, 1.8), 5)
            zones = [""] if dice.random() < 0.2 else [f"r{region}-{zone}" for zone in "abc"[: dice.randint(1, 3)]]
            for zone in zones:
                spot = None if dice.random() < 0.3 else round(usd * dice.uniform(0.15, 0.9), 4)
                given = (provider, f"t{number}", name, how_many, usd, spot, f"r{region}", zone, as_of)
                found += _soiled(given, dice)
    dice.shuffle(found)
    return found[:count]


def _soiled(given: tuple[Any, ...], dice: random.Random) -> list[Row]:
    provider, name, accelerator, count, usd, spot, region, zone, as_of = given

    def row(usd: float, spot: float | None, wrong: str = "", spot_wrong: str = "", **other: Any) -> Row:
        high = spot if zone or spot is None else round(spot * 1.05, 4)
        fields: dict[str, Any] = {"count": count, "as_of": as_of} | other
        place = f"{zone or region}{wrong and f'-{wrong}'}"
        price = Price(
            uri=f"cost:{provider}.{name}.{place}", provider=provider, type=name, accelerator=accelerator,
            usd_per_hour=usd, spot_low_usd=spot, spot_high_usd=spot if spot_wrong else high, region=region, zone=zone,
            source="bench", **fields,
        )  # fmt: skip
        return Row(price, wrong, spot_wrong)

    if dice.random() > 0.1:
        return [row(usd, spot)]
    kind = dice.choice(POISONS + SPOT_POISONS)
    if kind in ("dedicated", "older"):
        # Beside a row that is right, of the same machine.
        twin = row(usd * 1.1, spot, kind) if kind == "dedicated" else row(usd / 2, spot, kind, as_of="2024-01-01")
        return [row(usd, spot), twin]
    if kind == "count 0":
        return [row(usd / 100, None, kind, count=0.0)]
    if kind in POISONS:
        wrong_usd = {"zero": 0.0, "negative": -usd, "blank": math.nan, "endless": math.inf}[kind]
        return [row(wrong_usd, spot, kind)]
    spots = {"on demand": usd, "on demand, rounded": round(usd, 4), "dearer": usd * 1.2,
             "floor": usd / 10, "floor, rounded": round(usd / 10, 4), "nothing": 0.0}  # fmt: skip
    return [row(usd, spots[kind], spot_wrong=kind)]


def requests(count: int, dice: random.Random) -> list[Asked]:
    """So many requests of all forms."""
    return [_request(dice) for _ in range(count)]


def _request(dice: random.Random) -> Asked:
    ones = tuple(_one(dice) for _ in range(dice.choice((1, 1, 1, 2, 3))))
    options: dict[str, Any] = {"spot": dice.random() < 0.5, "may_fall_back": dice.random() < 0.5}
    if dice.random() < 0.3:
        options["memory_gib"] = dice.choice((8, 16, 20, 24, 40, 80))
    if dice.random() < 0.3:
        options["providers"] = dice.sample(("aws", "azure", "gcp", "lambda"), dice.randint(1, 3))
    if dice.random() < 0.3:
        options["places"] = dice.sample([f"r{number}" for number in range(12)] + ["r1-a", "r2-b"], dice.randint(1, 4))
    if dice.random() < 0.8:
        options["for_s"] = dice.choice((1, 59, 60, 61, 600, 3599, 3600, 28_800, 86_400)) * dice.uniform(0.9, 1.1)
    if dice.random() < 0.6:
        options["budget_usd"] = round(math.exp(dice.uniform(math.log(0.01), math.log(2000))), 2)
    return Asked(ones, options)


def _one(dice: random.Random) -> tuple[str, float, str]:
    name = dice.choice([*KINDS, "A100"])
    profiles = KINDS["A100-80GB" if name == "A100" else name][2]
    if profiles and dice.random() < 0.3:
        return name, float(dice.choice((1, 2, 4, 8, 15))), dice.choice(list(profiles))
    return name, dice.choice((1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 0.25, 0.5)), ""


def cheapest(table: list[Row], asked: Asked) -> tuple[float, float] | None:
    """What the best costs an hour, now and at worst, by looking at every row; None when there is none."""
    best: tuple[float, float] | None = None
    for row in true_rows(table):
        cost = _cost(row, asked)
        if cost is not None and (best is None or cost < best):
            best = cost
    return best


def _cost(row: Row, asked: Asked) -> tuple[float, float] | None:
    price, options = row.price, asked.options
    least_gib = options.get("memory_gib")
    if not any(_satisfies(price, one, least_gib) for one in asked.ones):
        return None
    if price.provider not in options.get("providers", (price.provider,)):
        return None
    if not {price.region, price.zone} & set(options.get("places", (price.region,))):
        return None
    usd, worst = price.usd_per_hour, price.usd_per_hour
    if options["spot"]:
        if price.spot_high_usd is None or row.spot_wrong:
            return None
        usd = price.spot_high_usd
        worst = usd if not options["may_fall_back"] and price.as_of >= STALE_BEFORE else worst
    minutes = max(1, math.ceil(round(options.get("for_s", 0) / 60, 9)))
    if "budget_usd" in options and worst * minutes / 60 > options["budget_usd"] + 1e-9:
        return None
    return usd, worst


def _satisfies(price: Price, one: tuple[str, float, str], least_gib: float | None) -> bool:
    name, count, profile = one
    if price.accelerator != name and not (name == "A100" and price.accelerator.startswith("A100-")):
        return False
    gib, _, cut = KINDS[price.accelerator]
    if profile:
        if profile not in cut:
            return False
        gib, most = cut[profile]
        return price.count * most >= count and price.count >= 1 and (least_gib is None or gib >= least_gib)
    return price.count >= count and (least_gib is None or gib * min(1, price.count) >= least_gib)


def true_rows(table: list[Row]) -> list[Row]:
    """Those that were made without a mistake in the price on demand."""
    return [row for row in table if not row.wrong]


def orphans(table: list[Row]) -> list[Row]:
    """The table without rows that can only be told beside a twin that `rows` cut off."""
    beside: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for row in table:
        beside[row.price.machine] += not row.wrong
    return [row for row in table if row.wrong not in ("dedicated", "older") or beside[row.price.machine]]
