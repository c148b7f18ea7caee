"""The hold-out of a run, kept: its rows once by their content, and what the model as it is served answers to them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import files
from ..errors import Damaged, LabError, NotFound
from . import record
from .record import StoredHoldout
from .saved_model import ONNX, SavedModel
from .scoring import SCORED, Scoring, Unscored, class_names, labels_of, score, way_to_a_task

if TYPE_CHECKING:
    import pandas as pd

    from .table import TrainingTable

MOST_ROWS = 20_000
"""So many rows are kept, drawn at random, and measured."""
PREFIX = "holdout_"
PREDICTIONS = "holdout.parquet"
LOSS = "loss"


class HoldoutScores(NamedTuple):
    """What was measured on a hold-out, by the metric's name in the run; what could not be, and why, a sentence each."""

    metrics: dict[str, float]
    stored: StoredHoldout | None = None
    notes: tuple[str, ...] = ()


def measure(table: TrainingTable | None, folder: Path) -> HoldoutScores:
    """Answer the run's hold-out by the model that it saved, and keep both; nothing where it saved none.

    A model that cannot be measured is none the worse: what stands in the way is a note. table: what the run learned
    from, as far as it looked at its rows as a table.
    """
    saved = SavedModel(folder / record.MODEL, threads=0)
    held = table.held if table else None
    if not (saved.folder / ONNX).exists():
        return HoldoutScores({})
    odd = table.notes if table and saved.is_of_table else ()
    if saved.signature.task.name == "custom" and held is None:
        return HoldoutScores({}, notes=odd)  # neither was asked for
    try:
        _refuse_unmeasurable(saved, held)
        assert table is not None  # for the type checker: what is held out comes from it
        assert held is not None
        found = _measured(table, held, saved, folder)
        return found._replace(notes=(*odd, *found.notes))
    except (LabError, OSError) as problem:
        what = f"{problem.what}; {problem.fix}" if isinstance(problem, LabError) else str(problem)
        return HoldoutScores({}, notes=(*odd, f"Nothing was measured on a hold-out: {what}."))


def read(stored: StoredHoldout) -> Any:
    """The rows, as pandas has them: all columns of the run's, of which the label's are class names or numbers.

    NotFound when the file is gone, Damaged when it is not what was kept.
    """
    import polars as pl

    from ..data.frames import to_pandas

    path = path_of(stored.digest)
    if not path.is_file():
        raise NotFound(f"the hold-out {stored.digest[:12]} is gone", "train again: a run keeps its own")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != stored.digest:
        raise Damaged(f"the hold-out {stored.digest[:12]} was changed", "train again: a run keeps its own")
    return to_pandas(pl.read_parquet(io.BytesIO(content)))


def path_of(digest: str) -> Path:
    """Where the rows of that content are, of whichever runs."""
    return record.home() / "holdouts" / f"{digest}.parquet"


def scored(saved: SavedModel, rows: pd.DataFrame, label: tuple[str, ...], group: str = "") -> Scoring:
    """The metrics of a model on rows of a hold-out. group: the column of rows that belong together. Unscored, or a
    BadRow, where it has none.
    """
    groups = rows[group] if group in rows.columns else None
    return score(saved.signature, saved.run(saved.inputs(rows)), rows[[*label]], groups)


def labelled(saved: SavedModel, rows: pd.DataFrame, label: tuple[str, ...]) -> pd.DataFrame:
    """Rows as they came, with labels as those of a hold-out are. Unscored where one is missing."""
    for name in label:
        if name not in rows.columns or rows[name].isna().any():
            raise Unscored(f"not all of these rows have {name}", "give rows whose outcome is known")
    task = saved.signature.task
    if task.name != "classification":
        return rows.reset_index(drop=True)
    named = {name: task.labels if len(label) == 1 else labels_of(saved.signature, name) for name in label}
    return rows.assign(**{name: class_names(rows[name], named[name]) for name in label}).reset_index(drop=True)


def _refuse_unmeasurable(saved: SavedModel, held: pd.DataFrame | None) -> None:
    task = saved.signature.task
    if task.name not in SCORED:
        raise Unscored(f"no metric is computed for the task {task.name}", way_to_a_task(task))
    if held is None:
        raise Unscored("nothing was held out", "run.split() in place of run.tensors() holds rows out")
    # Arrays and texts too are columns, where the rows have them by the names of the inputs.
    if lacking := [name for name in saved.rows.names if name not in held.columns and not saved.is_of_table]:
        raise Unscored(
            f"the model takes {lacking[0]}, and the rows that run.split() holds out have no such column",
            "call the input like its column: run.save(model, inputs={'COLUMN': …}), or log it: run.log(…)",
        )


def _measured(table: TrainingTable, held: pd.DataFrame, saved: SavedModel, folder: Path) -> HoldoutScores:
    from ..data.frames import to_polars

    labelled = held.assign(**_truth(table, saved, held)).reset_index(drop=True)
    kept = _drawn(labelled, table.group)
    found = scored(saved, kept, table.targets, table.group)
    content = io.BytesIO()
    to_polars(kept).write_parquet(content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    path = path_of(digest)
    files.make_folder(path.parent)
    # Also where it is there: from when it was last written it is counted how long it is kept.
    files.write(path, content.getvalue())
    _keep_predictions(saved, kept, found, folder / PREDICTIONS)
    stored = StoredHoldout(digest, len(kept), len(held), table.targets, table.group)
    metrics = {f"{PREFIX}{one.name}": one.value for one in found.metrics if one.value is not None}
    unknown = [f"{PREFIX}{one.name}: cannot tell, since {one.reason}." for one in found.metrics if one.value is None]
    few = f"Of {len(held):,} held out rows {len(kept):,} were measured and kept, drawn at random (seed 0)."
    return HoldoutScores(metrics, stored, (*unknown, *([few] if len(kept) < len(held) else [])))


def _truth(table: TrainingTable, saved: SavedModel, held: pd.DataFrame) -> dict[str, Any]:
    """The labels as any model of the same task can be held against them: class names, not their places."""
    task = saved.signature.task
    if task.labels and len(table.targets) == 1:
        (name,) = table.targets
        return {name: class_names(held[name], task.labels)}
    named = {name: labels_of(saved.signature, name) for name in table.targets}
    if task.name == "classification" and all(named.values()):
        return {name: class_names(held[name], labels) for name, labels in named.items()}
    return {} if table.labels else {name: held[name].astype("float64") for name in table.targets}


def _drawn(rows: pd.DataFrame, group: str) -> pd.DataFrame:
    """No more than may be kept: whole groups, where rows belong together."""
    import numpy as np

    if len(rows) <= MOST_ROWS:
        return rows
    if group:
        places = rows.groupby(group, dropna=False, sort=False).ngroup().to_numpy()
        sizes = np.bincount(places)
        order = np.random.default_rng(0).permutation(len(sizes))
        few = order[: max(1, int(np.searchsorted(sizes[order].cumsum(), MOST_ROWS, side="right")))]
        return rows[np.isin(places, few)].reset_index(drop=True)
    places = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]
    return rows.iloc[np.sort(places)].reset_index(drop=True)


def _keep_predictions(saved: SavedModel, rows: pd.DataFrame, found: Scoring, path: Path) -> None:
    import polars as pl

    answers = saved.signature.columns(saved.run(saved.inputs(rows)), len(rows))
    frame = pl.DataFrame([pl.Series(name, values) for name, values in answers.items()])
    with files.writing(path) as aside:
        frame.with_columns(pl.Series(LOSS, found.losses)).write_parquet(aside)
