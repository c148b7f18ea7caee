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
    held out, where all have one and not all the same: a model is asked about rows that come after all it has seen. Else
    they are drawn at random, of each class of the label, if it is one, as many as its share.
    """
    if not 0 < share < 1:
        raise UsageProblem(f"a hold-out of {share} leaves nothing on one side", "write run.split(holdout=0.2)")
    if len(frame) < 2:
        raise UsageProblem(f"{counted(len(frame), 'row')} leaves nothing to hold out", "give more rows")
    if group:
        return _by_group(frame, share, group, seed)
    why = _why_not_by(frame, time)
    if time and not why:
        # Stable, so that rows of the same time fall on the same side each time.
        ordered = frame.sort_values(time, kind="stable")
        kept = len(ordered) - _count(len(ordered), share)
        return Holdout(ordered.iloc[:kept], ordered.iloc[kept:], f"the latest {show_share(share)} by {time}")
    if len(label) == 1 and _is_of_classes(frame[label[0]]):
        held = _stratified(frame[label[0]], share, seed)
        return _parts(frame, held, f"{show_share(share)} at random, of each {label[0]} alike (seed {seed}){why}")
    import numpy as np

    drawn = np.random.default_rng(seed).permutation(len(frame))[: _count(len(frame), share)]
    held = np.zeros(len(frame), bool)
    held[drawn] = True
    return _parts(frame, held, f"{show_share(share)} at random (seed {seed}){why}")


def _why_not_by(frame: pd.DataFrame, time: str) -> str:
    """Why rows have no order in that time; nothing where they have one."""
    if not time:
        return ""
    if missing := int(frame[time].isna().sum()):
        return f", since {missing:,} of {len(frame):,} rows have no {time}"
    return f", since {time} has one value only" if frame[time].nunique() < 2 else ""


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
    import numpy as np

    generator, held = np.random.default_rng(seed), np.zeros(len(label), bool)
    places = label.reset_index(drop=True)
    for _, rows in places.groupby(places, sort=True):
        drawn = generator.permutation(rows.index.to_numpy())
        held[drawn[: _count(len(drawn), share)]] = True
    return held


def _count(rows: int, share: float) -> int:
    """So many of them are held out: at least one, and never all."""
    return max(1, min(rows - 1, rows - round(rows * (1 - share))))


def _parts(frame: pd.DataFrame, held: NDArray[Any], how: str) -> Holdout:
    return Holdout(frame[~held], frame[held], how)
