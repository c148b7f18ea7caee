"""Two models on the same held out rows: how much each metric differs, with the interval that chance leaves it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import LabError, NotFound
from ..features.contract import ROW_ID
from ..stats.dependence import dependence
from ..units import counted
from . import heldout
from .heldout import PREFIX
from .metrics import is_lower_better
from .record import TrainingRun
from .row_keys import keys
from .saved_model import ONNX, SavedModel
from .scoring import LEAST_ROWS, SCORED, Metric, Unscored
from .signature import Task

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

RESAMPLES, SEED, CONFIDENCE = 1_000, 0, 0.95
_MOST_PARTS = 256
_LEAST_WORTH = 0.75 * LEAST_ROWS  # of so few rows, what they are worth is known no better
_ALIKE = 0.5
_AT_ONCE = 50  # draws: of 20,000 rows they are 8 MB


class ComparedModel(NamedTuple):
    """A model to compare. run: what it was trained by, where that is known."""

    uri: str
    folder: Path
    made_at: float
    run: TrainingRun | None


@dataclass(frozen=True)
class PairedMetric:
    """One metric of both models on the same rows. low, high: the interval of ours less theirs; None where chance leaves
    nothing to say of it. worth: of how many independent rows, or groups, the interval is. verdict: whether ours is
    better, worse or the same beyond chance; else `cannot tell`.
    """

    name: str
    theirs: float
    ours: float
    low: float | None = None
    high: float | None = None
    worth: float = field(default=math.inf, kw_only=True, compare=False)
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", self._judged())

    @property
    def worse_by(self) -> float:
        """By how much ours is worse; negative where it is better."""
        return self.ours - self.theirs if is_lower_better(self.name) else self.theirs - self.ours

    @property
    def least_worse(self) -> float | None:
        """By how much ours is worse at least, at that confidence."""
        return self.low if is_lower_better(self.name) or self.high is None else -self.high

    def _judged(self) -> str:
        if self.low is None or self.high is None:
            return "cannot tell"
        if self.low == self.high == 0:
            return "same"
        if self.low <= 0 <= self.high:
            return "cannot tell"
        return "better" if (self.high < 0) is is_lower_better(self.name) else "worse"


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same rows. rows: on how many; of: how many of the hold-out were kept; notes: what limits it;
    outputs: how many were compared one by one, for whose number their intervals are corrected.
    """

    metrics: tuple[PairedMetric, ...]
    rows: int
    of: int
    notes: tuple[str, ...] = ()
    outputs: int = 1

    @property
    def how(self) -> str:
        """How the intervals were made, in a sentence."""
        several = (
            f" Those of single outputs are wider, for there are {self.outputs:,}: {CONFIDENCE:.0%} for all of them "
            "together (Bonferroni)."
        )
        worth = min((one.worth for one in self.metrics), default=math.inf)
        alike = (
            f" Rows resemble their neighbours, and are worth about {worth:,.0f} independent ones: the intervals are as "
            "wide as those of so many."
        )
        return (
            f"Both predicted the same {self.rows:,} held out rows. Intervals of {CONFIDENCE:.0%}: a paired bootstrap, "
            f"{_draws(self.outputs):,} draws (seed {SEED}).{alike if worth < _ALIKE * self.rows else ''}"
            f"{several if self.outputs > 1 else ''}"
        )


class GivenRows(NamedTuple):
    """Rows that came after both models, with their labels. of: what they are called."""

    of: str
    table: pd.DataFrame
    label: tuple[str, ...]


class Incomparable(Unscored):
    """The two models cannot be compared on the same rows; what says why. other_tasks: since their tasks differ."""

    other_tasks: bool = False


def attempt(
    ours: ComparedModel, theirs: ComparedModel, given: GivenRows | None = None
) -> PairedComparison | Incomparable:
    """The same, or why they cannot be compared."""
    try:
        return compare(ours, theirs, given)
    except Incomparable as problem:
        return problem
    except LabError as problem:  # a file of one of the models is damaged, or gone
        return Incomparable(problem.what, problem.fix)


def compare(ours: ComparedModel, theirs: ComparedModel, given: GivenRows | None = None) -> PairedComparison:
    """Predict the newer model's hold-out with both, or the older's where the newer has none, or what is given.

    Incomparable if they cannot.

    Rows that one of them learned from are left out.
    """
    for one in (ours, theirs):
        if not (one.folder / ONNX).is_file():
            raise Incomparable(f"{one.uri} has no model here", "run.save(model) keeps one")
    pair = [SavedModel(one.folder, threads=0) for one in (ours, theirs)]
    # First: of models that do not predict the same nothing else is to be said.
    _refuse_other_tasks(pair)
    by_age = sorted((ours, theirs), key=lambda one: one.made_at, reverse=True)
    try:
        judged = _held_out(by_age) if given is None else _of_given(given, by_age, pair[0])
        rows, groups = judged.rows, None
        mine, other_ones = (heldout.scored(one, rows, judged.label, judged.group).metrics for one in pair)
    except Incomparable:
        raise
    except LabError as problem:
        raise Incomparable(problem.what, problem.fix) from problem
    notes = judged.notes
    if judged.group in rows.columns:
        groups = rows[judged.group]
        if (count := groups.nunique(dropna=False)) < LEAST_ROWS:
            notes = (*notes, f"{counted(count, 'value')} of {judged.group} are too few for an interval.")
    found = tuple(_differences(mine, other_ones, len(rows), groups))
    return PairedComparison(found, len(rows), judged.of, notes, _outputs(mine))


