"""An artifact folder as something that predicts: ONNX Runtime on one thread, warmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Failed, LabError, Unavailable
from ...train import signature
from ...train.inputs import Arrays
from ...train.saved_model import COLUMNS, ONNX, SavedModel
from .rows import Reader

NOT_FINITE = "the model gave a number that is not finite"
MAX_BATCH = 64
# Wider than that of `models check`: here it only has to find files that do not belong together.
TOLERANCE = 1e-3
_WARM = (1, 2, 4, 8, 16, 32, MAX_BATCH)


@dataclass(slots=True)
class Answered:
    """What rows were answered: of each output its value in every row, and why a row got none, by its place."""

    columns: dict[str, list[Any]]
    errors: dict[int, str]

    def refuse(self, at: int, why: str) -> None:
        """Take a row's outputs away."""
        self.errors[at] = why
        for column in self.columns.values():
            column[at] = None

    def rows(self) -> list[dict[str, Any]]:
        """The outputs of each row, none where it got none."""
        each = zip(*self.columns.values(), strict=True)
        return [{} if at in self.errors else dict(zip(self.columns, row, strict=True)) for at, row in enumerate(each)]


class LoadedModel:
    """One version, ready to predict. `uri` is what answers and the log call it; `examples` are rows as in a request."""

    def __init__(self, uri: str, saved: SavedModel) -> None:
        self.uri = uri
        self.signature = saved.signature
        self.reader = Reader(saved.rows)
        self.examples = examples(saved)
        self.saved = saved

    def predict(self, values: Sequence[tuple[Any, ...]]) -> Answered:
        """The named outputs of each row; Failed when the model gives another number of rows."""
        found = self.saved.run(self.saved.rows.encode_values(values))
        answered = Answered(self.signature.answer_columns(found, len(values)), {})
        for at in _not_finite(found):
            answered.refuse(at, NOT_FINITE)
        return answered

    def warm(self) -> None:
        """Run every batch size, so that no request pays for what the runtime makes at the first of its size."""
        values = self.saved.rows.validate(self.examples)
        for size in _WARM:
            self.predict([values[at % len(values)] for at in range(size)])


def load(uri: str, folder: Path, saved: SavedModel | None = None) -> LoadedModel:
    """Load and warm the version whose artifact is in that folder. saved: the same, where its network runs elsewhere.

    Unavailable when files are missing; Failed when they are no model or the model does not run. Only ONNX and JSON are
    read, never anything that could carry code.
    """
    # Without a signature it is of before there was one, and then of a table.
    for name in (ONNX, COLUMNS if not (folder / signature.FILE).is_file() else signature.FILE):
        if not (folder / name).is_file():
            raise Unavailable(f"{uri} has no {name} in {folder}", f"register it again, or take another than {uri}")
    try:
        saved = saved or SavedModel(folder)
        _same_signature(uri, saved)
        model = LoadedModel(uri, saved)
        _same_answers(model, saved)
        model.warm()
    except LabError:
        raise
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class, and a file is foreign
        raise Failed(f"{uri} cannot be served: {str(problem)[:300]}", f"`%models check {uri}` says more") from None
    return model


def _not_finite(found: Arrays) -> Iterator[int]:
    """The rows in which some output holds NaN or infinity."""
    for values in found.values():
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            yield from np.nonzero(~finite.reshape(len(values), -1).all(axis=1))[0].tolist()


def _same_signature(uri: str, saved: SavedModel) -> None:
    takes = {item.name for item in saved.session.get_inputs()}
    gives = {item.name for item in saved.session.get_outputs()}
    outputs = {item.name for item in saved.signature.outputs}
    if not takes or takes - {*saved.rows.arrays} or outputs - gives:
        raise Failed(
            f"{uri} takes {sorted(takes)} and gives {sorted(gives)}; its signature says {saved.signature.summary}",
            "save it with `run.save(model)`",
        )


def examples(saved: SavedModel) -> list[dict[str, Any]]:
    """The rows that came along with the model; an average one when none did."""
    names = saved.rows.names
    rows = [{name: value for name, value in row.items() if name in names} for row in saved.example.rows]
    return rows or [dict(zip(names, map(_plain, saved.rows.usual()), strict=True))]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _same_answers(model: LoadedModel, saved: SavedModel) -> None:
    expected = saved.example.answers
    rows = saved.rows.validate(model.examples)[: len(expected)]
    found = model.predict(rows).rows() if expected else []
    if not signature.difference(expected, found) <= TOLERANCE:
        raise Failed(
            f"{model.uri} answers its own example {found[:3]}…, and answered {expected[:3]}… when it was saved",
            f"its files do not belong together: `%models check {model.uri}`",
        )
