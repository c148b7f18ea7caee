"""LightGBM's own files, a text of trees. They become ONNX here: thresholds and columns stay of double precision."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import Settings
from ...errors import Failed
from ...features.contract import Columns, category_text
from ...train.inputs import Arrays
from ...train.signature import CUSTOM, Task, TaskName
from .. import graph
from ..columns import answer_name, contract

if TYPE_CHECKING:
    import pandas as pd

_FIRST = b"tree\n"
_OPTION = re.compile(r"(\w+):(\S+)")
_TASKS: dict[str, TaskName] = {
    **dict.fromkeys(("binary", "multiclass"), "classification"),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), "ranking"),
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
        "regression",
    ),
}
_EXPONENTIAL = ("poisson", "gamma", "tweedie")
# Numbers of no more than this size are 0 to the library, and the splits on either side of 0 stand exactly there.
_ZERO = float(np.float32(1e-35))


class LightgbmFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        if path.suffix not in (".txt", ".lgb", ".model") or not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(_FIRST)) == _FIRST

    def read(self, path: Path) -> LightgbmModel:
        import lightgbm

        # What the library makes of a text that was cut off has fewer trees, and no error.
        content = path.read_bytes()
        if b"end of trees" not in content:
            raise Failed(f"{path} ends in the middle of its trees", "save the model again, or copy it again whole")
        if b"\nis_linear=1\n" in content:
            raise Failed(f"{path} has linear models in its leaves, which ONNX cannot have", "train without linear_tree")
        return LightgbmModel(path, lightgbm.Booster(model_file=str(path)))


class LightgbmModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, path: Path, booster: Any) -> None:
        self._booster = booster
        self._dump: Mapping[str, Any] = booster.dump_model()
        self._objective, *options = str(self._dump.get("objective", "custom")).split() or ["custom"]
        self._options = dict(_OPTION.findall(" ".join(options)))
        known = [*_TASKS, "custom", "cross_entropy", "xentropy"]
        if self._objective not in known or "sqrt" in options:
            raise Failed(
                f"{path} was trained for {' '.join([self._objective, *options])}, whose answers cannot be converted",
                f"train it for one of {', '.join(known)}",
            )
        self._columns = Columns("", "", ())

    @property
    def task(self) -> Task:
        if self._objective not in _TASKS:
            return CUSTOM
        name = _TASKS[self._objective]
        count = max(2, int(self._dump["num_class"]))
        return Task(name, tuple(map(str, range(count))) if name == "classification" else ())

    def columns(self, rows: pd.DataFrame) -> Columns:
        names = self._booster.feature_name()
        has_names = names != [f"Column_{at}" for at in range(len(names))]
        self._columns = contract(rows, names if has_names else (), len(names), self._categories())
        return self._columns

    def thresholds(self) -> Mapping[str, Sequence[float]]:
        found: dict[str, list[float]] = {}
        for tree in self._dump["tree_info"]:
            for node in _splits(tree["tree_structure"]):
                if node["decision_type"] != "==":
                    found.setdefault(self._columns.names[node["split_feature"]], []).append(float(node["threshold"]))
        return found

    def _categories(self) -> dict[str, Sequence[Any]]:
        """The values of each column of categories, which it numbers in their order."""
        values = self._dump.get("pandas_categorical") or ()
        return dict(zip(_categorical(self._dump), values, strict=True)) if values else {}

    def predict(self, given: Any) -> Arrays:
        import pandas as pd

        rows = given[list(self._columns.names)].copy()
        for name, values in self._categories().items():
            texts = {category_text(value): value for value in values}
            own = [texts.get(category_text(value)) for value in rows[name]]
            rows[name] = pd.Categorical(own, categories=list(values))
        found = np.asarray(self._booster.predict(rows))
        if self.task.labels and found.ndim == 1:
            found = np.column_stack([1 - found, found])
        return {answer_name(self._columns): found}

    def convert(self, path: Path) -> None:
        import onnx
        from onnx import TensorProto, helper

        name, outputs = answer_name(self._columns), int(self._dump["num_tree_per_iteration"])
        trees = _Trees(outputs)
        for at, tree in enumerate(self._dump["tree_info"]):
            trees.add(at, tree["tree_structure"], at % outputs)
        nodes, constants = [trees.node("features", "raw")], []
        if self._dump.get("average_output"):
            constants.append(graph.constant("rounds", [len(self._dump["tree_info"]) / outputs], "float32"))
            nodes.append(helper.make_node("Div", ["raw", "rounds"], ["mean"]))
        last = nodes[-1].output[0]
        inside = self._meaning(last, nodes, constants)
        made = helper.make_graph(
            nodes,
            "trees",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", len(self._columns.names)])],
            [helper.make_tensor_value_info(inside, TensorProto.FLOAT, ["rows", None])],
            constants,
        )
        opsets = [helper.make_opsetid("", graph.OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=graph.IR_VERSION)
        graph.keep(model, name, inside, is_flat=outputs == 1 and not self.task.labels)
        feeding = graph.Feeding(self._columns)
        codes = {item.name: [math.nan, *range(len(item.categories))] for item in self._columns.categories}
        feeding.matrix("features", self._columns.names, TensorProto.DOUBLE, codes)
        feeding.into(model)
        onnx.save(model, path)

    def _meaning(self, raw: str, nodes: list[Any], constants: list[Any]) -> str:
        """What makes of the sum of the trees what the objective means by it."""
        from onnx import helper

        if self._objective == "multiclass":
            nodes.append(helper.make_node("Softmax", [raw], ["probable"], axis=1))
            return "probable"
        if self._objective in _EXPONENTIAL:
            nodes.append(helper.make_node("Exp", [raw], ["expected"]))
            return "expected"
        if self._objective not in ("binary", "cross_entropy", "xentropy"):
            return raw
        steepness = float(self._options.get("sigmoid", 1.0))
        constants += [graph.constant("steepness", [steepness], "float32"), graph.constant("one", [1.0], "float32")]
        nodes += [
            helper.make_node("Mul", [raw, "steepness"], ["steep"]),
            helper.make_node("Sigmoid", ["steep"], ["yes"]),
        ]
        if self._objective != "binary":
            return "yes"
        nodes += [helper.make_node("Sub", ["one", "yes"], ["no"])]
        nodes += [helper.make_node("Concat", ["no", "yes"], ["probable"], axis=1)]
        return "probable"


def _categorical(dump: Mapping[str, Any]) -> list[str]:
    """The names of the columns of categories, in their order: `feature_infos` has their values, `split_feature` not."""
    names, infos = dump["feature_names"], dump.get("feature_infos", {})
    listed = {name for name, info in infos.items() if info.get("values")}
    used = {names[node["split_feature"]] for tree in dump["tree_info"] for node in _splits(tree["tree_structure"])
            if node["decision_type"] == "=="}  # fmt: skip
    return [name for name in names if name in listed | used]


def _splits(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    pending = [node]
    while pending:
        node = pending.pop()
        if "split_feature" in node:
            yield node
            pending += [node["left_child"], node["right_child"]]


class _Trees:
    """The attributes of one TreeEnsembleRegressor of double precision."""

    def __init__(self, targets: int) -> None:
        self._targets = targets
        self._nodes: list[tuple[int, int, str, int, float, int, int, int]] = []
        self._leaves: list[tuple[int, int, int, float]] = []
        self._next = 0

    def add(self, tree: int, root: Mapping[str, Any], target: int) -> None:
        """One tree, whose leaves count for that output."""
        self._next = 0
        self._put(tree, root, target)

    def _put(self, tree: int, node: Mapping[str, Any], target: int) -> int:
        at = self._take()
        if "split_feature" not in node:
            self._nodes.append((tree, at, "LEAF", 0, 0.0, 0, 0, 0))
            self._leaves.append((tree, at, target, float(node["leaf_value"])))
            return at
        feature = int(node["split_feature"])
        if node["decision_type"] == "==":
            self._put_categories(tree, at, node, target, [float(each) for each in str(node["threshold"]).split("||")])
            return at
        threshold = _beside_zero(float(node["threshold"]))
        left, right = self._put(tree, node["left_child"], target), self._put(tree, node["right_child"], target)
        self._nodes.append((tree, at, "BRANCH_LEQ", feature, threshold, left, right, _missing(node, threshold)))
        return at

    def _put_categories(
        self, tree: int, at: int, node: Mapping[str, Any], target: int, values: Sequence[float]
    ) -> None:
        """Whether a category is one of those: a question for each. A missing one is none of them."""
        for place, value in enumerate(values):
            left = self._put(tree, node["left_child"], target)
            is_last = place == len(values) - 1
            right = self._put(tree, node["right_child"], target) if is_last else self._take()
            self._nodes.append((tree, at, "BRANCH_EQ", int(node["split_feature"]), value, left, right, 0))
            at = right

    def _take(self) -> int:
        self._next += 1
        return self._next - 1

    def node(self, source: str, made: str) -> Any:
        """All of them as a node of the graph."""
        from onnx import helper

        ordered = sorted(self._nodes)
        trees, ids, modes, features, values, true, false, missing = zip(*ordered, strict=True)
        leaf_trees, leaves, targets, weights = zip(*sorted(self._leaves), strict=True)
        return helper.make_node(
            "TreeEnsembleRegressor",
            [source],
            [made],
            domain="ai.onnx.ml",
            n_targets=self._targets,
            nodes_treeids=trees,
            nodes_nodeids=ids,
            nodes_modes=modes,
            nodes_featureids=features,
            nodes_values_as_tensor=graph.constant("thresholds", values, "float64"),
            nodes_truenodeids=true,
            nodes_falsenodeids=false,
            nodes_missing_value_tracks_true=missing,
            target_treeids=leaf_trees,
            target_nodeids=leaves,
            target_ids=targets,
            target_weights_as_tensor=graph.constant("weights", weights, "float64"),
        )


def _beside_zero(threshold: float) -> float:
    """The threshold of the same split of numbers that are compared as they are: all that is 0 goes where 0 does."""
    if abs(threshold) > _ZERO:
        return threshold
    return _ZERO if threshold >= 0 else math.nextafter(-_ZERO, -math.inf)


def _missing(node: Mapping[str, Any], threshold: float) -> int:
    """Whether a missing value goes left. Failed where zeros are missing values that go another way than zeros do."""
    zero_goes_left = threshold >= 0
    if node["missing_type"] == "NaN":
        return int(bool(node["default_left"]))
    if node["missing_type"] == "Zero" and bool(node["default_left"]) != zero_goes_left:
        raise Failed("it was trained with zero_as_missing, which ONNX cannot have", "train without zero_as_missing")
    return int(zero_goes_left)
