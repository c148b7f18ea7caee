"""Which rows count as one: units of evidence that are independent of each other, while the rows within one need not be.

They are declared (a day, a customer), or found: rows that repeat, entities that return, else stretches of consecutive
rows, as long as rows resemble their neighbours. How well that works was measured: see `tests/benchmarks`, row true.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dependence import dependence

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

MOST = 64
"""With more blocks, neighbours are added up: a t with that many degrees of freedom is nearly a normal distribution."""
LEAST = 5
"""From fewer blocks nothing can be concluded."""

_TIMES = 1.1
_MOST_TIMES, _LEAST_ENTITIES = 50.0, 20
"""A value that returns more often than the one is an entity's where there are the other many: else it is a category."""
_MOST_MISSING = 0.1
_LOOK = 2000
_DESIGN_EFFECT = 1.5
_SLOW = 4.0


@dataclass(frozen=True)
class Blocks:
    """The block (0, 1, …) of each row of both samples, and what a block is, e.g. `day`.

    is_ordered: whether neighbouring blocks may be alike, as days are, and then count as one. many: how many there were
    in both samples before neighbours were taken together; None where none were.
    """

    reference: NDArray[Any]
    current: NDArray[Any]
    unit: str
    is_ordered: bool = False
    many: tuple[int, int] | None = None

    @classmethod
    def of(cls, reference: pl.Series, current: pl.Series, unit: str, *, is_ordered: bool = False) -> Blocks:
        """One block a value, neighbours together when there are more than MOST; what is missing is one block."""
        (codes, many), (codes_now, many_now) = _by_value(reference), _by_value(current)
        return cls(codes, codes_now, unit, is_ordered, (many, many_now))

    def of_column(self, name: str) -> Blocks | Ordered:
        """What counts as one in that column: rows in the column that was found to name entities, if those are few.

        Other keys in another sample are no change. But values that return as often as those of a vocabulary may be one,
        of which each has got another name.
        """
        is_found = name == self.unit and not self.is_ordered
        many = self.many[1] if self.many else len(self.current)
        return Ordered() if is_found and len(self.current) > _MOST_TIMES * many else self


@dataclass(frozen=True)
class Ordered:
    """Rows that have no block, only an order: by the value of a column (indices, as of argsort), else as they come."""

    unit: str = "rows"
    reference: NDArray[Any] | None = None
    current: NDArray[Any] | None = None

    def of_column(self, _: str) -> Ordered:
        """The same in each column."""
        return self


def by_column(reference: pl.Series, current: pl.Series, unit: str) -> Blocks | Ordered:
    """One block a value, in the order of values; neighbours together when there are more than MOST.

    The level of a test, e.g. 5 %, holds as far as blocks are independent of each other. That is believed of what is
    declared, but for neighbouring values that resemble each other: they are taken together down to ten blocks.
    Measured without a change: at most 7 % of checks of 5 to 365 independent days, of one size or not, with rare outages
    or without. Of 60 days or more that resemble those before by a correlation of .5, or of which only weeks are
    independent, it is up to 9 %; of 14 to 30 such days, too few to show it, up to 15 % of a column and 21 % of a check
    of five. By a correlation of .8 it is 20 to 25 %: such days are no units of evidence, declare longer ones.

    Neighbours are those of the order of values: days as texts are in it when the year is first. Rows without a value
    are one block.

    A column with another value in each row, e.g. a moment, sets an order of rows and no blocks.
    """
    if all(len(sample) and sample.n_unique() == len(sample) for sample in (reference, current)):
        return Ordered(f"rows in the order of {unit}", reference.arg_sort().to_numpy(), current.arg_sort().to_numpy())
    return Blocks.of(reference, current, unit, is_ordered=True)