class _Judged(NamedTuple):
    """Rows that neither model learned from. of: of how many; notes: what limits them."""

    rows: pd.DataFrame
    label: tuple[str, ...]
    group: str
    of: int
    notes: tuple[str, ...]


def _held_out(by_age: Sequence[ComparedModel]) -> _Judged:
    owner = next((one for one in by_age if one.run and one.run.stored), None)
    if owner is None or owner.run is None or owner.run.stored is None:
        raise Incomparable(
            "neither run kept a hold-out", "train with run.split() and save with task='classification' or 'regression'"
        )
    stored = owner.run.stored
    other = next(one for one in by_age if one is not owner)
    rows, notes = heldout.read(stored), tuple[str, ...]()
    if not (other.run and other.run.stored and other.run.stored.digest == stored.digest):
        rows, notes = _unlearned(rows, stored.label, other)
    _refuse_few(rows, f"the hold-out of {owner.uri}", other)
    return _Judged(rows, stored.label, stored.group, stored.rows, notes)


def _of_given(given: GivenRows, models: Sequence[ComparedModel], saved: SavedModel) -> _Judged:
    rows = heldout.labelled(saved, given.table, given.label)
    notes: tuple[str, ...] = (f"The rows are those of {given.of}.",)
    for one in models:
        rows, more = _unlearned(rows, given.label, one)
        notes = (*notes, *more)
        _refuse_few(rows, given.of, one)
    return _Judged(rows, given.label, "", len(given.table), notes)


def _refuse_few(rows: pd.DataFrame, of: str, other: ComparedModel) -> None:
    if len(rows) < LEAST_ROWS:
        raise Incomparable(
            f"{other.uri} learned from all but {counted(len(rows), 'row')} of {of}",
            "hold out the same rows, by a time or the same --seed; or give rows that neither has seen",
        )


def _refuse_other_tasks(pair: Sequence[SavedModel]) -> None:
    ours, theirs = (one.signature.task for one in pair)
    named = [{output: {*labels} for output, labels in one.all_labels.items()} for one in (ours, theirs)]
    differ = ours.name != theirs.name or named[0] != named[1]
    tasks = f"their tasks differ: {_shown(ours)}, and {_shown(theirs)}"
    # Custom says of no task what it is: such a one may have predicted the same, and measured it by code of its own.
    if differ and "custom" not in (ours.name, theirs.name):
        raise _of_other_tasks(tasks, "compare models of one task")
    # A model from a file knows of no label, and neither does one of arrays: that is no other task.
    label, other = (one.columns.label if one.is_of_table else "" for one in pair)
    if label and other and label != other:
        raise _of_other_tasks(f"their tasks differ: to predict {label}, and {other}", "compare models of one label")
    if differ:
        raise Incomparable(tasks, "save both with one task")
    if ours.name not in SCORED:
        raise Incomparable(
            f"no metric is computed for their task {ours.name}",
            "save with task='classification', 'regression' or 'ranking'",
        )


def _of_other_tasks(what: str, fix: str) -> Incomparable:
    problem = Incomparable(what, fix)
    problem.other_tasks = True
    return problem


def _shown(task: Task) -> str:
    of = [f"{output}{': ' * bool(output)}{', '.join(labels[:5])}" for output, labels in task.all_labels.items()]
    return f"{task.name} of {'; '.join(of)}" if of else task.name


