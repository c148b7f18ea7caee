"""An artifact folder as something that predicts: ONNX Runtime on one thread, warmed, and its price in time measured."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Failed, LabError, Unavailable
from ...features.contract import NUMBER, Columns, Value
from .rows import Reader

MAX_BATCH = 64
# Wider than that of `models check`: here it only has to find files that do not belong together.
TOLERANCE = 1e-3
_WARM = (1, 2, 4, 8, 16, 32, MAX_BATCH)


class LoadedModel:
    """One version, ready to predict. `uri` is what answers and the log call it."""

    def __init__(self, uri: str, columns: Columns, session: Any) -> None:
        self.uri = uri
        self.columns = columns
        self.reader = Reader(columns)
        self._session = session
        # A model may lack one of the two, and ONNX Runtime refuses an input that it does not know.
        self._inputs = {item.name for item in session.get_inputs()}
        self._fixed_s = self._row_s = 0.0

    def predict(self, values: Sequence[tuple[Value, ...]]) -> list[float]:
        """One score per row; not finite where the model gives none. Failed when it gives another number of them."""
        numbers, codes = self.columns.encode_values(values)
        feeds = {"numbers": numbers, "codes": codes}
        scores = self._session.run(["score"], {name: feeds[name] for name in self._inputs})[0]
        if scores.size != len(values):
            raise Failed(f"{self.uri} gave {scores.size} scores for {len(values)} rows", "register the model anew")
        result: list[float] = np.asarray(scores, np.float64).reshape(-1).tolist()
        return result

    def expected_s(self, rows: int) -> float:
        """How long a batch of that many rows takes, by what was measured while warming."""
        return self._fixed_s + self._row_s * rows

    def warm(self, examples: Sequence[tuple[Value, ...]]) -> None:
        """Run every batch size a few times, so that no request pays for it, and measure the smallest and largest."""
        for size in _WARM:
            rows = [examples[at % len(examples)] for at in range(size)]
            # The best of three: whatever disturbs a measurement makes it longer, and the first run allocates.
            took = min(self._timed(rows) for _ in range(3))
            if size == 1:
                self._fixed_s = took
        # Noise may make the small batch the slower one; with a negative price a row, long batches would seem short.
        self._row_s = max(0.0, (took - self._fixed_s) / (MAX_BATCH - 1))

    def _timed(self, rows: Sequence[tuple[Value, ...]]) -> float:
        started = time.perf_counter()
        self.predict(rows)
        return time.perf_counter() - started


def load(uri: str, folder: Path) -> LoadedModel:
    """Load and warm the version whose artifact is in that folder.

    Unavailable when files are missing; Failed when they are no model or the model does not run. Only ONNX and JSON are
    read, never anything that could carry code.
    """
    import onnxruntime

    for name in ("model.onnx", "columns.json"):
        if not (folder / name).is_file():
            raise Unavailable(f"{uri} has no {name} in {folder}", f"register it again, or take another than {uri}")
    columns = Columns.from_json((folder / "columns.json").read_bytes())
    options = onnxruntime.SessionOptions()
    # Batches are small: more threads cost more than they give.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong comes back as an exception
    try:
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        model = LoadedModel(uri, columns, session)
        _same_signature(model, session)
        examples, expected = _examples(folder, columns)
        _same_scores(model, examples, expected)
        model.warm(examples)
    except LabError:
        raise
    except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class, and a file is foreign
        raise Failed(f"{uri} cannot be served: {str(problem)[:300]}", f"`%models check {uri}` says more") from None
    return model


def _same_signature(model: LoadedModel, session: Any) -> None:
    taken = {item.name for item in session.get_inputs()}
    given = {item.name for item in session.get_outputs()}
    if not taken or taken - {"numbers", "codes"} or "score" not in given:
        raise Failed(
            f"{model.uri} takes {sorted(taken)} and gives {sorted(given)}; an endpoint needs numbers, codes → score",
            "save it with `run.save(model)`",
        )


def _examples(folder: Path, columns: Columns) -> tuple[list[tuple[Value, ...]], list[float]]:
    """Rows to warm with and the scores that they had when the model was saved; average rows when none came along."""
    path = folder / "example.json"
    body = json.loads(path.read_bytes()) if path.is_file() else {}
    rows = [{name: value for name, value in row.items() if name in columns.names} for row in body.get("rows", [])]
    if rows:
        return columns.validate(rows), [float(score) for score in body.get("scores", [])]
    return [tuple(item.mean if item.type == NUMBER else item.categories[0] for item in columns)], []


def _same_scores(model: LoadedModel, examples: Sequence[tuple[Value, ...]], expected: Sequence[float]) -> None:
    found = model.predict(examples)[: len(expected)]
    if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise Failed(
            f"{model.uri} scores its own example {found[:3]}…, and scored it {list(expected[:3])}… when it was saved",
            f"its files do not belong together: `%models check {model.uri}`",
        )
