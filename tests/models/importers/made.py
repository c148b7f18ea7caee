"""Small ONNX models, made node by node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]], np.float32)
ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LOGITS = ROWS @ WEIGHTS


def onnx_model(
    nodes: Sequence[Any],
    *,
    inputs: Sequence[Any] = (("x", ["rows", 3]),),
    outputs: Sequence[Any] = (("y", ["rows", 2]),),
    weights: Sequence[Any] = (),
    opset: int = 17,
    domains: Sequence[str] = (),
    dtype: int = TensorProto.FLOAT,
) -> Any:
    """A graph of these nodes."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        list(weights),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def linear(path: Path, **options: Any) -> Path:
    """`y = x @ WEIGHTS`, saved."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx.save(onnx_model(nodes, weights=[numpy_helper.from_array(WEIGHTS, "w")], **options), path)
    return path
