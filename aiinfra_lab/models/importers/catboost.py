"""CatBoost's own files, .cbm, which hold trees and no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import Settings
from ...errors import Failed, UsageProblem
from ...features.contract import Columns
from ...leftovers import temporary
from ...train.inputs import Arrays
from ...train.signature import CUSTOM, Task, TaskName
from .. import graph
from ..columns import answer_name, contract

if TYPE_CHECKING:
    import pandas as pd

_FIRST = b"CBM1"
# Losses by what is learned by them, where CatBoost's own ONNX has all of the answer, or all but the exponent.
_TASKS: dict[str, TaskName] = {
    **dict.fromkeys(("Logloss", "CrossEntropy", "MultiClass"), "classification"),
    **dict.fromkeys(
        ("LambdaMart", "PairLogit", "PairLogitPairwise", "QueryRMSE", "QuerySoftMax", "StochasticFilter",
         "StochasticRank", "YetiRank", "YetiRankPairwise"),
        "ranking",
    ),
    **dict.fromkeys(
        ("Cox", "Expectile", "GroupQuantile", "Huber", "LogCosh", "LogLinQuantile", "Lq", "MAE", "MAPE", "Poisson",
         "Quantile", "RMSE", "SurvivalAft", "Tweedie"),
        "regression",
    ),
}  # fmt: skip
_EXPONENTIAL = ("Poisson", "Tweedie")
# Of a function of one's own, and of a sum of models, nothing says what its numbers mean.
_UNSAID = ("", "PythonUserDefinedPerObject")


class CatboostFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        if path.suffix not in (".cbm", ".cb") or not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(_FIRST)) == _FIRST

    def read(self, path: Path) -> CatboostModel:
        import catboost

        model = catboost.CatBoost()
        model.load_model(str(path), format="cbm")
        others = (model.get_cat_feature_indices, model.get_text_feature_indices, model.get_embedding_feature_indices)
        if any(find() for find in others):
            raise UsageProblem(
                f"{path} has columns of categories, texts or embeddings, whose encoding ONNX cannot have",
                "train on numbers: without cat_features, e.g. with categories as columns of 0 and 1",
            )
        loss = _loss(model)
        if loss not in (*_TASKS, *_UNSAID):
            raise Failed(
                f"{path} was trained for {loss}, whose answers cannot be converted",
                f"train it for one of {', '.join(sorted(_TASKS))}",
            )
        return CatboostModel(path, loss)


def _loss(model: Any) -> str:
    """The loss that it was trained by, without its parameters; empty where the file does not say."""
    metadata = model.get_metadata()
    said = metadata["params"] if "params" in metadata.keys() else ""  # noqa: SIM118  # it is no mapping
    return str(json.loads(said or "{}").get("loss_function", {}).get("type", ""))


class CatboostModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, path: Path, loss: str) -> None:
        import catboost

        # Each kind of model means its trees by itself: asked as another, a model of Tweedie answers logarithms.
        kinds = {"classification": catboost.CatBoostClassifier, "regression": catboost.CatBoostRegressor}
        self._name = _TASKS.get(loss)
        self._model = kinds.get(self._name or "", catboost.CatBoost)().load_model(str(path), format="cbm")
        self._loss = loss
        self._columns = Columns("", "", ())

    @property
    def task(self) -> Task:
        if self._name is None:
            return CUSTOM
        if self._name != "classification":
            return Task(self._name)
        labels = [str(label) for label in self._model.classes_]
        return Task("classification", tuple(labels) or ("0", "1"))

    def columns(self, rows: pd.DataFrame) -> Columns:
        names = list(self._model.feature_names_)
        has_names = names != [str(at) for at in range(len(names))]
        self._columns = contract(rows, names if has_names else (), len(names))
        return self._columns

    def predict(self, given: Any) -> Arrays:
        rows = given[list(self._columns.names)].to_numpy(np.float64)
        found = self._model.predict_proba(rows) if self.task.labels else self._model.predict(rows)
        return {answer_name(self._columns): np.asarray(found)}

    def convert(self, path: Path) -> None:
        from onnx import TensorProto, helper

        with temporary() as folder:
            self._model.save_model(str(folder / "model.onnx"), format="onnx")
            model = graph.load(folder / "model.onnx")
        name, inside = answer_name(self._columns), model.graph.output[-1].name
        if zipped := next((node for node in model.graph.node if node.op_type == "ZipMap"), None):
            inside = zipped.input[0]
            model.graph.node.remove(zipped)
        if self._loss in _EXPONENTIAL:
            model.graph.node.append(helper.make_node("Exp", [inside], ["expected"]))
            inside = "expected"
        graph.keep(model, name, inside, is_flat=not self.task.labels)
        feeding = graph.Feeding(self._columns)
        feeding.matrix(model.graph.input[0].name, self._columns.names, TensorProto.FLOAT, {})
        feeding.into(model)
        graph.save(model, path)
