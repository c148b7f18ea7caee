"""Are two samples of one column from one distribution? Missing and unseen values count as values.

Each test of a column holds the level it states on data without a change: tests within a column are combined by
Bonferroni's rule, columns by Benjamini and Hochberg's. numpy and scipy are imported when a test runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_ROWS = 30
"""Fewer rows than this on either side cannot tell."""

LEAST_EXPECTED = 5.0
"""Cochran's rule: cells in which fewer are expected are pooled, or the chi-square distribution does not hold."""

_MISSING, _RARE = "\0missing", "\0rare"


@dataclass(frozen=True, slots=True)
class Shift:
    """What separates the current sample from the reference.

    p: the chance of such a difference without a change, corrected for the tests within the column; None: cannot tell.
    effect: how far apart they are, from 0 to 1: the largest difference of the distribution functions of a number
    (Kolmogorov's distance), the total variation distance of a category, or the difference in what is missing, when
    that is larger. why: the test that decided, in words.
    """

    p: float | None
    effect: float
    missing: tuple[float, float]
    unseen: float
    why: str


def numbers(reference: NDArray[Any], current: NDArray[Any]) -> Shift:
    """Compare two float vectors; NaN is a missing value.

    Kolmogorov–Smirnov sees any change of shape, Mann–Whitney a change of place, Brown–Forsythe (1974) of spread, and
    Fisher's exact test one of what is missing. The first two go by ranks and the third by medians, so that a single
    outlier hides nothing.
    """
    import numpy as np
    from scipy import stats

    old, new = reference[~np.isnan(reference)], current[~np.isnan(current)]
    missing = _missing(len(reference) - len(old), len(reference), len(current) - len(new), len(current))
    if min(len(reference), len(current)) < LEAST_ROWS:
        return _too_few(len(reference), len(current), missing)
    tests = {"more or less is missing": _missing_p(reference, old, current, new)}
    distance = 0.0
    if min(len(old), len(new)) >= LEAST_ROWS:
        smirnov = stats.ks_2samp(old, new, method="asymp")
        distance = float(smirnov.statistic)
        tests["its shape changed"] = float(smirnov.pvalue)
        if np.ptp(old) or np.ptp(new):
            tests["it moved"] = float(stats.mannwhitneyu(old, new, method="asymptotic").pvalue)
            tests["its spread changed"] = _spread_p(old, new)
    effect = max(distance, abs(missing[1] - missing[0]))
    return _combined(tests, effect, missing, 0.0)


def categories(reference: Sequence[str | None], current: Sequence[str | None]) -> Shift:
    """Compare two sequences of texts; None is a missing value.

    Pearson's chi-square test of homogeneity of both samples, where what is missing is a cell of its own and cells too
    rare for it are pooled. It treats neither sample as the truth.
    """
    old = Counter(_MISSING if value is None else value for value in reference)
    new = Counter(_MISSING if value is None else value for value in current)
    missing = _missing(old[_MISSING], len(reference), new[_MISSING], len(current))
    unseen = sum(count for value, count in new.items() if value not in old and value != _MISSING) / max(1, len(current))
    if min(len(reference), len(current)) < LEAST_ROWS:
        return _too_few(len(reference), len(current), missing)
    table = _pooled(old, new)
    if len(table) < 2:
        return Shift(1.0, 0.0, missing, unseen, "it has one value")
    from scipy import stats

    p = float(stats.chi2_contingency(list(zip(*table, strict=True)), correction=False).pvalue)
    distance = sum(abs(b / len(current) - a / len(reference)) for a, b in table) / 2
    gone = abs(missing[1] - missing[0])
    why = "its values are distributed differently"
    if max(unseen, gone) > distance / 2:
        why = "values were never seen before" if unseen > gone else "more or less is missing"
    return Shift(p, max(distance, gone), missing, unseen, why)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's (1995) adjusted p-values, in the order given.

    Flagging those up to alpha keeps the share of false flags among the flags below alpha; without any change, the
    chance of a single flag.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place], reverse=True)
    found, smallest = [1.0] * len(p_values), 1.0
    for rank, place in zip(range(len(p_values), 0, -1), order, strict=True):
        smallest = min(smallest, p_values[place] * len(p_values) / rank)
        found[place] = smallest
    return found


def _pooled(old: Counter[str], new: Counter[str]) -> list[tuple[int, int]]:
    """Counts by value in both samples, the rare values pooled into as few cells as the test allows."""
    total_old, total_new = old.total(), new.total()
    smaller = min(total_old, total_new) / (total_old + total_new)
    cells: Counter[str] = Counter()
    pairs: dict[str, tuple[int, int]] = {}
    for value in {**old, **new}:
        seen = old[value] + new[value]
        cell = value if seen * smaller >= LEAST_EXPECTED else _RARE
        cells[cell] += seen
        before = pairs.get(cell, (0, 0))
        pairs[cell] = (before[0] + old[value], before[1] + new[value])
    if _RARE in pairs and cells[_RARE] * smaller < LEAST_EXPECTED and len(pairs) > 1:
        # Still too rare together: they go with the rarest of the others.
        rare = pairs.pop(_RARE)
        host = min(pairs, key=lambda value: cells[value])
        pairs[host] = (pairs[host][0] + rare[0], pairs[host][1] + rare[1])
    return list(pairs.values())


def _combined(tests: dict[str, float], effect: float, missing: tuple[float, float], unseen: float) -> Shift:
    why, p = min(tests.items(), key=lambda item: item[1])
    return Shift(min(1.0, p * len(tests)), effect, missing, unseen, why)


def _missing(old: int, all_old: int, new: int, all_new: int) -> tuple[float, float]:
    return old / max(1, all_old), new / max(1, all_new)


def _missing_p(reference: Any, old: Any, current: Any, new: Any) -> float:
    from scipy import stats

    table = [[len(old), len(reference) - len(old)], [len(new), len(current) - len(new)]]
    if table[0][1] == table[1][1] == 0:
        return 1.0
    if min(map(min, table)) > 1000:  # the exact test of large counts takes long and says the same
        return float(stats.chi2_contingency(table, correction=False).pvalue)
    return float(stats.fisher_exact(table).pvalue)


def _spread_p(old: Any, new: Any) -> float:
    import numpy as np
    from scipy import stats

    if not np.any(old != np.median(old)) and not np.any(new != np.median(new)):
        return 1.0
    return float(stats.levene(old, new, center="median").pvalue)


def _too_few(old: int, new: int, missing: tuple[float, float]) -> Shift:
    return Shift(None, 0.0, missing, 0.0, f"{min(old, new)} rows are too few: {LEAST_ROWS} are needed")
