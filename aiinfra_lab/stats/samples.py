"""Are two samples of one column from one distribution? Missing and unseen values count as values.

Each test of a column holds the level it states on data without a change: tests within a column are combined by
Bonferroni's rule, columns by Benjamini and Hochberg's. That level is for rows that are independent of each other: a row
that counts twice makes false alarms. numpy and scipy are imported when a test runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_ROWS = 30
"""Fewer rows than this in either sample are inconclusive."""

LEAST_EXPECTED = 5.0
"""Cochran's rule: cells in which fewer are expected are pooled, or the chi-square distribution does not hold."""

LEAST_EFFECT = 0.02
"""A change smaller than this is real when many rows say so, and matters to nobody."""

_MISSING, _RARE = "\0missing", "\0rare"
_Test = tuple[float, float]  # p and effect


@dataclass(frozen=True, slots=True)
class Shift:
    """What separates the current sample from the reference.

    p: the chance of such a difference without a change, corrected for the tests within the column; None: inconclusive.
    effect: how far apart they are in what the deciding test looks at, from 0 to 1: the largest difference of the
    distribution functions of a number (Kolmogorov's distance), the total variation distance of a category, its rare
    values' Cramér's V, or the difference in what is missing. why: the test that decided.
    inconclusive: what could not be compared, if anything; such a column has no verdict unless the rest of it changed.
    """

    p: float | None
    effect: float
    missing: tuple[float, float]
    unseen: float
    why: str
    inconclusive: str = ""


def numbers(reference: NDArray[Any], current: NDArray[Any]) -> Shift:
    """Compare two float vectors; NaN is a missing value.

    Kolmogorov–Smirnov sees any change of shape, Mann–Whitney a change of location, Brown–Forsythe (1974) of spread, and
    Fisher's exact test one of what is missing. The first two go by ranks and the third by medians, so that a single
    outlier hides nothing.
    """
    import numpy as np
    from scipy import stats

    known, known_now = reference[~np.isnan(reference)], current[~np.isnan(current)]
    missing = _missing(len(reference) - len(known), len(reference), len(current) - len(known_now), len(current))
    if min(len(reference), len(current)) < LEAST_ROWS:
        return _too_few(len(reference), len(current), missing)
    gone = abs(missing[1] - missing[0])
    tests = {"more or less is missing": (_missing_p(reference, known, current, known_now), gone)}
    if min(len(known), len(known_now)) < LEAST_ROWS:
        few = f"{min(len(known), len(known_now))} values are too few: {LEAST_ROWS} are needed"
        # A column that was always empty and still is has not changed; one with a few values may have.
        return _combined(tests, missing, 0.0, few if len(known) or len(known_now) else "")
    smirnov = stats.ks_2samp(known, known_now, method="asymp")
    distance = float(smirnov.statistic)
    tests["its shape changed"] = (float(smirnov.pvalue), distance)
    # Two equal constants can neither have moved nor spread: tests that cannot reject only weaken the others.
    if np.ptp(known) or np.ptp(known_now):
        tests["it moved"] = (float(stats.mannwhitneyu(known, known_now, method="asymptotic").pvalue), distance)
        tests["its spread changed"] = (_spread_p(known, known_now), distance)
    return _combined(tests, missing, 0.0)


def categories(reference: Sequence[str | None], current: Sequence[str | None]) -> Shift:
    """Compare two sequences of texts; None is a missing value.

    Pearson's chi-square test of homogeneity of both samples, where what is missing is a cell of its own and cells too
    rare for it are pooled. It treats neither sample as the truth. Whether both share their rare values is a test of its
    own; it is inconclusive when every rare value occurs once, as with keys.
    """
    counts = Counter(_MISSING if value is None else value for value in reference)
    counts_now = Counter(_MISSING if value is None else value for value in current)
    missing = _missing(counts[_MISSING], len(reference), counts_now[_MISSING], len(current))
    new_values = counts_now.keys() - counts.keys() - {_MISSING}
    unseen = sum(counts_now[value] for value in new_values) / max(1, len(current))
    if min(len(reference), len(current)) < LEAST_ROWS:
        return _too_few(len(reference), len(current), missing)
    table, rare = _pooled(counts, counts_now)
    tests, inconclusive = {}, ""
    if len(table) > 1:
        tests[_cells_differ(table, missing, unseen)] = _cells_test(table)
    if rare:
        found = _rare_test(rare, len(reference) + len(current))
        if found:
            tests["other rare values occur"] = found
        elif sum(a + b for a, b in rare) > (len(reference) + len(current)) / 2:
            inconclusive = "nearly every value occurs only once, as a key does"
    return _combined(tests or {"it has one value": (1.0, 0.0)}, missing, unseen, inconclusive)


def _cells_test(table: list[tuple[int, int]]) -> _Test:
    from scipy import stats

    reference, current = zip(*table, strict=True)
    distance = sum(abs(b / sum(current) - a / sum(reference)) for a, b in table) / 2
    # Without Yates's correction, with which the test of a 2 x 2 table sees less than its level allows.
    return float(stats.chi2_contingency([reference, current], correction=False).pvalue), distance


