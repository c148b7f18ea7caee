"""Edge cases of a column; how often it errs and what it finds is measured in tests/benchmarks, row true.2."""

import numpy as np
import polars as pl
import pytest
from scipy import signal, stats

from aiinfra_lab.stats.blocks import Blocks, Ordered, by_column
from aiinfra_lab.stats.columns import ColumnShift, categories, numbers

ROWS = Ordered()
ROWS_EACH = 2000


def draw(seed: int, rows: int = ROWS_EACH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


def texts(seed: int, shares: list[float], rows: int = ROWS_EACH) -> list[str]:
    names = [f"v{n}" for n in range(len(shares))]
    return np.random.default_rng(seed).choice(names, p=shares, size=rows).tolist()


CHANGES = {
    "it moved": draw(2) + 0.3,
    "its spread changed": draw(2) * 1.3,
    "more or less is missing": np.where(np.arange(ROWS_EACH) % 20 == 0, np.nan, draw(2)),
    "its tails changed": np.where(np.arange(ROWS_EACH) % 40 == 0, 8.0 * np.sign(draw(3)), draw(2)),
    "its shape changed": np.sign(draw(2)) * np.abs(draw(2)) ** 0.3,
}


@pytest.mark.parametrize(("why", "current"), CHANGES.items(), ids=CHANGES)
def test_a_change_of_a_number_is_seen_and_named(why, current):
    shift = numbers(draw(1), current, ROWS)
    assert shift.why == why
    assert shift.p < 1e-4
    assert shift.matters
    assert (shift.inconclusive, shift.unit) == ("", "40 and 40 stretches of rows")


@pytest.mark.parametrize("by", [5.0, -5.0, 1.0])
def test_a_number_that_moved_beyond_doubt_is_said_to_have_moved(by):
    """Though its spread, its tails and its shape are others, too, and by more evidence."""
    shift = numbers(draw(1), draw(2) + by, ROWS)
    assert (shift.why, shift.effect_unit, np.sign(shift.effect)) == ("it moved", "sd", np.sign(by))


@pytest.mark.parametrize(
    ("why", "current"),
    [
        ("its values are distributed differently", texts(2, [0.4, 0.5, 0.1])),
        ("its values are distributed differently", texts(2, [0.45, 0.4, 0.1, 0.05])),
        ("more or less is missing", texts(2, [0.5, 0.4, 0.1], 1900) + [None] * 100),
    ],
    ids=["shares", "a new value", "missing"],
)
def test_a_change_of_a_category_is_seen_and_named(why, current):
    mixed = np.random.default_rng(3).permutation(ROWS_EACH)
    shift = categories(texts(1, [0.5, 0.4, 0.1]), [current[row] for row in mixed], ROWS)
    assert shift.why == why
    assert shift.p < 1e-4
    assert shift.matters


def test_effects_are_in_units_of_their_own():
    moved = numbers(draw(1), draw(2) + 0.3, ROWS)
    assert (moved.effect_unit, moved.floor) == ("sd", 0.05)
    assert moved.effect == pytest.approx(0.3, abs=0.08)
    gone = numbers(draw(1), CHANGES["more or less is missing"], ROWS)
    assert (gone.effect, gone.effect_unit, gone.missing) == (0.05, "of rows", (0.0, 0.05))


def test_unseen_values_are_counted():
    assert categories(["a", "b"] * 500, ["a", "c"] * 500, ROWS).unseen == 0.5


@pytest.mark.parametrize("blocks", [ROWS, Blocks(np.arange(600) // 60, np.arange(600) // 60, "day")])
@pytest.mark.parametrize(
    "values",
    [draw(1, 600), np.zeros(600), np.full(600, np.nan), np.arange(600) % 2.0, np.where(draw(1, 600) > 1, np.inf, 0.0)],
    ids=["normal", "constant", "empty", "two values", "infinite"],
)
def test_a_sample_compared_with_itself_has_not_changed(values, blocks):
    shift = numbers(values, values, blocks)
    assert (shift.p, shift.effect, shift.inconclusive) == (1.0, 0.0, "")
    as_texts = [None if np.isnan(value) else str(value > 0) for value in values]
    shift = categories(as_texts, as_texts, blocks)
    assert (shift.p, shift.effect, shift.inconclusive) == (1.0, 0.0, "")


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (np.zeros(600), np.ones(600)),
        (np.zeros(600), draw(1, 600)),
        (draw(1, 600), np.zeros(600)),
        (np.arange(600) % 2.0, np.where(draw(1, 600) > 0.5, 1.0, 0.0)),
        (np.arange(600) % 2.0, np.arange(600) % 4.0),
        (draw(1, 600), np.where(draw(1, 600) > 1, np.inf, draw(2, 600))),
        (draw(1, 600), np.full(600, np.nan)),
        (np.full(600, np.nan), draw(1, 600)),
    ],
    ids=["constants", "varies", "constant", "two values", "new values", "infinite", "emptied", "filled"],
)
def test_extreme_changes_are_seen(reference, current):
    shift = numbers(reference, current, ROWS)
    assert shift.p < 1e-4
    assert shift.matters


def test_integers_beyond_what_a_float_holds_are_compared_as_floats():
    large = 2.0**60 + np.random.default_rng(1).permutation(600) * 2.0**9
    assert numbers(large, large, ROWS).p == 1.0
    assert numbers(large, large + 2.0**20, ROWS).p < 1e-6


def test_booleans_and_categoricals_are_texts():
    values = pl.Series(np.arange(600) % 3 == 0)
    assert categories(values, ~values, ROWS).p < 1e-6
    named = pl.Series(texts(1, [0.5, 0.5], 600))
    assert categories(named.cast(pl.Categorical), named, ROWS).p == 1.0


def inconclusive(shift: ColumnShift) -> str:
    assert shift.p is None or shift.p > 0.05
    return shift.inconclusive


@pytest.mark.parametrize("rows", [0, 1, 59])
def test_too_few_rows_are_inconclusive(rows):
    assert f"{rows} rows are too few" in inconclusive(numbers(draw(1), draw(2, rows), ROWS))
    assert f"{rows} rows are too few" in inconclusive(categories(["a"] * rows, ["a"] * 600, ROWS))


def test_too_few_values_among_missing_ones_are_inconclusive():
    few = np.where(np.arange(600) < 30, draw(1, 600), np.nan)
    assert "30 values are too few" in inconclusive(numbers(few, few[::-1].copy(), ROWS))


@pytest.mark.parametrize("days", [1, 4])
def test_too_few_blocks_are_inconclusive(days):
    day = pl.Series(np.arange(600) * days // 600)
    shift = numbers(draw(1, 600), draw(2, 600) + 3, by_column(day, day, "day"))
    assert shift.p is None
    assert inconclusive(shift) == f"{days} and {days} blocks of day are too few: 5 are needed"


def test_keys_are_inconclusive():
    assert "as keys do" in inconclusive(categories([f"a{n}" for n in range(600)], [f"b{n}" for n in range(600)], ROWS))


def test_keys_are_never_drift():
    """Of which those are cells that come first in the alphabet: here the reference's own."""
    mixed = np.random.default_rng(1).permutation(ROWS_EACH)
    assert categories([f"a{n}" for n in mixed], [f"b{n}" for n in mixed], ROWS).p == 1.0


def walk(seed: int) -> np.ndarray:
    return np.cumsum(draw(seed)) / 10


def test_rows_that_follow_from_each_other_are_inconclusive():
    assert "are worth" in inconclusive(numbers(walk(1), walk(1)[::-1] + 0.3, ROWS))


def test_a_change_in_the_midst_of_the_current_sample_is_named_as_a_possible_reason():
    changed = draw(2) + 2.0 * (np.arange(ROWS_EACH) >= ROWS_EACH // 2)
    assert "it changed meanwhile" in inconclusive(numbers(draw(1), changed, ROWS))
    assert "meanwhile" not in inconclusive(numbers(walk(1), walk(2), ROWS))
    half = pl.Series(np.arange(ROWS_EACH) % 20)
    assert numbers(draw(1), changed, by_column(half, half, "machine")).p < 1e-6


def slow(seed: int) -> np.ndarray:
    return signal.lfilter([1], [1, -0.97], draw(seed))


def test_a_change_beyond_all_doubt_is_seen_although_rows_resemble_each_other():
    shift = numbers(slow(1), slow(2) + 30, ROWS)
    assert shift.p < 1e-4
    assert "are worth" in shift.inconclusive
    assert numbers(slow(1), slow(2), ROWS).p > 0.05


def test_with_hardly_any_effective_rows_nothing_is_beyond_doubt():
    assert numbers(walk(1), walk(2) + 30, ROWS).p is None


def test_a_declared_moment_orders_the_rows():
    """Shuffled, nothing shows that rows resemble each other; in the order of the moment it does."""
    mixed = np.random.default_rng(3).permutation(ROWS_EACH)
    moments = pl.Series(mixed.astype(float))
    one, other = walk(1)[mixed], walk(2)[mixed]
    assert numbers(one, other, ROWS).p < 1e-6
    shift = numbers(one, other, by_column(moments, moments, "at"))
    assert "are worth" in inconclusive(shift)
    assert shift.unit.endswith("stretches of rows in the order of at")


def test_rows_of_one_day_are_one_event():
    """Fifty days with a level of their own: ten thousand rows, and no change."""
    day = np.arange(10_000) // 200
    levels = draw(4, 50), draw(5, 50)
    one, other = (draw(seed, 10_000) / 10 + level[day] for seed, level in zip((6, 7), levels, strict=True))
    declared = by_column(pl.Series(day), pl.Series(day), "day")
    assert numbers(one, other, declared).p > 0.05
    mixed = np.random.default_rng(8).permutation(10_000)
    assert numbers(one[mixed], other[mixed], ROWS).p < 1e-6


def wander_of_days(seed: int, *, days: int = 120, each: int = 20, r: float) -> np.ndarray:
    """Rows in the order of days whose levels resemble those of the days before."""
    return np.repeat(signal.lfilter([1], [1, -r], draw(seed, days)), each) + draw(seed + 100, days * each)


def shift_by_day(r: float, seed: int = 1, days: int = 120) -> ColumnShift:
    day = pl.Series(np.repeat(np.arange(days), 20))
    one, other = (wander_of_days(each, days=days, r=r) for each in (seed, seed + 50))
    return numbers(one, other, by_column(day, day, "day"))


def test_declared_days_that_resemble_the_next_are_taken_together():
    assert shift_by_day(0.95).unit == "16 and 16 blocks of day"
    assert np.mean([shift_by_day(0.0, seed).unit == "64 and 64 blocks of day" for seed in range(10)]) > 0.5


def test_declared_days_that_resemble_the_next_are_flagged_hardly_more_often_than_stated():
    flags = sum(shift_by_day(0.7, seed).p <= 0.05 for seed in range(50))
    assert flags <= stats.binom.ppf(0.999, 50, 0.05)


def test_few_declared_blocks_are_believed():
    shift = shift_by_day(0.95, days=19)
    assert (shift.unit, shift.inconclusive) == ("19 and 19 blocks of day", "")


def test_of_a_declared_category_neighbouring_blocks_are_taken_together_too():
    day = pl.Series(np.repeat(np.arange(120), 20))
    one, other = (pl.Series(np.where(wander_of_days(seed, r=0.95) > 0, "a", "b")) for seed in (1, 51))
    assert categories(one, other, by_column(day, day, "day")).unit in (
        "15 and 15 blocks of day",
        "16 and 16 blocks of day",
    )
    mixed = Blocks(day.to_numpy() // 2, day.to_numpy() // 2, "customer")
    assert categories(one, other, mixed).unit == "60 and 60 blocks of customer"


@pytest.mark.parametrize("rows", [2_000, 10_000, 50_000])
def test_a_value_that_the_reference_never_had_is_seen_the_more_rows_the_better(rows):
    spread = np.random.default_rng(3).permutation(rows)
    current = np.array(texts(2, [0.5, 0.5], rows), dtype=object)
    current[spread < rows // 100] = "new"
    shift = categories(texts(1, [0.5, 0.5], rows), current.tolist(), ROWS)
    assert (shift.why, shift.floor, shift.effect) == ("it has new values", 0.005, pytest.approx(0.01))
    assert shift.p < 1e-3


def days_of_categories(seed: int, days: int, each: int = 200) -> list[str]:
    """Rows in the order of days, of which each has shares of its own."""
    rng = np.random.default_rng(seed)
    return [f"v{value}" for share in rng.dirichlet([2, 2, 2, 2], days) for value in rng.choice(4, each, p=share)]


@pytest.mark.parametrize("seed", range(5))
def test_two_days_are_no_evidence_against_ninety(seed):
    """Within two days, rows in a row are alike; that days differ only the reference shows."""
    shift = categories(days_of_categories(seed, 90), days_of_categories(seed + 50, 2), ROWS)
    assert "are worth" in inconclusive(shift)


def missing_for_a_while(seed: int) -> np.ndarray:
    """Half of the values, in runs of three hundred rows or so."""
    lasting = signal.lfilter([1], [1, -0.99], draw(seed, 5000))
    return np.where(lasting > 0, np.nan, draw(seed + 500, 5000))


def test_values_that_are_missing_for_a_while_are_few_events():
    shifts = [numbers(missing_for_a_while(seed), missing_for_a_while(seed + 100), ROWS) for seed in range(10)]
    assert all("of what is missing, rows resemble their neighbours" in inconclusive(shift) for shift in shifts)
    assert {shift.why for shift in shifts} > {"it moved"}
