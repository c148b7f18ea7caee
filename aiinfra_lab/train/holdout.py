"""Which rows of a run are held out: the latest where there is a time, else some drawn at random, as it is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageProblem, did_you_mean
from ..units import counted, show_share

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# A label with so few values, each of them there twice at least, is one of classes.
_MOST_CLASSES = 50


class Holdout(NamedTuple):
    """Two parts of a frame, and in words how the second was chosen."""

    learned: pd.DataFrame
    held: pd.DataFrame
    how: str


def divided(frame: pd.DataFrame, share: float, *, time: str, label: Sequence[str], group: str, seed: int) -> Holdout:
    """Hold out that share of the rows.

    group: a column whose rows with one value stay together, drawn at random. Without it the latest rows by `time` are
    held out, where all have one and not all the same: a model is asked about rows that come after all it has seen, so
    rows of one time stay together. Else they are drawn at random, of each class of the label, if it is one, as many as
    its share. What is said is the share that is held out.
    """
    if not 0 < share < 1:
        raise UsageProblem(f"a hold-out of {share} leaves nothing on one side", "write run.split(holdout=0.2)")
    if len(frame) < 2:
        raise UsageProblem(f"{counted(len(frame), 'row')} leaves nothing to hold out", "give more rows")
    if group:
        return _by_group(frame, share, group, seed)
    why = _why_not_by(frame, time)
    if time and not why:
        # Stable, so that rows have the same order each time.
        ordered = frame.sort_values(time, kind="stable")
        wanted = len(ordered) - _count(len(ordered), share)
        kept = _border(ordered[time], wanted)
        moved = "" if kept == wanted else f": rows of one {time} stay together"
        how = f"the latest {show_share(1 - kept / len(ordered))} by {time}{moved}"
        return Holdout(ordered.iloc[:kept], ordered.iloc[kept:], how)
    if len(label) == 1 and _is_of_classes(frame[label[0]]):
        held = _stratified(frame[label[0]], share, seed)
        part = show_share(held.mean())
        return _parts(frame, held, f"{part} at random, of each {label[0]} alike (seed {seed}){why}")
    import numpy as np

    drawn = np.random.default_rng(seed).permutation(len(frame))[: _count(len(frame), share)]
    held = np.zeros(len(frame), bool)
    held[drawn] = True
    return _parts(frame, held, f"{show_share(held.mean())} at random (seed {seed}){why}")


def _why_not_by(frame: pd.DataFrame, time: str) -> str:
    """Why rows have no order in that time; nothing where they have one."""
    if not time:
        return ""
    if missing := int(frame[time].isna().sum()):
        return f", since {missing:,} of {len(frame):,} rows have no {time}"
    return f", since {time} has one value only" if frame[time].nunique() < 2 else ""


def _border(times: Any, wanted: int) -> int:
    """Where one time ends and another begins, next to the place that is wanted: a model is asked about later rows."""
    import numpy as np

    borders = np.flatnonzero((times != times.shift()).to_numpy()[1:]) + 1
    return int(borders[np.abs(borders - wanted).argmin()])


def _is_of_classes(label: Any) -> bool:
    sizes = label.value_counts()
    return bool(sizes.between(2, len(label)).all()) and len(sizes) <= _MOST_CLASSES


def _by_group(frame: pd.DataFrame, share: float, group: str, seed: int) -> Holdout:
    import numpy as np

    if group not in frame.columns:
        raise UsageProblem(f"the rows have no column {group!r}", did_you_mean(group, map(str, frame.columns)))
    groups = frame[group].drop_duplicates().to_numpy()
    if len(groups) < 2:
        raise UsageProblem(f"{group} has one value only", "group by another column, or leave it out")
    drawn = np.random.default_rng(seed).permutation(groups)[: _count(len(groups), share)]
    held = frame[group].isin(drawn).to_numpy()
    return _parts(frame, held, f"{len(drawn):,} of {len(groups):,} values of {group} at random (seed {seed})")


def _stratified(label: Any, share: float, seed: int) -> NDArray[Any]:
    """So many of each class as its share, and of what is left of the whole one more of those that lack most of it."""
    import numpy as np

    generator, held = np.random.default_rng(seed), np.zeros(len(label), bool)
    places = label.reset_index(drop=True)
    drawn = [generator.permutation(rows.index.to_numpy()) for _, rows in places.groupby(places, sort=True)]
    sizes = np.array([len(rows) for rows in drawn])
    counts = np.minimum(np.floor(sizes * share + 1e-9).astype(int), sizes - 1)
    lacks = np.where(counts < sizes - 1, sizes * share - counts, -1.0)
    # Classes of one size lack the same: which of them give one more is drawn too.
    order = np.lexsort((generator.permutation(len(sizes)), -lacks.round(9)))
    left = min(_count(len(label), share) - int(counts.sum()), int((lacks >= 0).sum()))
    counts[order[: max(0, left)]] += 1
    for rows, count in zip(drawn, counts, strict=True):
        held[rows[:count]] = True
    return held


def _count(rows: int, share: float) -> int:
    """So many of them are held out: at least one, and never all."""
    return max(1, min(rows - 1, rows - round(rows * (1 - share))))


def _parts(frame: pd.DataFrame, held: NDArray[Any], how: str) -> Holdout:
    return Holdout(frame[~held], frame[held], how)
