"""Model versions to be served in tests: small, exact, and registered as records without a run behind them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ..features.contract import NUMBER, Column, Columns
from ..files import digests
from ..models.artifact import digest
from ..models.policies import in_force
from ..models.record import LastCheck, ModelVersion, folder
from ..store import Record, open_store

COLUMNS = Columns("features:delay@1", "late", tuple(Column(name, NUMBER, required=True) for name in ("x", "y")))
ROW = {"x": 1.0, "y": 2.0}


def model_version(label: str, bias: float) -> str:
    """Register `NAME@N` in the current workspace, checked and found good; its URI. It gives 1 / (1 + exp(-bias))."""
    path = folder(label)
    path.mkdir(parents=True)
    _save_model(path / "model.onnx", bias)
    (path / "columns.json").write_text(COLUMNS.to_json(), "utf-8")
    now = time.time()
    body = ModelVersion(rows="features:delay@1", files=digests(path), created_at=now, checked=found_good(digests(path)))
    return open_store().commit([Record.new(label, body)])[0].uri


def found_good(files: Mapping[str, str], champion: int | None = None) -> LastCheck:
    """A check of a version with these files that found it good by a policy that asks for nothing.

    champion: the version that it was compared with
    """
    return LastCheck("good", policy=in_force(None).digest, files=digest(files), champion=champion)


def _save_model(path: Path, bias: float) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {"weights": [[0.0], [0.0]], "bias": [bias]}
    nodes = [
        helper.make_node("MatMul", ["numbers", "weights"], ["linear"]),
        helper.make_node("Add", ["linear", "bias"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n", len(COLUMNS.numbers)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    # Versions that any ONNX Runtime reads that this package allows, whatever the onnx package is the newest.
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