def find(reference: pl.DataFrame, current: pl.DataFrame) -> Blocks | Ordered:
    """The blocks of two samples of which nothing is declared.

    How far a level of 5 % holds then is measured, at most 9 %: for rows that are independent, autoregressive, repeated,
    or of entities that a column names. Entities that no column names, in rows that are shuffled, are not seen, nor is
    a slow wander beneath much noise (up to 30 %, measured). Where stretches of the current sample differ beyond doubt
    from its others, the column is inconclusive.
    """
    before, after = _hashed(reference), _hashed(current)
    if before is not None and after is not None and _returns(before, after):
        return Blocks.of(before, after, "rows that repeat")
    for name in reference.columns:
        if _returns(reference[name], current[name]) and _is_entity(name, reference, current):
            return Blocks.of(reference[name], current[name], name)
    return Ordered()


def _by_value(values: pl.Series) -> tuple[NDArray[Any], int]:
    import numpy as np

    ranks = values.rank("dense").fill_null(0).to_numpy().astype(int)
    _, codes = np.unique(ranks, return_inverse=True)
    many = int(codes.max(initial=-1)) + 1
    return (codes * MOST // many if many > MOST else codes), many


def _hashed(sample: pl.DataFrame) -> pl.Series | None:
    """Each row as a number; None where a column alone has nearly as many values as there are rows."""
    least = 0.95 * _TIMES
    for values in sample:
        distinct: Any = 1 if values.dtype.is_nested() else values.approx_n_unique()
        if len(sample) < least * distinct:
            return None
    return sample.hash_rows()


def _returns(reference: pl.Series, current: pl.Series) -> bool:
    """Whether values return within a sample much more often than between the samples.

    Values that return between them as well, such as the routes of an airline, are the population and no sample of it.
    """
    if not all(_may_return(sample) for sample in (reference, current)) or _are_shared(reference, current):
        return False
    known = reference.drop_nulls().unique()
    counts = known.len(), current.drop_nulls().n_unique()
    times = [len(sample) / count for sample, count in zip((reference, current), counts, strict=True)]
    if not all(_is_often(*each) for each in zip(times, counts, strict=True)):
        return False
    between = int(current.is_in(known.implode()).sum())
    return between / len(current) < (1 - 1 / min(times)) / 2


def _is_often(times: float, count: float) -> bool:
    return times >= _TIMES and (times <= _MOST_TIMES or count >= _LEAST_ENTITIES)


def _may_return(values: pl.Series) -> bool:
    """The same as far as an estimate (HyperLogLog, exact to a few percent) can tell; it takes a tenth of the time."""
    if values.dtype.is_nested() or not len(values) or values.null_count() > _MOST_MISSING * len(values):
        return False
    distinct: Any = values.approx_n_unique()
    return _is_often(len(values) / max(1, distinct) * 1.05, distinct * 1.05)


def _are_shared(reference: pl.Series, current: pl.Series) -> bool:
    """Whether values return between the samples, as a look at some rows tells; most categories do."""
    step = max(1, len(current) // _LOOK), max(1, len(reference) // (5 * _LOOK))
    some, others = current.gather_every(step[0]), reference.gather_every(step[1])
    return int(some.is_in(others.unique().implode()).sum()) > len(some) / 2


def _is_entity(name: str, reference: pl.DataFrame, current: pl.DataFrame) -> bool:
    """Whether rows with the same value in this column are alike in any other: there each row counts for less than one.

    Only where the order of rows does not show it: a slow wander also has values of its own in each sample.
    """
    samples = (reference, current)
    if any(dependence(sample[name].rank().to_numpy())[0] > _SLOW for sample in samples):
        return False
    codes = [_by_value(sample[name])[0] for sample in samples]
    return any(
        all(
            _design_effect(sample[other].rank().to_numpy(), of) > _DESIGN_EFFECT
            for sample, of in zip(samples, codes, strict=True)
        )
        for other in reference.columns
        if other != name
    )


def _design_effect(ranks: NDArray[Any], codes: NDArray[Any]) -> float:
    """How much more the mean varies than if rows were independent, by the blocks of these rows."""
    import numpy as np

    held = ~np.isnan(ranks)
    off, codes = ranks[held] - ranks[held].mean(), codes[held]
    whole = float(off @ off)
    return float((np.bincount(codes, off) ** 2).sum()) / whole if whole else math.nan
