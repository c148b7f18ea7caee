"""What the verbs of `train` return, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from ..show import Card, Comparison, Listing, Result, TableColumn, log_time, shown_apart
from ..store import Record, open_store
from ..uris import Uri
from . import best, checkpoint, history, record, rendering
from .best import ComparedMetric, RunCurves
from .checkpoint import CheckpointProgress
from .metrics import count_epochs, epochs_of
from .observing import ObservedTraining, RunState
from .plain import TableColumns
from .record import StoredHoldout, TrainingRun

if TYPE_CHECKING:
    from .paired import PairedComparison


@dataclass(frozen=True)
class Run(Result):
    """A training run. `state` is starting, running, stopping, done, failed, stopped, or killed (its process vanished).

    metrics: the last value of each. metrics_from: the run that measured them, when this one had no epoch left to train.
    checkpoint: the epoch of the last checkpoint; checkpoint_step: how many steps of the next one it holds. model:
    whether it saved one. problem, fix: why it failed.
    table: which columns it learned from, of data that no feature set made. is_timeless: whether it learned from rows
    of a feature set without a time. stored: the rows that its model was measured on; notes: what could not be measured.
    """

    uri: str
    state: RunState
    metrics: dict[str, float]
    params: dict[str, Any]
    rows: str
    seed: int
    started_at: float
    duration_s: float
    code_digest: str
    checkpoint: int | None
    model: bool
    checkpoint_step: int = 0
    rows_digest: str = ""
    on: str = ""
    resumed_from: str = ""
    metrics_from: str = ""
    problem: str = ""
    fix: str = field(default="", metadata={"json": False})
    tracked_as: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    holdout: str = ""
    table: TableColumns | None = field(default=None, repr=False, metadata={"json": False})
    is_timeless: bool = field(default=False, repr=False, metadata={"json": False})
    stored: StoredHoldout | None = field(default=None, repr=False, metadata={"json": False})
    notes: tuple[str, ...] = field(default=(), repr=False, metadata={"json": False})
    path: Path = field(default=Path(), repr=False)

    def points(self) -> list[history.Point]:
        """Every measurement, oldest first."""
        return history.read(self.path / history.FILE)

    def df(self) -> Any:
        """Every measurement as a pandas data frame: at, name, step, value."""
        import pandas as pd

        return pd.DataFrame(self.points(), columns=list(history.Point._fields))

    def rows_df(self) -> Any:
        """The rows that it learned from, as a pandas data frame."""
        from .. import features

        return features.open_rows(self.rows).df()

    def card(self) -> Card:
        """What came of it, its curves, and how to go on."""
        return rendering.run_card(self, self._advice())

    @property
    def progress(self) -> CheckpointProgress | None:
        """How far its last checkpoint is."""
        return None if self.checkpoint is None else CheckpointProgress(self.checkpoint, self.checkpoint_step)

    def _advice(self) -> str:
        """What mends a run that did not come to its end, and how to go on from the checkpoint that it kept."""
        again = self._how_to_resume()
        if not self.fix:  # stopped or killed: its code may be as good as it was
            return again and f"{again} and the same code."
        return f"{self.fix}; then {again}." if again else f"{self.fix}."

    def _how_to_resume(self) -> str:
        if self.checkpoint is None or self.state not in ("killed", "stopped", "failed"):
            return ""
        uri = Uri.parse(self.uri)
        newest = open_store().list(TrainingRun, name=uri.name, limit=1)[0]
        # --resume means the newest run of the name, so an older one has to be named.
        flag = "--resume" if newest.uri == self.uri else f"--from {uri.label}"
        return f"go on from its checkpoint {self.progress} with `%%train run {uri.name} {flag} …`"


@dataclass(frozen=True, repr=False)
class Runs(Listing):
    """Runs, the last started first."""

    def columns(self, name: str) -> Sequence[TableColumn]:
        found = super().columns(name)
        return [*found, rendering.curve_column(self.items)] if name == "metrics" else found


@dataclass(frozen=True)
class RunLog(Result):
    """What a run printed and measured, and how it went wrong."""

    uri: str
    state: RunState
    lines: tuple[str, ...]
    measured: tuple[str, ...]

    def card(self) -> Card:
        return rendering.log_card(self)


@dataclass(frozen=True)
class RunComparison(Comparison):
    """Two runs compared by meaning. metrics: the values that stand for each; curves: run → what it measured.

    paired: their models on the same held out rows; unpaired: why they could not be compared on them, where they have
    models of a task that could.
    """

    metrics: tuple[ComparedMetric, ...] = field(default=(), metadata={"json": False})
    curves: Mapping[str, RunCurves] = field(default_factory=dict, repr=False, metadata={"json": False})
    paired: PairedComparison | None = field(default=None, repr=False)
    unpaired: str = field(default="", repr=False)

    def card(self) -> Card:
        return rendering.comparison_card(self)


def run_of(seen: ObservedTraining, *, home: Path | None = None) -> Run:
    """The result that describes a run. home: where the runs' folders are, for whoever asks for many."""
    body, folder = seen.record.body, (home or record.home()) / seen.record.name
    # While it goes on, its record has no metrics yet, and its file has the newest ones.
    metrics = history.latest(history.read(folder / history.FILE)) if seen.is_live else body.metrics
    kept = checkpoint.progress(folder / checkpoint.FILE)
    return Run(
        uri=seen.record.uri,
        state=seen.state,
        metrics=metrics,
        params=dict(body.params),
        rows=body.rows,
        seed=body.seed,
        started_at=body.started_at,
        duration_s=seen.duration_s,
        code_digest=body.code_digest,
        checkpoint=kept.epoch if kept else None,
        checkpoint_step=kept.step if kept else 0,
        model=(folder / record.MODEL / "model.onnx").exists(),
        rows_digest=body.rows_digest,
        on=body.on,
        resumed_from=body.resumed_from,
        metrics_from=body.metrics_from,
        problem=body.problem.what,
        fix=body.problem.fix,
        tracked_as=body.tracked_as,
        machine=dict(body.machine),
        holdout=body.holdout,
        table=body.table,
        is_timeless=body.is_timeless,
        stored=body.stored,
        notes=body.notes,
        path=folder,
    )


