"""Is a column of the current sample another than in the reference? By profiles of both, whatever their rows share.

Each test has a floor in a unit of its own: a change below it is real when many rows say so, and matters to nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from . import blocks as units
from .blocks import Blocks, Ordered
from .cluster import Difference, cells_difference, mean_difference, share_difference, unseen_difference
from .dependence import LEAST_BEYOND_DOUBT, LEAST_ROWS, ONE_SIDED, in_order, independent, stretches
from .profiles import Profile, category_cells, number_cells, profile
from .scores import normal_scores, shape_groups, spread_scores, tails
from .within import CHANGED, Looks, category_looks, changed_rows, number_looks

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

LEAST_EXPECTED = 5.0
"""Cochran's rule: cells in which fewer are expected are pooled, or the chi-square distribution does not hold."""
MOST_RARE = 0.5
"""With a larger share of values too rare to be compared, a category is inconclusive."""
LEAST_P = 1e-6
"""A smaller p says no more: the tests' own assumptions do not hold to that many digits."""

_MISSING = "more or less is missing"


def reaches(effect: float, floor: float) -> bool:
    """Whether an effect is as large as its floor, as far as rounding does not decide that: 0.52 - 0.5 is not 0.02."""
    return abs(effect) >= floor or math.isclose(abs(effect), floor)


class ColumnTest(NamedTuple):
    """One of a column's tests. floor: the least effect that matters, in that unit.

    is_cause: whether such a change changes what the other tests of values look at, too, as a shift does the tails.
    """

    why: str
    found: Difference
    floor: float
    unit: str
    is_cause: bool = False

    @property
    def matters(self) -> bool:
        """Whether the effect is beyond its floor."""
        return reaches(self.found.effect, self.floor)


@dataclass(frozen=True, slots=True)
class ColumnShift:
    """What separates the current sample from the reference.

    p: the chance of such a difference without a change, corrected for the tests within the column; None: inconclusive.
    effect, floor, effect_unit: what the deciding test found, or that of its cause, and the least of it that matters.
    why: that test. unit: what counted as one. inconclusive: what could not be compared, if anything; such a column has
    no verdict unless the rest of it changed.
    """

    p: float | None
    effect: float
    floor: float
    effect_unit: str
    missing: tuple[float, float]
    unseen: float
    why: str
    unit: str
    inconclusive: str = ""

    @property
    def matters(self) -> bool:
        """Whether the effect is beyond its floor."""
        return reaches(self.effect, self.floor)


class _Pair(NamedTuple):
    """Profiles of a column on the same cells and units.

    inconclusive: why only a change beyond all doubt is one, if so. is_hopeless: whether not even that can be seen.
    order: of what is not declared, how rows that are in order are called, e.g. `rows`.
    """

    reference: Profile
    current: Profile
    unit: str
    inconclusive: str
    is_hopeless: bool = False
    order: str = ""


def numbers(reference: NDArray[Any], current: NDArray[Any], blocks: Blocks | Ordered) -> ColumnShift:
    """Compare two float vectors; NaN is a missing value."""
    import numpy as np

    cells = number_cells(reference)
    before, after = cells.of(reference), cells.of(current)
    mass = np.bincount(before, minlength=cells.count)[:-1]
    place = normal_scores(mass)
    spread = spread_scores(place, mass)
    looked_at = np.stack([place] if spread is None else [place, spread], axis=1)
    pair = _pair(before, after, cells.count, blocks, looked_at)
    known, now = pair.reference.known, pair.current.known
    scores = [place] if spread is None else [place, spread]
    pair = _within(pair, number_looks(cells.count, scores, shape_groups(known.cells), tails(known)))
    return _judged(pair, _missing_pair(before, after, cells.count, blocks), _number_tests(known, now, place, spread))


def categories(
    reference: pl.Series | Sequence[str | None], current: pl.Series | Sequence[str | None], blocks: Blocks | Ordered
) -> ColumnShift:
    """Compare two sequences of texts; None is a missing value."""
    import polars as pl

    before, after = (pl.Series(values).cast(pl.String) for values in (reference, current))
    cells = category_cells(before, after)
    codes, codes_now = cells.of(before), cells.of(after)
    pair = _pair(codes, codes_now, cells.count, blocks)
    seen, now = pair.reference.known.cells, pair.current.known.cells
    if (rare := _share_of_rare(seen + now)) > MOST_RARE:
        pair = pair._replace(inconclusive=f"{rare:.0%} of the values occur only a few times, as keys do")
    unseen = float(now[seen == 0].sum() / max(1, len(after)))
    pair = _within(pair, category_looks(cells.count, now, seen == 0))
    missing = _missing_pair(codes, codes_now, cells.count, blocks)
    return _judged(pair, missing, _category_tests(pair.reference.known, pair.current.known), unseen)


