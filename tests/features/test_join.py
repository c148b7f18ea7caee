"""The join itself, on frames: nothing later, nothing lost, nothing left to chance."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.features import view
from aiinfra_lab.features.join import Events, point_in_time, prepare

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def events(frame: pl.DataFrame, ttl: str | None = None, known_at: str | None = None, entity: object = "k") -> Events:
    return prepare(view(entity=entity, timestamp="t", ttl=ttl, known_at=known_at)(lambda: frame), frame)


def joined(rows: pl.DataFrame, of: Events) -> list[object]:
    return point_in_time(rows, "at", of)[of.features[0]].to_list()


ONE = pl.DataFrame({"k": ["a", "a", "b"], "t": [at(0), at(10), at(5)], "x": [1.0, 2.0, 3.0]})


def ask(*pairs: tuple[object, datetime | None]) -> pl.DataFrame:
    keys, times = zip(*pairs, strict=True)
    return pl.DataFrame({"k": keys, "at": times}, schema_overrides={"at": pl.Datetime("us", "UTC")}, strict=False)


def test_the_newest_that_was_known_at_the_time_counts():
    rows = ask(("a", at(9)), ("a", at(11)), ("b", at(9)))
    assert joined(rows, events(ONE)) == [1.0, 2.0, 3.0]


def test_what_happens_at_the_very_time_counts_and_a_microsecond_later_does_not():
    rows = ask(("a", at(10)), ("a", at(10) - timedelta(microseconds=1)))
    assert joined(rows, events(ONE)) == [2.0, 1.0]


def test_an_event_some_nanoseconds_after_the_row_does_not_count():
    late = pl.DataFrame({"k": ["a"], "t": [at(0)], "x": [1.0]}).with_columns(
        pl.col("t").cast(pl.Datetime("ns", "UTC")) + pl.duration(nanoseconds=1)
    )
    assert joined(ask(("a", at(0))), events(late)) == [None]


def test_every_row_stays_in_its_order():
    rows = ask(
        ("b", at(99)), ("nobody", at(1)), ("a", at(-1)), (None, at(9)), ("a", None), ("a", at(99)), ("a", at(99))
    )
    assert joined(rows, events(ONE)) == [3.0, None, None, None, None, 2.0, 2.0]


def test_a_value_lives_as_long_as_it_was_said_to():
    rows = ask(("b", at(65)), ("b", at(65) + timedelta(microseconds=1)))
    assert joined(rows, events(ONE, ttl="1h")) == [3.0, None]


def test_the_order_of_the_file_never_matters_even_among_ties():
    ties = pl.DataFrame({"k": ["a"] * 6, "t": [at(0)] * 6, "x": [3.0, None, 1.0, 2.0, 5.0, 4.0]})
    rows = ask(("a", at(1)))
    answers = {joined(rows, events(ties.sample(6, shuffle=True, seed=seed)))[0] for seed in range(10)}
    assert answers == {5.0}


def test_a_value_known_later_than_it_holds_is_not_used_before():
    told = pl.DataFrame({"k": ["a", "a"], "t": [at(0), at(10)], "seen": [at(1), at(30)], "x": [1.0, 2.0]})
    rows = ask(("a", at(0)), ("a", at(1)), ("a", at(29)), ("a", at(30)))
    assert joined(rows, events(told, known_at="seen")) == [None, 1.0, 1.0, 2.0]


def test_old_news_that_arrives_late_does_not_replace_newer():
    told = pl.DataFrame({"k": ["a", "a"], "t": [at(10), at(0)], "seen": [at(10), at(20)], "x": [2.0, 1.0]})
    assert joined(ask(("a", at(15)), ("a", at(25))), events(told, known_at="seen")) == [2.0, 2.0]


def test_a_correction_replaces_what_it_corrects_once_it_is_known():
    told = pl.DataFrame({"k": ["a", "a"], "t": [at(0), at(0)], "seen": [at(1), at(9)], "x": [1.0, 7.0]})
    assert joined(ask(("a", at(5)), ("a", at(9))), events(told, known_at="seen")) == [1.0, 7.0]


def test_time_to_live_counts_from_when_it_holds_not_from_when_it_was_known():
    told = pl.DataFrame({"k": ["a"], "t": [at(0)], "seen": [at(50)], "x": [1.0]})
    rows = ask(("a", at(60)), ("a", at(61)))
    assert joined(rows, events(told, ttl="1h", known_at="seen")) == [1.0, None]


def test_several_keys_are_one_entity():
    routes = pl.DataFrame({"k": ["a", "a"], "to": ["x", "y"], "t": [at(0), at(0)], "v": [1, 2]})
    rows = pl.DataFrame({"k": ["a", "a", "b"], "to": ["y", "x", "x"], "at": [at(1)] * 3})
    assert joined(rows, events(routes, entity=["k", "to"])) == [2, 1, None]


def test_times_in_any_zone_and_without_one_are_the_same_instants():
    zoned = ONE.with_columns(pl.col("t").dt.convert_time_zone("America/New_York"))
    naive = ask(("a", at(9)), ("a", at(10))).with_columns(pl.col("at").dt.replace_time_zone(None))
    assert joined(naive, events(zoned)) == [1.0, 2.0]


def test_whole_numbers_that_pandas_made_floats_are_still_keys():
    numbered = pl.DataFrame({"k": pl.Series([1, 2], dtype=pl.Int16), "t": [at(0)] * 2, "x": [1.0, 2.0]})
    rows = pl.DataFrame({"k": [2.0, float("nan"), None], "at": [at(1)] * 3})
    assert joined(rows, events(numbered)) == [2.0, None, None]


def test_not_a_number_is_missing_and_categories_are_text():
    odd = pl.DataFrame({"k": ["a"], "t": [at(0)], "x": [float("nan")], "c": pl.Series(["red"], dtype=pl.Categorical)})
    assert point_in_time(ask(("a", at(1))), "at", events(odd)).rows() == [(None, "red")]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (pl.DataFrame({"k": [1], "at": [at(0)]}), "k is a whole number in the rows and a text in view"),
        (pl.DataFrame({"k": [0.5], "at": [at(0)]}), "holds fractions"),
        (pl.DataFrame({"k": ["a"], "at": ["yesterday"]}), "at of the rows must be a time, and is a text"),
        (pl.DataFrame({"k": [[1]], "at": [at(0)]}), "is of type List"),
    ],
)
def test_columns_of_the_wrong_type_are_refused(rows, problem):
    with pytest.raises(Failed, match=problem):
        point_in_time(rows, "at", events(ONE))


@pytest.mark.parametrize("name", ["k", "at"])
def test_rows_without_key_or_time_are_refused(name):
    with pytest.raises(NotFound, match=f"no column '{name}' in the rows"):
        point_in_time(ask(("a", at(0))).drop(name), "at", events(ONE))


def slowly(rows: pl.DataFrame, frame: pl.DataFrame, ttl_s: float) -> list[float | None]:
    """The same question, answered row by row without any join."""
    found = []
    for key, when in rows.rows():
        known = [(t, seen, x) for k, t, seen, x in frame.rows() if k == key and t <= when and seen <= when]
        fresh = [item for item in known if (when - max(known)[0]).total_seconds() <= ttl_s]
        found.append(max(fresh)[2] if fresh else None)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_it_says_what_a_slow_search_says(seed):
    draw = random.Random(seed)
    told = [(draw.choice("abc"), at(draw.randrange(60)), at(draw.randrange(90)), draw.random()) for _ in range(40)]
    frame = pl.DataFrame(told, schema=["k", "t", "seen", "x"], orient="row")
    rows = ask(*((draw.choice("abcd"), at(draw.randrange(90))) for _ in range(40)))
    assert joined(rows, events(frame, ttl="20m", known_at="seen")) == slowly(rows, frame, 1200)