def log_of(seen: ObservedTraining, lines: int) -> RunLog:
    """The last lines that a run printed, with the error that ended it, and the last points that it measured."""
    body, folder = seen.record.body, record.folder(seen.record.name)
    output = folder / "output.txt"
    printed = output.read_text("utf-8", "replace").splitlines() if output.exists() else []
    printed += [*body.trace.splitlines(), *body.problem.what.splitlines()]
    points = history.read(folder / history.FILE)
    measured = [f"{log_time(point.at)}  {point.name}[{point.step}] = {point.value:.6g}" for point in points]
    return RunLog(seen.record.uri, seen.state, tuple(printed[-lines:]), tuple(measured[-lines:]))


def comparison(ours: Record[TrainingRun], theirs: Record[TrainingRun]) -> RunComparison:
    """How two runs differ."""
    new, old = ours.body, theirs.body
    before, after = _curves(theirs), _curves(ours)
    pair = _paired(ours, theirs)
    metrics = best.compared((before, old.metrics), (after, new.metrics))
    return RunComparison(
        ours.uri,
        theirs.uri,
        tuple(_changes(ours, theirs, metrics)),
        code=rendering.code_diff(old.code, new.code, (theirs.uri, ours.uri)),
        metrics=metrics,
        curves={Uri.parse(theirs.uri).label: before, Uri.parse(ours.uri).label: after},
        paired=None if isinstance(pair, LabError) else pair,
        unpaired=pair.what if isinstance(pair, LabError) else "",
    )


def _paired(ours: Record[TrainingRun], theirs: Record[TrainingRun]) -> PairedComparison | LabError | None:
    """Their models on the same rows, where either kept a hold-out; why not, where that cannot be."""
    if ours.body.stored is None and theirs.body.stored is None:
        return None
    from . import paired

    first, second = (
        paired.ComparedModel(one.uri, record.folder(one.name) / record.MODEL, one.body.started_at, one.body)
        for one in (ours, theirs)
    )
    return paired.attempt(first, second)


def _curves(run: Record[TrainingRun]) -> RunCurves:
    points = history.read(record.folder(run.name) / history.FILE)
    is_over = run.body.ended_at is not None
    return RunCurves(points, count_epochs(points, epochs_of(run.body.params), is_over=is_over))


def _changes(
    ours: Record[TrainingRun], theirs: Record[TrainingRun], metrics: Sequence[ComparedMetric]
) -> list[tuple[str, str, str]]:
    """(what, theirs, ours) of all that differs, as it is shown."""
    new, old = ours.body, theirs.body
    pairs: list[tuple[str, Any, Any]] = []
    pairs += [(f"parameter {key}", old.params.get(key), new.params.get(key)) for key in {**old.params, **new.params}]
    pairs += [(f"metric {one.name}", one.before, one.after) for one in metrics]
    pairs += [(key, getattr(old, key), getattr(new, key)) for key in ("rows", "rows_digest", "seed", "on")]
    # A difference of digests is enough here: the lines that differ stand below, as a diff.
    pairs += [("code", old.code_digest[:12], new.code_digest[:12])]
    pairs += [(key, old.machine.get(key), value) for key, value in new.machine.items()]
    return [
        (what.replace("_", " "), *shown_apart(what, before, after)) for what, before, after in pairs if before != after
    ]