def _pair(
    reference: NDArray[Any],
    current: NDArray[Any],
    count: int,
    blocks: Blocks | Ordered,
    looked_at: NDArray[Any] | None = None,
) -> _Pair:
    if min(len(reference), len(current)) < LEAST_ROWS:
        before, after = profile(reference, count, reference * 0), profile(current, count, current * 0)
        return _Pair(before, after, blocks.unit, "")
    if isinstance(blocks, Blocks):
        return _of_blocks(reference, current, count, blocks, looked_at)
    if blocks.reference is not None and blocks.current is not None:
        reference, current = reference[blocks.reference], current[blocks.current]
    one, other, why = independent(stretches(reference, count, looked_at), stretches(current, count, looked_at))
    unit = f"{len(one.counts)} and {len(other.counts)} stretches of {blocks.unit}"
    is_hopeless = min(one.worth, other.worth) < LEAST_BEYOND_DOUBT
    before, after = (sample.profile(is_doubtful=bool(why)) for sample in (one, other))
    return _Pair(before, after, unit, why, is_hopeless, blocks.unit)


def _missing_pair(reference: NDArray[Any], current: NDArray[Any], count: int, blocks: Blocks | Ordered) -> _Pair | None:
    """Whether a value is missing, by units of its own: that may last although values change from row to row."""
    import numpy as np

    before, after = ((cells == count - 1).astype(int) for cells in (reference, current))
    return _pair(before, after, 3, blocks, np.array([[0.0], [1.0]])) if before.any() or after.any() else None


def _of_blocks(
    reference: NDArray[Any], current: NDArray[Any], count: int, blocks: Blocks, looked_at: NDArray[Any] | None
) -> _Pair:
    one, other = (
        in_order(cells, count, codes, looked_at)
        for cells, codes in ((reference, blocks.reference), (current, blocks.current))
    )
    if blocks.is_ordered:
        # Believed where the longest are still alike: a season is in both samples as it is.
        one, other, _ = independent(one, other)
    before, after = (
        Profile(sample.counts, merged=many / max(1, int(sample.counts.any(axis=1).sum())))
        for sample, many in zip((one, other), blocks.many or (len(one.counts), len(other.counts)), strict=True)
    )
    return _Pair(before, after, f"{before.blocks} and {after.blocks} blocks of {blocks.unit}", "")


def _within(pair: _Pair, looks: Looks) -> _Pair:
    """Inconclusive, too, when stretches of the current sample differ from its others."""
    is_explained = pair.inconclusive and not pair.inconclusive.endswith(ONE_SIDED)
    if not pair.order or is_explained or not (found := changed_rows(pair.reference, pair.current, looks)):
        return pair
    first, last = found
    why = f"{CHANGED}: {pair.order} {first:,} to {last:,} of {int(pair.current.rows.sum()):,} differ from the others"
    return pair._replace(inconclusive=why)


def _judged(
    pair: _Pair, missing_pair: _Pair | None, of_values: Iterable[ColumnTest], unseen: float = 0.0
) -> ColumnShift:
    reference, current = pair.reference, pair.current
    missing = _missing(reference), _missing(current)
    if few := _too_few(reference, current, pair.unit):
        return ColumnShift(None, 0.0, 0.0, "", missing, unseen, few, pair.unit, few)
    few = "" if min(missing) == 1 else _too_few_values(reference, current)
    inconclusive = few or pair.inconclusive
    tests = []
    if missing_pair:
        tests += [] if missing_pair.is_hopeless else [_missing_test(missing_pair)]
        about = f"of what is missing, {missing_pair.inconclusive}" if missing_pair.inconclusive else ""
        inconclusive = inconclusive or about
    tests += [] if few or pair.is_hopeless or min(missing) == 1 else of_values
    if not tests:
        return ColumnShift(None, 0.0, 0.0, "", missing, unseen, inconclusive, pair.unit, inconclusive)
    # By Bonferroni's rule the smallest p of the tests whose effect matters, or of all when none does.
    first = min(tests, key=lambda test: (not test.matters, test.found.p))
    p = min(1.0, first.found.p * len(tests))
    named = first if first.why == _MISSING else _cause(tests) or first
    return ColumnShift(
        p, named.found.effect, named.floor, named.unit, missing, unseen, named.why, pair.unit, inconclusive
    )


