"""The rows of machines with accelerators: choosing, renting, keeping and ending them."""

import random
import statistics
import time
from collections.abc import Iterator

from aiinfra_lab.cost.choice import choose
from aiinfra_lab.cost.prices import SHIPPED, Catalogue, read

from . import _anywhere, _choice, _cut_links, _ends, _feels_local, _idle, _many, _renting, _sync, _taken
from .rows import Figure, at_least, at_most, exactly, row

__all__ = [
    "_anywhere",
    "_cut_links",
    "_ends",
    "_feels_local",
    "_idle",
    "_many",
    "_renting",
    "_sync",
    "_taken",
]  # whose rows are registered by the import
ROWS, REQUESTS, SEED = 50_000, 1000, 8


@row("gpu.8", "the cheapest machine, of 50,000 dirty rows", "that of a search of all rows; <= 50 ms a request")
def cheapest(full: bool) -> Iterator[Figure]:
    """1,000 requests against every row, looked at by code of its own; and what knowing the zone saves."""
    dice = random.Random(SEED)
    table = _choice.orphans(_choice.rows(ROWS, dice))
    began = time.process_time()
    catalogue = Catalogue.of(row.price for row in table)
    made_s = time.process_time() - began
    true = _choice.true_rows(table)
    wrong = {id(row.price) for row in table if row.wrong}
    wrong_spot = {row.price.uri for row in table if row.spot_wrong}
    differ = poisoned = unexplained = none = 0
    cpu_ms, wall_ms = [], []
    for asked in _choice.requests(REQUESTS, dice):
        wanted = asked.wanted
        cpu, began = time.process_time(), time.perf_counter()
        found = choose(catalogue, wanted, stale_before=_choice.STALE_BEFORE, **asked.options)
        cpu_ms.append((time.process_time() - cpu) * 1000)
        wall_ms.append((time.perf_counter() - began) * 1000)
        best = found.offers[0] if found.offers else None
        costs = (best.usd_per_hour, best.worst_usd_per_hour) if best else None
        none += best is None
        differ += costs != _choice.cheapest(true, asked)
        poisoned += sum(id(offer.price) in wrong for offer in found.offers)
        poisoned += sum(offer.spot and offer.price.uri in wrong_spot for offer in found.offers)
        unexplained += found.fitting + sum(each.rows for each in found.why_not) != len(table)
    note = f"{len(table):,} rows, {len(table) - len(true):,} of them wrong, {len(wrong_spot):,} with a wrong spot price"
    yield Figure("requests whose cost is not that of the search", differ, "requests", exactly(0), note=note)
    yield Figure("wrong rows chosen", poisoned, "offers", exactly(0), note=f"{none} requests have no machine")
    yield Figure("requests with rows that nothing explains", unexplained, "requests", exactly(0))
    wall = f"p50 {statistics.median(cpu_ms):.1f} ms, wall {max(wall_ms):.0f} ms at most"
    made = f"{wall}; the catalogue, once: {made_s:.2f} s"
    yield Figure("a request, the slowest of 1,000", max(cpu_ms), "ms CPU", at_most(50), note=made)
    yield _by_zone()


def _by_zone() -> Figure:
    """p5.48xlarge in us-east-1 as the shipped table has it: the cheapest zone beside any of them."""
    zones = [price for price in read(SHIPPED) if price.machine == ("aws", "p5.48xlarge", "us-east-1")]
    best = choose(zones, spot=True).best()
    usual = statistics.mean(price.spot_high_usd or price.usd_per_hour for price in zones)
    saved = (1 - best.usd_per_hour / usual) * 100
    note = f"{best}: {best.usd_per_hour:.2f} USD an hour, a zone by chance {usual:.2f}"
    return Figure("saved by knowing the zone", saved, "%", at_least(40), note=note)