def _unlearned(
    rows: pd.DataFrame, label: tuple[str, ...], other: ComparedModel
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that the other model did not learn from, and what is to be known of that."""
    unknown = f"What {other.uri} learned from cannot be read: it may know some of these rows, which favours it."
    if other.run is None or not other.run.rows:
        return rows, (unknown,)
    try:
        learned = _learned(other.run)
    except LabError:
        return rows, (unknown,)
    # Not the row's id, which may be its place: the same row has another one in another version of the data.
    names = [name for name in learned.columns if name in rows.columns and name not in (*label, ROW_ID)]
    if not names:
        return rows, (unknown,)
    import numpy as np

    tables = [_polars(rows), learned]
    if other.run.stored:
        # Where its hold-out is gone, its rows count as learned: some too many are left out, and none too few.
        with contextlib.suppress(NotFound):
            tables.append(_polars(heldout.read(other.run.stored)))
    asked, known, *aside = keys(tables, names)
    is_known = np.isin(asked, np.setdiff1d(known, aside[0]) if aside else known)
    if not is_known.any():
        return rows, ()
    count = counted(int(is_known.sum()), "row")
    return rows[~is_known].reset_index(drop=True), (f"{count} that {other.uri} learned from are left out.",)


def _learned(run: TrainingRun) -> pl.DataFrame:
    from .. import features

    return features.open_rows(run.rows).table()


def _polars(rows: pd.DataFrame) -> pl.DataFrame:
    from ..data.frames import to_polars

    return to_polars(rows)


def _differences(
    ours: Sequence[Metric], theirs: Sequence[Metric], rows: int, groups: pd.Series[Any] | None
) -> Iterator[PairedMetric]:
    import numpy as np

    before = {one.name: one for one in theirs}
    pairs = ((one, before[one.name]) for one in ours if one.name in before)
    known = [(one, other) for one, other in pairs if one.value is not None and other.value is not None]
    outputs = _outputs(ours)
    drawn = _under(_weights(rows, groups, _draws(outputs)), known)
    without = [] if groups is not None else _under(_left_out(rows), known)
    count = rows if groups is None else groups.nunique(dropna=False)
    for at, (one, other) in enumerate(known):
        assert one.value is not None  # for the type checker
        assert other.value is not None
        off, difference = drawn[at], one.value - other.value
        is_finite = np.isfinite(off)
        # Where a class is so rare that most draws have none of it, what is left of them says nothing.
        is_known, off = is_finite.mean() > 1 / 2, off[is_finite]
        worth = _worth(without[at], off, rows) if is_known and groups is None else float(count)
        bounds = (None, None)
        if is_known and worth >= _LEAST_WORTH:
            # One of many outputs is beyond its own 95 % by chance.
            tail = (1 - CONFIDENCE) / 2 / (outputs if one.output else 1)
            off = difference + _wider(worth, count, tail) * (off - difference)
            bounds = np.percentile(off, [100 * tail, 100 - 100 * tail]).tolist()
        yield PairedMetric(f"{PREFIX}{one.name}", other.value, one.value, *bounds, worth=worth)


def _under(weights: Iterable[NDArray[Any]], pairs: Sequence[tuple[Metric, Metric]]) -> list[NDArray[Any]]:
    """Of each pair of metrics, what ours is less theirs under all those weights."""
    import numpy as np

    found: list[list[NDArray[Any]]] = [[] for _ in pairs]
    for some in weights:
        for differences, (one, other) in zip(found, pairs, strict=True):
            differences.append(one.draws(some) - other.draws(some))
    return [*map(np.concatenate, found)]


def _left_out(rows: int) -> Iterator[NDArray[Any]]:
    """Weights that leave out some consecutive rows, then the next ones, and so on."""
    import numpy as np

    parts = min(rows, _MOST_PARTS)
    at = np.arange(rows) * parts // rows
    for some in np.array_split(np.arange(parts), -(-parts // _AT_ONCE)):
        yield (at != some[:, None]).astype(np.float64)


def _worth(without: NDArray[Any], drawn: NDArray[Any], rows: int) -> float:
    """How many independent rows these are worth, whose neighbours (those of one day, say) may be alike.

    By how much more the difference varies by the jackknife over consecutive parts (Quenouille, 1949), and with what
    these share with their neighbours, than by drawing row by row. without: the difference without each of the parts.
    """
    import numpy as np

    without = np.where(np.isfinite(without), without, np.nanmean(without))
    time, _ = dependence(without)
    varies = (len(without) - 1) * float(without.var()) * time
    row_by_row = float(drawn.var())
    return rows / max(1.0, varies / row_by_row) if row_by_row else float(rows)


def _wider(worth: float, drawn: int, tail: float) -> float:
    """By what to stretch draws of so many rows that are worth fewer, and of few as Student's t has it."""
    from scipy import special

    small = special.stdtrit(worth - 1, 1 - tail) / special.ndtri(1 - tail) * math.sqrt(worth / (worth - 1))
    return float(small * math.sqrt(drawn / worth))


def _outputs(metrics: Sequence[Metric]) -> int:
    """How many outputs have metrics of their own."""
    return max(1, len({one.output for one in metrics} - {""}))


def _draws(outputs: int) -> int:
    """So many that one of them at least is beyond the interval of each output."""
    return max(RESAMPLES, _AT_ONCE * outputs)


def _weights(rows: int, groups: pd.Series[Any] | None, draws: int) -> Iterator[NDArray[Any]]:
    """How often each row is drawn, some draws at a time; rows of one group are drawn together."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    at = np.arange(rows) if groups is None else groups.factorize(use_na_sentinel=False)[0]
    count = int(at.max()) + 1
    for _ in range(draws // _AT_ONCE):
        drawn = generator.multinomial(count, np.full(count, 1 / count), _AT_ONCE)
        yield drawn[:, at].astype(np.float64)
