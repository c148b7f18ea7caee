"""An artifact folder as something that predicts: ONNX Runtime on one thread, warmed, and its price in time measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Failed, LabError, Unavailable
from ...train import signature
from ...train.inputs import Arrays
from ...train.saved_model import COLUMNS, ONNX, SavedModel
from ...train.signature import Answers
from .rows import Reader

RowAnswer = dict[str, Any]

MAX_BATCH = 64
# Wider than that of `models check`: here it only has to find files that do not belong together.
TOLERANCE = 1e-3
_WARM = (1, 2, 4, 8, 16, 32, MAX_BATCH)


class LoadedModel:
    """One version, ready to predict. `uri` is what answers and the log call it."""

    def __init__(self, uri: str, saved: SavedModel) -> None:
        self.uri = uri
        self.signature = saved.signature
        self.reader = Reader(saved.rows)
        self._saved = saved
        self._fixed_s = self._row_s = 0.0

    def predict(self, values: Sequence[tuple[Any, ...]]) -> list[RowAnswer | None]:
        """The named outputs of each row; None where the model gives a number that is not finite.

        Failed when it gives another number of rows.
        """
        found = self._saved.run(self._saved.rows.encode_values(values))
        answers: list[RowAnswer | None] = [*self.signature.answers(found, len(values))]
        for at in _not_finite(found):
            answers[at] = None
        return answers

    def expected_s(self, rows: int) -> float:
        """How long a batch of that many rows takes, by what was measured while warming."""
        return self._fixed_s + self._row_s * rows

    def warm(self, examples: Sequence[tuple[Any, ...]]) -> None:
        """Run every batch size a few times, so that no request pays for it, and measure the smallest and largest."""
        for size in _WARM:
            rows = [examples[at % len(examples)] for at in range(size)]
            # The best of three: whatever disturbs a measurement makes it longer, and the first run allocates.
            took = min(self._timed(rows) for _ in range(3))
            if size == 1:
                self._fixed_s = took
        # Noise may make the small batch the slower one; with a negative price a row, long batches would seem short.
        self._row_s = max(0.0, (took - self._fixed_s) / (MAX_BATCH - 1))

    def _timed(self, rows: Sequence[tuple[Any, ...]]) -> float:
        started = time.perf_counter()
        self.predict(rows)
        return time.perf_counter() - started


def load(uri: str, folder: Path) -> LoadedModel:
    """Load and warm the version whose artifact is in that folder.

    Unavailable when files are missing; Failed when they are no model or the model does not run. Only ONNX and JSON are
    read, never anything that could carry code.
    """
    # Without a signature it is of before there was one, and then of a table.
    for name in (ONNX, COLUMNS if not (folder / signature.FILE).is_file() else signature.FILE):
        if not (folder / name).is_file():
            raise Unavailable(f"{uri} has no {name} in {folder}", f"register it again, or take another than {uri}")
    try:
        saved = SavedModel(folder)
        _same_signature(uri, saved)
        model = LoadedModel(uri, saved)
        examples, expected = _examples(saved)
        _same_answers(model, examples, expected)
        model.warm(examples)
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


def _examples(saved: SavedModel) -> tuple[list[tuple[Any, ...]], Answers]:
    """Rows to warm with and what they were answered when the model was saved; average rows when none came along."""
    example, names = saved.example, saved.rows.names
    rows = [{name: value for name, value in row.items() if name in names} for row in example.rows]
    return (saved.rows.validate(rows), example.answers) if rows else ([saved.rows.usual()], [])


def _same_answers(model: LoadedModel, examples: Sequence[tuple[Any, ...]], expected: Answers) -> None:
    found = [answer or {} for answer in model.predict(examples)[: len(expected)]]
    if not signature.difference(expected, found) <= TOLERANCE:
        raise Failed(
            f"{model.uri} answers its own example {found[:3]}…, and answered {expected[:3]}… when it was saved",
            f"its files do not belong together: `%models check {model.uri}`",
        )
