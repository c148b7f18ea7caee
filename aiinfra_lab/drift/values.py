"""What a model answered, and the arrays that it was asked, as columns to compare: numbers and texts as they are,
vectors by their first principal component in the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


_DIGITS = 5
# So many rows of the reference give the component: more would change it little.
_MOST_ROWS = 5_000


def frame(names: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A column for each of these names; an array, or the numbers of several labels, is a flat list."""
    import polars as pl

    return pl.DataFrame([_column(name, [row.get(name) for row in rows]) for name in names])


def projected(reference: pl.DataFrame, current: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both samples with a number in place of each vector."""
    import polars as pl

    both = (reference, current)
    names = [name for name in reference.columns if any(isinstance(side[name].dtype, pl.List) for side in both)]
    for name in names:
        # Of vectors of unequal length those of the reference say how long they are to be.
        width = max([1, *map(len, reference[name].to_list())])
        component = _component(_matrix(reference[name], width))
        reference, current = (
            side.with_columns(pl.Series(name, _matrix(side[name], width) @ component, dtype=pl.Float64))
            for side in (reference, current)
        )
    return reference, current


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    if any(isinstance(value, Mapping) for value in values):
        return pl.Series(name, [[*value.values()] for value in values], dtype=pl.List(pl.Float64))
    if any(isinstance(value, list) or getattr(value, "ndim", 0) for value in values):
        return pl.Series(name, [_flat(value) for value in values], dtype=pl.List(pl.Float64))
    if any(isinstance(value, str | bool) for value in values):
        return pl.Series(name, [str(value) for value in values], dtype=pl.String)
    # To five digits, since the last ones of a number differ with the size of its batch.
    return pl.Series(name, values, dtype=pl.Float64, strict=False).round_sig_figs(_DIGITS)


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