def _cause(tests: Sequence[ColumnTest]) -> ColumnTest | None:
    """A change beyond doubt that explains the others: which of them has the smallest p then says nothing."""
    return next((test for test in tests if test.is_cause and test.matters and test.found.p <= LEAST_P), None)


def _too_few(reference: Profile, current: Profile, unit: str) -> str:
    rows = min(int(sample.rows.sum()) for sample in (reference, current))
    if rows < LEAST_ROWS:
        return f"{rows} rows are too few: {LEAST_ROWS:.0f} are needed"
    if min(reference.blocks, current.blocks) < units.LEAST:
        return f"{unit} are too few: {units.LEAST} are needed"
    return ""


def _too_few_values(reference: Profile, current: Profile) -> str:
    """The same of what is not missing."""
    values = min(int(sample.known.rows.sum()) for sample in (reference, current))
    blocks = min(sample.known.blocks for sample in (reference, current))
    if values < LEAST_ROWS or blocks < units.LEAST:
        return f"{values} values are too few: {LEAST_ROWS:.0f} are needed, in {units.LEAST} blocks"
    return ""


def _missing(sample: Profile) -> float:
    return float(sample.cells[-1] / max(1, sample.cells.sum()))


def _missing_test(pair: _Pair) -> ColumnTest:
    import numpy as np

    found = share_difference(pair.reference, pair.current, np.array([False, True, False]))
    return ColumnTest(_MISSING, found, 0.005, "of rows")


def _number_tests(
    reference: Profile, current: Profile, place: NDArray[Any], spread: NDArray[Any] | None
) -> Iterator[ColumnTest]:
    yield ColumnTest("it moved", mean_difference(reference, current, place), 0.05, "sd", is_cause=True)
    if spread is not None:
        yield ColumnTest("its spread changed", mean_difference(reference, current, spread), 0.067, "sd of its spread")
    if (outer := tails(reference)).any():
        yield ColumnTest("its tails changed", share_difference(reference, current, outer), 0.002, "of rows")
    groups = shape_groups(reference.cells)
    shape, shape_now = reference.grouped(groups), current.grouped(groups)
    found = Difference(cells_difference(shape, shape_now).p, _kolmogorov(shape, shape_now))
    yield ColumnTest("its shape changed", found, 0.02, "of the distribution")


def _category_tests(reference: Profile, current: Profile) -> Iterator[ColumnTest]:
    groups = _large_enough(reference.cells + current.cells, min(reference.rows.sum(), current.rows.sum()))
    found = cells_difference(reference.grouped(groups), current.grouped(groups))
    yield ColumnTest("its values are distributed differently", found, 0.02, "of rows")
    if (new := ColumnTest("it has new values", unseen_difference(reference, current), 0.005, "of rows")).matters:
        yield new


def _kolmogorov(reference: Profile, current: Profile) -> float:
    """The largest difference of the distribution functions."""
    import numpy as np

    before, now = (np.cumsum(sample.cells) / max(1, sample.cells.sum()) for sample in (reference, current))
    return float(np.abs(now - before).max())


def _large_enough(both: NDArray[Any], smaller: float) -> NDArray[Any]:
    """The group of each cell: its own if it is large enough in both samples, and one for all others.

    The last cell holds values too rare for one: with those of few rows it makes one group, whichever are in it.
    """
    import numpy as np

    large = np.flatnonzero(both[:-1] * smaller / max(1, both.sum()) >= LEAST_EXPECTED)
    group = np.full(len(both), len(large))
    group[large] = np.arange(len(large))
    return group


def _share_of_rare(both: NDArray[Any]) -> float:
    """The share of values that are too rare to be compared; the last cell holds those that have none of their own."""
    rare = both[:-1][both[:-1] < LEAST_EXPECTED].sum() + both[-1]
    return float(rare / max(1, both.sum()))
