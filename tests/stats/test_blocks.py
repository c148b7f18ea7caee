"""Which rows count as one."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab.stats.blocks import MOST, Blocks, Ordered, by_column, find


def noise(seed: int, rows: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({name: rng.normal(size=rows) for name in "abcde"})


def repeated(seed: int) -> pl.DataFrame:
    return pl.concat([noise(seed, 60)] * 10).sample(fraction=1, shuffle=True, seed=seed)


def test_independent_rows_have_no_block():
    assert find(noise(1), noise(2)) == Ordered()


def test_rows_that_repeat_are_one_block():
    found = find(repeated(1), repeated(2))
    assert found.unit == "rows that repeat"
    assert np.bincount(found.reference).tolist() == [10] * 60
    assert not found.is_ordered


def test_an_entity_is_found_by_its_own_column():
    """Three columns are the entity's, two are each row's own."""
    own = [noise(seed).select("d", "e") for seed in (3, 4)]
    samples = [repeated(seed).with_columns(own[seed - 1].get_columns()) for seed in (1, 2)]
    assert find(*samples).unit == "a"


def of_users(users: int, times: int, missing: int = 0) -> list[pl.DataFrame]:
    """Two samples of users in shuffled rows. A country is the user's own, all else each row's."""
    samples = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        who = rng.permutation(np.repeat(np.arange(users), times))
        land = rng.choice(["de", "fr", "us"], users)[who]
        own = noise(seed, users * times).select("a", "b", "c")
        names = [f"{seed}-{each}" if row >= missing else None for row, each in enumerate(who)]
        samples.append(own.with_columns(user=pl.Series(names), land=pl.Series(land)))
    return samples


@pytest.mark.parametrize(("users", "times", "missing"), [(100, 10, 0), (100, 10, 30), (30, 70, 0)])
def test_one_column_of_an_entity_is_enough(users, times, missing):
    assert find(*of_users(users, times, missing)).unit == "user"


@pytest.mark.parametrize(("users", "times", "missing"), [(100, 10, 200), (15, 70, 0)])
def test_what_most_lack_or_few_have_names_no_entity(users, times, missing):
    assert find(*of_users(users, times, missing)) == Ordered()


@pytest.mark.parametrize(("users", "times", "is_vocabulary"), [(100, 10, False), (30, 70, True)])
def test_in_its_own_column_an_entity_that_returns_as_often_as_a_category_is_one(users, times, is_vocabulary):
    found = find(*of_users(users, times))
    assert (found.of_column("user") == Ordered()) == is_vocabulary
    assert found.of_column("land") is found


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_values_that_return_and_say_nothing_are_no_entity(seed):
    samples = [
        noise(each, 1000).with_columns(pl.col("a").rank("ordinal") % 100 + 1000 * each) for each in (seed, seed + 1)
    ]
    assert find(*samples) == Ordered()


def test_values_that_wander_slowly_are_no_entity():
    """Each sample has its own, they return, and whatever else wanders goes along with them."""
    samples = [noise(seed).select(pl.all().cum_sum().round(0) + 1000 * seed) for seed in (1, 2)]
    assert find(*samples) == Ordered()


@pytest.mark.parametrize("shared", [True, False])
def test_values_that_both_samples_share_are_the_population(shared):
    """Such as the routes of an airline: they return within a sample, and between samples as often."""
    route = noise(1, 60)
    samples = [route[np.random.default_rng(seed).integers(0, 60, 600)] for seed in (2, 3)]
    if not shared:
        samples[1] = noise(4, 60)[np.random.default_rng(3).integers(0, 60, 600)]
    assert isinstance(find(*samples), Ordered) == shared


def test_a_declared_column_is_a_block_for_each_value():
    days = pl.Series(["mon", "mon", "tue", None, "wed"])
    found = by_column(days, days, "day")
    assert (found.unit, found.reference.tolist(), found.is_ordered) == ("day", [1, 1, 2, 0, 3], True)


def test_of_many_values_neighbours_are_one_block():
    values = pl.Series(np.repeat(np.arange(1000), 2))
    found = by_column(values, values, "customer")
    assert np.unique(found.reference).tolist() == list(range(MOST))
    assert (np.diff(found.reference) >= 0).all()


def test_a_declared_column_with_another_value_in_each_row_is_an_order():
    moments = pl.Series([3.0, 1.0, 2.0])
    found = by_column(moments, moments, "at")
    assert isinstance(found, Ordered)
    assert (found.unit, found.current.tolist()) == ("rows in the order of at", [1, 2, 0])


def test_rows_with_a_column_of_their_own_do_not_repeat():
    numbered = [sample.with_row_index() for sample in (repeated(1), repeated(2))]
    assert find(*numbered).unit == "a"  # the entity is found by its column all the same


def test_nothing_is_found_where_there_is_nothing():
    nothing = noise(1).head(0)
    assert isinstance(find(nothing, nothing), Ordered)
    assert isinstance(by_column(nothing["a"], nothing["a"], "a"), Blocks)
    assert isinstance(find(pl.DataFrame({"a": [[1], [1]]}), pl.DataFrame({"a": [[2], [2]]})), Ordered | Blocks)
