"""What a model answered, and the arrays that it was asked, as columns to compare: numbers and texts as they are,
vectors by the first principal component of both samples together, free texts by their length and the
words that are new in them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..stats.blocks import Blocks, Ordered
from ..train.texts import measures

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

NEW_WORDS = "new_words"
_DIGITS = 5
_BITS = 21  # of the 24 that a number in FP32 has: those behind them are a matter of the order of sums
_SEVERAL = -1
# So many rows give the component: more would change it little.
_MOST_ROWS = 5_000


def frame(
    names: Iterable[str],
    rows: Sequence[Mapping[str, Any]],
    texts: Collection[str] = (),
) -> pl.DataFrame:
    """A column for each of these names; an array, or the numbers of several labels, is a flat list.

    texts: those that are free texts: there are NAME.characters, NAME.words, and the different words as NAME.new_words.
    """
    import polars as pl

    columns: list[pl.Series] = []
    for name in names:
        values = [row.get(name) for row in rows]
        columns += _of_texts(name, values) if name in texts else [_column(name, values)]
    return pl.DataFrame(columns)


def rounded(
    reference: pl.DataFrame, current: pl.DataFrame, names: Collection[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both samples with the numbers of these columns rounded alike, by the reference alone.

    The last digits of an answer differ with the size of its batch, and a number that many rows share would seem to be
    another one for all of them. To five digits, of how far it is from the reference's median: of a time, which is
    large, only that varies; but not to more than FP32 tells apart at the median.
    """
    import polars as pl

    for name in names:
        if not reference[name].dtype == current[name].dtype == pl.Float64:
            continue
        known = reference[name].filter(reference[name].is_finite())
        # One of the numbers, so that whole ones stay whole.
        middle = float(known.quantile(0.5, "lower") or 0.0)
        step = math.ldexp(1, math.frexp(middle)[1] - _BITS) if middle else 0.0
        number = (pl.col(name) - middle).round_sig_figs(_DIGITS)
        number = middle + ((number / step).round() * step if step else number)
        reference, current = reference.with_columns(number.alias(name)), current.with_columns(number.alias(name))
    return reference, current


def vectors(reference: pl.DataFrame, current: pl.DataFrame) -> tuple[str, ...]:
    """The columns that hold a vector in each row."""
    import polars as pl

    numbers = pl.List(pl.Float64)
    return tuple(name for name in reference.columns if numbers in (reference[name].dtype, current[name].dtype))


def projected(
    reference: pl.DataFrame, current: pl.DataFrame, units: Blocks | Ordered | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both samples with a number in place of each vector, and of each text's words the share of those that are new.

    units: which rows count as one, where that is known: texts of one block know each other's words.
    """
    import numpy as np
    import polars as pl

    both = (reference, current)
    names = [name for name in reference.columns if any(isinstance(side[name].dtype, pl.List) for side in both)]
    for name in names:
        if reference[name].dtype == pl.List(pl.String):
            shares = _new_words(reference[name].to_list(), current[name].to_list(), units)
            reference, current = (
                side.with_columns(pl.Series(name, found, pl.Float64))
                for side, found in zip((reference, current), shares, strict=True)
            )
            continue
        # Of vectors of unequal length those of the reference say how long they are to be.
        width = max([1, *map(len, reference[name].to_list())])
        matrices = [_matrix(side[name], width) for side in (reference, current)]
        # Of both together: where one alone varies most, its own chance is in, and the other seems to vary less.
        component = _component(np.vstack(matrices))
        reference, current = (
            side.with_columns(pl.Series(name, matrix @ component, dtype=pl.Float64))
            for side, matrix in zip((reference, current), matrices, strict=True)
        )
    return reference, current


def _new_words(
    reference: Sequence[list[str] | None], current: Sequence[list[str] | None], units: Blocks | Ordered | None
) -> tuple[list[float | None], list[float | None]]:
    """Of each text the share of its different words that no text of the reference has, but for those of one block: its
    own, and of a text of the current sample, which has none there, any. So both are held against as many texts.

    Not what a tokenizer does not know: one that was fitted on the reference knows all of that, and everything that
    comes later would seem to have drifted.
    """
    if isinstance(units, Blocks):
        blocks, others = units.reference.tolist(), units.current.tolist()
    else:
        blocks, others = range(len(reference)), range(len(current))
    count = max(blocks, default=0) + 1
    only_in: dict[str, int] = {}
    for block, words in zip(blocks, reference, strict=True):
        for word in words or ():
            if only_in.setdefault(word, block) != block:
                only_in[word] = _SEVERAL

    def shares(sample: Sequence[list[str] | None], aside: Iterable[int]) -> list[float | None]:
        return [
            sum(only_in.get(word, block) == block for word in words) / len(words) if words else None
            for words, block in zip(sample, aside, strict=True)
        ]

    return shares(reference, blocks), shares(current, (block % count for block in others))


def _of_texts(name: str, values: Sequence[Any]) -> list[pl.Series]:
    import polars as pl

    found = [measures(value) or (None, None, None) for value in values]
    return [
        pl.Series(f"{name}.characters", [row[0] for row in found], pl.Float64),
        pl.Series(f"{name}.words", [row[1] for row in found], pl.Float64),
        pl.Series(f"{name}.{NEW_WORDS}", [row[2] for row in found], pl.List(pl.String)),
    ]


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    if any(isinstance(value, Mapping) for value in values):
        return pl.Series(name, [[*value.values()] for value in values], dtype=pl.List(pl.Float64))
    if any(isinstance(value, list) or getattr(value, "ndim", 0) for value in values):
        return pl.Series(name, [_flat(value) for value in values], dtype=pl.List(pl.Float64))
    if any(isinstance(value, str | bool) for value in values):
        return pl.Series(name, [str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values, dtype=pl.Float64, strict=False)


def _flat(value: Any) -> list[float]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [number for part in value for number in _flat(part)] if isinstance(value, list) else [float(value)]


def _matrix(column: pl.Series, width: int) -> NDArray[Any]:
    """The vectors as rows, cut off or filled up with 0 to that width."""
    import numpy as np

    found = np.zeros((len(column), width))
    for at, values in enumerate(column.to_list()):
        found[at, : len(values)] = values[:width]
    return found


def _component(vectors: NDArray[Any]) -> NDArray[Any]:
    """The direction in which they differ most, with its largest part positive, so that it has one sign."""
    import numpy as np

    if not len(vectors):
        return np.zeros(vectors.shape[1])
    some = vectors[:: max(1, len(vectors) // _MOST_ROWS)]
    component: NDArray[Any] = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][0]
    return component if component[np.abs(component).argmax()] > 0 else -component
