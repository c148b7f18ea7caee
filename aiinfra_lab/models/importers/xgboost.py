"""XGBoost's own files, .ubj and .json, which hold trees and no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import Settings
from ...errors import Failed, UsageProblem
from ...features.contract import Columns
from ...train.inputs import Arrays
from ...train.signature import Task
from .. import graph
from ..columns import answer_name, contract

if TYPE_CHECKING:
    import pandas as pd

_READ = 1 << 16
_OPSET = 15  # the newest that its converter knows
# Objectives whose trees become what `predict` answers, each by what its converter has to take it for.
_AS: dict[str, str] = {
    **{
        same: same
        for same in (
            "binary:logistic", "count:poisson", "multi:softprob", "reg:absoluteerror", "reg:gamma",
            "reg:pseudohubererror", "reg:quantileerror", "reg:squarederror", "reg:squaredlogerror", "reg:tweedie",
        )
    },
    **dict.fromkeys(("rank:map", "rank:ndcg", "rank:pairwise"), "reg:squarederror"),
    "multi:softmax": "multi:softprob",
}  # fmt: skip


class XgboostFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        if path.suffix not in (".ubj", ".json") or not path.is_file():
            return False
        with path.open("rb") as stream:
            return b"learner" in stream.read(_READ)

    def read(self, path: Path) -> XgboostModel:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(path)
        if any(kind == "c" for kind in booster.feature_types or ()):
            raise UsageProblem(
                f"{path} has columns of categories, whose encoding ONNX cannot have",
                "train on numbers: encode them in a scikit-learn pipeline or as columns of 0 and 1",
            )
        learner = json.loads(booster.save_config())["learner"]
        objective, outputs = learner["objective"]["name"], int(learner["learner_model_param"].get("num_target", 1))
        if objective not in _AS or outputs > 1:
            what = f"{outputs} outputs at once" if outputs > 1 else objective
            raise Failed(
                f"{path} was trained for {what}, whose answers cannot be converted",
                f"train it for one output and one of {', '.join(sorted(_AS))}",
            )
        if (kind := learner["gradient_booster"]["name"]) != "gbtree":
            raise Failed(
                f"{path} was trained with booster={kind}, which its converter does not know", "train with gbtree"
            )
        best = booster.attr("best_iteration")
        # As its classes for scikit-learn do: trees after the best iteration were found to be too many.
        return XgboostModel(booster[: int(best) + 1] if best is not None else booster)


class XgboostModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        learner = json.loads(booster.save_config())["learner"]
        self._objective = learner["objective"]["name"]
        self._classes = int(learner["learner_model_param"]["num_class"])
        if self._objective == "multi:softmax":  # it answers the label alone
            booster.set_param({"objective": "multi:softprob"})
        self._columns = Columns("", "", ())

    @property
    def task(self) -> Task:
        if self._objective.startswith("multi:"):
            return Task("classification", tuple(map(str, range(self._classes))))
        if self._objective == "binary:logistic":
            return Task("classification", ("0", "1"))
        if self._objective.startswith("rank:"):
            return Task("ranking")
        return Task("regression")

    def columns(self, rows: pd.DataFrame) -> Columns:
        self._columns = contract(rows, self._booster.feature_names or (), self._booster.num_features())
        return self._columns

    def predict(self, given: Any) -> Arrays:
        import xgboost

        rows = given[list(self._columns.names)].to_numpy(np.float32)
        matrix = xgboost.DMatrix(rows, feature_names=self._booster.feature_names)
        found = self._booster.predict(matrix)
        if self.task.labels and found.ndim == 1:
            found = np.column_stack([1 - found, found])
        return {answer_name(self._columns): found}

    def convert(self, path: Path) -> None:
        from onnx import TensorProto
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        booster = self._booster.copy()
        # The converter knows columns by their place.
        booster.feature_names = None
        booster.set_param({"objective": _AS[self._objective]})
        model = convert_xgboost(
            booster,
            initial_types=[("features", FloatTensorType([None, len(self._columns.names)]))],
            target_opset=_OPSET,
        )
        is_labelled = bool(self.task.labels)
        graph.keep(model, answer_name(self._columns), model.graph.output[-1].name, is_flat=not is_labelled)
        feeding = graph.Feeding(self._columns)
        feeding.matrix("features", self._columns.names, TensorProto.FLOAT, {})
        feeding.into(model)
        graph.save(model, path)
