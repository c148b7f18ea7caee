"""The tests hold the level they state, and see what they should."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from aiinfra_lab.stats.multiple import adjusted
from aiinfra_lab.stats.samples import LEAST_EFFECT, _pooled, _rare_test, categories, numbers

REPLICATES = 400
ALPHA = 0.05


def at_most(flags: int, replicates: int = REPLICATES, alpha: float = ALPHA) -> bool:
    """Whether that many false alarms are what chance gives at that level, in 999 of 1000 runs."""
    return flags <= stats.binom.ppf(0.999, replicates, alpha)


DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2, size=n),
    "skewed": lambda rng, n: rng.lognormal(sigma=1.5, size=n),
    "few values": lambda rng, n: rng.integers(0, 3, size=n).astype(float),
    "a fifth missing": lambda rng, n: np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
    "rarely missing": lambda rng, n: np.where(rng.random(n) < 0.01, np.nan, rng.normal(size=n)),
    "constant": lambda rng, n: np.zeros(n),
    "all missing": lambda rng, n: np.full(n, np.nan),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("n", [(100, 100), (1000, 200)])
def test_numbers_without_a_change_are_flagged_no_more_often_than_stated(draw, n):
    rng = np.random.default_rng(1)
    assert at_most(sum(numbers(draw(rng, n[0]), draw(rng, n[1])).p <= ALPHA for _ in range(REPLICATES)))


@pytest.mark.parametrize("classes", [2, 10, 50, 200, 1000])
def test_categories_without_a_change_are_flagged_no_more_often_than_stated(classes):
    """With 50 classes and more, a goodness-of-fit test against the reference sample flags nearly all of these."""
    rng = np.random.default_rng(2)
    share = 1 / np.arange(1, classes + 1)

    def draw(n: int) -> list[str]:
        return rng.choice(classes, size=n, p=share / share.sum()).astype(str).tolist()

    assert at_most(sum(categories(draw(500), draw(500)).p <= ALPHA for _ in range(REPLICATES)))


def test_a_table_without_a_change_has_a_flag_no_more_often_than_stated():
    rng = np.random.default_rng(3)
    flags, replicates = 0, 150
    for _ in range(replicates):
        found = [numbers(rng.normal(size=100), rng.normal(size=100)).p for _ in range(5)]
        flags += min(adjusted(found)) <= ALPHA
    assert at_most(flags, replicates)


def draw(seed: int, n: int = 2000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


CHANGES = {
    "it moved by 0.2 sd": draw(5) + 0.2,
    "its spread grew by 20 %": draw(5) * 1.2,
    "10 % went missing": np.where(np.arange(2000) % 10 == 0, np.nan, draw(5)),
    "5 % went to the tail": np.where(np.arange(2000) % 20 == 0, 6.0, draw(5)),
    "all of it went missing": np.full(2000, np.nan),
}


@pytest.mark.parametrize("current", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_number_is_seen(current):
    assert numbers(draw(4), current).p < 0.001


def test_an_outlier_in_the_reference_hides_nothing():
    assert numbers(np.append(draw(4), 1e4), draw(5) + 0.5).p < 1e-9


@pytest.mark.parametrize(
    ("current", "why"),
    [
        (["a"] * 340 + ["b"] * 660, "distributed differently"),
        (["a"] * 400 + ["b"] * 570 + ["new"] * 30, "never seen before"),
        (["a"] * 400 + ["b"] * 500 + [None] * 100, "is missing"),
    ],
)
def test_a_change_of_a_category_is_seen_and_named(current, why):
    shift = categories(["a"] * 400 + ["b"] * 600, current)
    assert shift.p < 0.01
    assert why in shift.why


def test_shares_and_effects_are_what_they_say():
    shift = categories(["a"] * 50 + ["b"] * 50, ["a"] * 65 + ["c"] * 10 + [None] * 25)
    assert (shift.missing, shift.unseen, shift.effect) == ((0.0, 0.25), 0.1, 0.5)
    assert numbers(np.arange(100.0), np.arange(100.0) + 50).effect == pytest.approx(0.5)


@pytest.mark.parametrize("compare", [numbers, categories])
def test_too_few_rows_cannot_tell(compare):
    few = np.arange(29.0) if compare is numbers else ["a"] * 29
    many = np.arange(100.0) if compare is numbers else ["a"] * 100
    assert compare(many, few).p is compare(few, many).p is None
    assert "29 rows are too few" in compare(many, few).why


@pytest.mark.parametrize("n", [(500, 500), (2000, 300)])
@pytest.mark.parametrize("classes", [200, 1000, 5000])
def test_rare_values_that_both_samples_share_are_flagged_no_more_often_than_stated(classes, n):
    rng = np.random.default_rng(6)

    def draw(rows: int) -> list[str]:
        return rng.integers(0, classes, rows).astype(str).tolist()

    assert at_most(sum(categories(draw(n[0]), draw(n[1])).p <= ALPHA for _ in range(REPLICATES)))


@pytest.mark.parametrize("replaced", [1.0, 0.5])
def test_other_rare_values_are_seen(replaced):
    """Every value alone is too rare for a cell of its own, and yet nothing is as it was."""
    rng = np.random.default_rng(7)
    old = [f"a{value}" for value in rng.integers(0, 500, 500)]
    new = [f"{'b' if rng.random() < replaced else 'a'}{value}" for value in rng.integers(0, 500, 500)]
    shift = categories(old, new)
    assert shift.p < 1e-6
    assert shift.effect > 0.2
    assert shift.why == "other rare values occur"


def test_the_rare_test_knows_its_own_mean_and_spread():
    """Dealt anew a thousand times, the rows give p-values that are spread evenly."""
    rng = np.random.default_rng(8)
    values = rng.integers(0, 300, 900)
    found = []
    for _ in range(1000):
        before = np.bincount(rng.permutation(values)[:400], minlength=300)
        both = np.bincount(values, minlength=300)
        found.append(_rare_test([(a, b - a) for a, b in zip(before, both, strict=True) if b], 900)[0])
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_keys_are_inconclusive():
    shift = categories([f"a{n}" for n in range(500)], [f"b{n}" for n in range(500)])
    assert "only once" in shift.inconclusive


def test_a_few_values_among_missing_ones_are_inconclusive():
    old, new = np.full(600, np.nan), np.full(600, np.nan)
    old[:24], new[:24] = np.arange(24), np.arange(24) + 1e6
    assert "24 values are too few" in numbers(old, new).inconclusive
    assert numbers(old, np.arange(600.0)).p < 1e-6


def test_a_significant_trifle_is_not_lent_the_effect_of_another_test():
    old, new = draw(4), draw(5)
    new[:12] = np.nan
    shift = numbers(old, new)
    assert shift.p > ALPHA or shift.effect < LEAST_EFFECT


def test_an_infinite_number_hides_nothing():
    shift = numbers(draw(4), np.append(draw(5) * 1.5, np.inf))
    assert shift.p < 1e-9


@pytest.mark.parametrize("compare", [numbers, categories])
def test_neither_sample_is_the_truth(compare):
    """Exchanged, both samples are as far apart, with the same p."""
    one, other = (draw(4), draw(5) + 0.1) if compare is numbers else (["a", "b"] * 200, ["a", "b", "b", None] * 100)
    there, back = compare(one, other), compare(other, one)
    assert there.p == pytest.approx(back.p)
    assert (there.effect, there.missing) == (pytest.approx(back.effect), back.missing[::-1])


def test_a_sample_compared_with_itself_has_not_changed():
    values = draw(4)
    assert (numbers(values, values).p, numbers(values, values).effect) == (1.0, 0.0)
    texts = ["a", "b", None] * 100
    assert (categories(texts, texts).p, categories(texts, texts).effect) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("reference", "current", "p_is_small"),
    [(np.zeros(100), np.zeros(50), False), (np.zeros(100), np.ones(50), True), (np.zeros(100), draw(4), True)],
    ids=["the same", "another", "no longer one"],
)
def test_a_constant_column(reference, current, p_is_small):
    assert (numbers(reference, current).p < 1e-6) == p_is_small


def test_a_column_that_was_always_empty_and_still_is_has_not_changed():
    empty = numbers(np.full(100, np.nan), np.full(50, np.nan))
    assert (empty.p, empty.missing, empty.inconclusive) == (1.0, (1.0, 1.0), "")


def test_with_many_rows_the_test_of_what_is_missing_is_quick_and_as_strict():
    """Above 1,000 in every cell the chi-square test stands in for Fisher's exact one."""
    few = numbers(with_missing(9_990, 999), with_missing(9_000, 1_400))
    many = numbers(with_missing(99_900, 9_990), with_missing(90_000, 14_000))
    assert many.p < few.p < 1e-12
    assert many.why == few.why == "more or less is missing"


def with_missing(known: int, missing: int) -> np.ndarray:
    return np.concatenate([np.arange(known) / known, np.full(missing, np.nan)])


def test_rare_values_are_pooled_until_the_test_may_be_used():
    reference = Counter({"common": 100, **{f"rare {n}": 1 for n in range(20)}})
    current = Counter({"common": 90, **{f"rare {n}": 1 for n in range(10, 30)}})
    cells, rare = _pooled(reference, current)
    assert cells == [(100, 90), (20, 20)]
    assert (len(rare), sum(a for a, _ in rare), sum(b for _, b in rare)) == (30, 20, 20)


def test_what_is_still_too_rare_together_goes_with_the_rarest_of_the_others():
    reference, current = Counter({"a": 100, "b": 50, "c": 1}), Counter({"a": 90, "b": 60, "d": 1})
    cells, _ = _pooled(reference, current)
    assert sorted(cells) == [(51, 61), (100, 90)]
