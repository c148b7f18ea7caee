"""Real little models in ONNX, registered as records: what the registry leaves behind, without its weight."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from aiinfra_lab import jobs
from aiinfra_lab.features.contract import Columns
from aiinfra_lab.files import digests
from aiinfra_lab.models.record import LastCheck
from aiinfra_lab.testing.artifacts import found_good
from tests import records

DF = pd.DataFrame(
    {
        "carrier": ["UA", "AA", "UA", "9E"],
        "temp": [1.0, None, 3.0, 5.0],
        "distance": [100, 200, 300, 400],
        "late": [0, 1, 0, 1],
    }
)
COLUMNS = Columns.fit(DF, ["carrier", "temp", "distance"], "late", features_uri="features:delay@1")
ROW = {"carrier": "AA", "temp": 3.0, "distance": 250}
FAR = {**ROW, "distance": 9000}  # what the model `nan` gives no score for


def model(kind: str, bias: float) -> onnx.ModelProto:
    """numbers, codes → score.

    plain: sigmoid(0.1·temp + bias + 0.01·code). nan: no score for long distances. slow: the same after ~40 ms of work.
    loop N: the same after counting to N at every batch, which takes N times 2 µs or so.
    """
    nodes = [
        helper.make_node("MatMul", ["numbers", "w"], ["linear"]),
        helper.make_node("Cast", ["codes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["floats", "e"], ["coded"]),
        helper.make_node("Add", ["linear", "coded"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["shifted"]),
    ]
    weights = {"w": [[0.1], [0.0]], "e": [[0.01]], "bias": [bias]}
    last = "shifted"
    if kind == "nan":
        nodes += [
            helper.make_node("MatMul", ["numbers", "far"], ["distance"]),
            helper.make_node("Sub", ["ten", "distance"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", [last, "nothing"], ["patchy"]),
        ]
        weights |= {"far": [[0.0], [1.0]], "ten": [10.0], "zero": [0.0]}
        last = "patchy"
    if kind == "slow":
        nodes += [
            helper.make_node("ReduceMean", [last], ["mean"], keepdims=0),
            helper.make_node("Mul", ["square", "mean"], ["work0"]),
            *(helper.make_node("MatMul", [f"work{at}", "square"], [f"work{at + 1}"]) for at in range(12)),
            helper.make_node("ReduceMean", ["work12"], ["worked"], keepdims=0),
            helper.make_node("Mul", ["worked", "zero"], ["nothing"]),
            helper.make_node("Add", [last, "nothing"], ["late"]),
        ]
        weights |= {"square": np.full((640, 640), 1e-3), "zero": [0.0]}
        last = "late"
    if kind.startswith("loop"):
        count = [
            helper.make_node("Identity", ["goes_on"], ["went_on"]),
            helper.make_node("Add", ["carried", "carried"], ["next"]),
        ]
        bools, floats = TensorProto.BOOL, TensorProto.FLOAT
        takes = [("at", TensorProto.INT64, []), ("goes_on", bools, []), ("carried", floats, [])]
        body = helper.make_graph(
            count,
            "count",
            [helper.make_tensor_value_info(*each) for each in takes],
            [helper.make_tensor_value_info(*each) for each in (("went_on", bools, []), ("next", floats, []))],
        )
        nodes += [
            helper.make_node("ReduceMean", [last], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["start"]),
            helper.make_node("Loop", ["times", "", "start"], ["counted"], body=body),
            helper.make_node("Add", [last, "counted"], ["late"]),
        ]
        weights |= {"zero": np.float32(0.0), "times": np.int64(kind.removeprefix("loop"))}
        last = "late"
    nodes += [
        helper.make_node("Sigmoid", [last], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["score"]),
    ]
    constants = [numpy_helper.from_array(_constant(value), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "delay",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("codes", TensorProto.INT64, ["n", 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _constant(value: object) -> np.ndarray:
    return np.asarray(value, np.int64 if isinstance(value, np.int64) else np.float32)


def artifact(folder: Path, kind: str = "plain", bias: float = 0.0) -> Path:
    """The folder of a model version."""
    folder.mkdir(parents=True)
    onnx.save(model(kind, bias), folder / "model.onnx")
    (folder / "columns.json").write_text(COLUMNS.to_json())
    (folder / "example.json").write_text(json.dumps({"rows": [ROW]}))
    return folder


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, float], Path]:
    """kind, bias → the folder, made once."""
    made: dict[tuple[str, float], Path] = {}
    top = tmp_path_factory.mktemp("artifacts")

    def find(kind: str, bias: float = 0.0) -> Path:
        if (kind, bias) not in made:
            made[kind, bias] = artifact(top / f"{kind}{bias}", kind, bias)
        return made[kind, bias]

    return find


def ended(verdict: str, files: dict[str, str], before: int = 0) -> LastCheck:
    """A check by the policy in force that ended so. before: the version that it was compared with, if any."""
    return msgspec.structs.replace(found_good(files, before or None), verdict=verdict)


@pytest.fixture
def register(workspace: Path, artifacts: Callable[[str, float], Path]) -> Callable[..., str]:
    """Registers `delay@version` of that kind, with the verdict of its last check, and gives its URI."""

    def add(version: int, kind: str = "plain", bias: float | None = None, checked: str = "good") -> str:
        folder = workspace / ".aiinfra" / "models" / f"delay@{version}"
        shutil.copytree(artifacts(kind, float(version) if bias is None else bias), folder)
        records.model(
            f"delay@{version}",
            rows="features:delay@1",
            files=digests(folder),
            created_at=time.time(),
            checked=ended(checked, digests(folder), version - 1) if checked else None,
        )
        return f"models:delay@{version}"

    return add


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries are judged often: a test does not wait ten seconds."""
    monkeypatch.setenv("AIINFRA_DEPLOY_LOOK_S", "0.3")


def server_pid(job_id: str) -> int:
    """The process of an endpoint: the child of its job's wrapper."""
    children = Path(f"/proc/{jobs.poll(job_id).pid}/task").glob("*/children")
    return int(next(pids for path in children if (pids := path.read_text().split()))[0])
