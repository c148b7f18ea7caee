"""Which of the values that a run measured stand for it: its best ones, and no value of a single batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .history import Point
from .metrics import Epochs, is_held_out, is_lower_better


class Best(NamedTuple):
    """The best value of a metric. at: which of its measurements it was, counted from 1.

    unit: what they were, `epoch` or `measurement`.
    """

    name: str
    value: float
    at: int
    of: int
    unit: str


class RunCurves(NamedTuple):
    """All that a run measured, and its epochs."""

    points: Sequence[Point]
    epochs: Epochs


class ComparedMetric(NamedTuple):
    """A metric of two runs: the value that stands for each; None where it did not measure it.

    is_judged: whether one can be better than the other, which a batch's value cannot.
    """

    name: str
    before: float | None
    after: float | None
    is_judged: bool = True


def best_of_run(points: Sequence[Point], epochs: Epochs) -> Best | None:
    """Of the metric that says most: one on held-out rows comes first."""
    lines = _by_name(points)
    held_out = [name for name in lines if is_held_out(name)]
    others = [name for name in lines if not is_held_out(name)]
    return next((found for name in (*held_out, *others) if (found := best_of(lines[name], epochs))), None)


def best_of(line: Sequence[Point], epochs: Epochs) -> Best | None:
    """The best of a metric's points, of two or more; None where its name says no direction, and of batches."""
    name = line[0].name
    if len(line) < 2 or is_lower_better(name) is None or _is_of_batches(line, epochs):
        return None
    best = (min if is_lower_better(name) else max)(line, key=lambda point: point.value)
    if epochs.has(line[-1].step + 1):
        return Best(name, best.value, best.step + 1, line[-1].step + 1, "epoch")
    return Best(name, best.value, line.index(best) + 1, len(line), "measurement")


def compared(
    theirs: tuple[RunCurves, Mapping[str, float]], ours: tuple[RunCurves, Mapping[str, float]]
) -> tuple[ComparedMetric, ...]:
    """Each metric of two runs, those of the second first. Of either run its curves, and what its record has."""
    (before, was_batch), (after, is_batch) = (_values(*run) for run in (theirs, ours))
    return tuple(
        ComparedMetric(name, before.get(name), after.get(name), name not in was_batch | is_batch)
        for name in {**after, **before}
    )


def _values(curves: RunCurves, recorded: Mapping[str, float]) -> tuple[dict[str, float], set[str]]:
    """The best of each metric, else its last value; and which metrics are of batches."""
    values, of_batches = dict(recorded), set()
    for name, line in _by_name(curves.points).items():
        best = best_of(line, curves.epochs)
        values[name] = best.value if best else line[-1].value
        if _is_of_batches(line, curves.epochs):
            of_batches.add(name)
    return values, of_batches


def _by_name(points: Sequence[Point]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.name, []).append(point)
    return lines


def _is_of_batches(line: Sequence[Point], epochs: Epochs) -> bool:
    """Whether a metric's points are, as far as anybody can tell, of batches that were learned from.

    Such a value says nothing of the run: it is lower for an easier batch.
    """
    name, is_per_epoch = line[0].name, epochs.has(line[-1].step + 1)
    return len(line) > 1 and is_lower_better(name) is True and not is_held_out(name) and not is_per_epoch