def _cells_differ(table: list[tuple[int, int]], missing: tuple[float, float], unseen: float) -> str:
    gone = abs(missing[1] - missing[0])
    if max(unseen, gone) <= _cells_test(table)[1] / 2:
        return "its values are distributed differently"
    return "values were never seen before" if unseen > gone else "more or less is missing"


def _rare_test(rare: list[tuple[int, int]], rows: int) -> _Test | None:
    """Whether both samples share their rare values, from the counts of each value; None when the samples do not say.

    Pearson's statistic again, but against its distribution over all ways to deal the same rows to two samples: its
    exact mean and variance (factorial moments of the multivariate hypergeometric distribution; Haldane, 1940), and a
    gamma distribution with these, since the chi-square distribution does not hold for small counts.
    """
    import numpy as np
    from scipy import stats

    reference, both = np.array([a for a, _ in rare], float), np.array([a + b for a, b in rare], float)
    drawn, total = reference.sum(), both.sum()
    if not 0 < drawn < total or total < 2 * LEAST_ROWS:
        return None
    f1, f2, f3, f4 = np.cumprod((drawn - np.arange(4)) / (total - np.arange(4)))
    others, cells = both - 1, len(rare)
    mean = f2 * others.sum() + f1 * cells
    falling = both * others
    own = falling * (both - 2) * (both - 3) * f4 + 6 * falling * (both - 2) * f3 + 7 * falling * f2 + both * f1
    pairs = (others.sum() ** 2 - (others**2).sum()) * f4 + 2 * (cells - 1) * others.sum() * f3
    variance = (own / both**2).sum() + pairs + cells * (cells - 1) * f2 - mean**2
    # Only rounding errors: when each value occurs once, every deal gives the same sum.
    if variance < 1e-6 * cells:
        return None
    # The sum of reference²/both, as Pearson's statistic: the same up to a factor and a shift.
    factor, shift = total**2 / (drawn * (total - drawn)), drawn**2 / total
    seen, expected, spread = (
        ((reference**2 / both).sum() - shift) * factor,
        (mean - shift) * factor,
        variance * factor**2,
    )
    p = float(stats.gamma.sf(seen, expected**2 / spread, scale=spread / expected))
    return p, float(np.sqrt(max(0.0, seen - expected) / total) * total / rows)


def _pooled(reference: Counter[str], current: Counter[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Counts in both samples: by value, the rare ones pooled into as few cells as the test allows; and of each rare."""
    rows, rows_now = reference.total(), current.total()
    smaller = min(rows, rows_now) / (rows + rows_now)
    cells: Counter[str] = Counter()
    pairs: dict[str, tuple[int, int]] = {}
    rares = []
    for value in {**reference, **current}:
        seen = reference[value] + current[value]
        cell = value if seen * smaller >= LEAST_EXPECTED else _RARE
        cells[cell] += seen
        if cell == _RARE:
            rares.append((reference[value], current[value]))
        before = pairs.get(cell, (0, 0))
        pairs[cell] = (before[0] + reference[value], before[1] + current[value])
    if _RARE in pairs and cells[_RARE] * smaller < LEAST_EXPECTED and len(pairs) > 1:
        # Still too rare together: they go with the rarest of the others.
        rare = pairs.pop(_RARE)
        host = min(pairs, key=lambda value: cells[value])
        pairs[host] = (pairs[host][0] + rare[0], pairs[host][1] + rare[1])
    return list(pairs.values()), rares


def _combined(tests: dict[str, _Test], missing: tuple[float, float], unseen: float, inconclusive: str = "") -> Shift:
    """The smallest p of the tests whose effect matters, or of all when none does."""
    why, (p, effect) = min(tests.items(), key=lambda item: (item[1][1] < LEAST_EFFECT, item[1][0]))
    return Shift(min(1.0, p * len(tests)), effect, missing, unseen, why, inconclusive)


def _missing(gone: int, rows: int, gone_now: int, rows_now: int) -> tuple[float, float]:
    return gone / max(1, rows), gone_now / max(1, rows_now)


def _missing_p(reference: Any, known: Any, current: Any, known_now: Any) -> float:
    from scipy import stats

    table = [[len(known), len(reference) - len(known)], [len(known_now), len(current) - len(known_now)]]
    if table[0][1] == table[1][1] == 0:
        return 1.0
    if min(map(min, table)) > 1000:  # the exact test of large counts takes long and says the same
        return float(stats.chi2_contingency(table, correction=False).pvalue)
    return float(stats.fisher_exact(table).pvalue)


def _spread_p(reference: Any, current: Any) -> float:
    import numpy as np
    from scipy import stats

    # With an infinite one there is no spread, and p is NaN.
    reference, current = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if not np.any(reference != np.median(reference)) and not np.any(current != np.median(current)):
        return 1.0
    return float(stats.levene(reference, current, center="median").pvalue)


def _too_few(rows: int, rows_now: int, missing: tuple[float, float]) -> Shift:
    return Shift(None, 0.0, missing, 0.0, f"{min(rows, rows_now)} rows are too few: {LEAST_ROWS} are needed")
