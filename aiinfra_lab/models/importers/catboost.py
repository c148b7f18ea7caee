"""CatBoost's own files, .cbm, which hold trees and no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import Settings
from ...errors import UsageProblem
from ...features.contract import Columns
from ...leftovers import temporary
from ...train.inputs import Arrays
from ...train.signature import Task
from .. import graph
from ..columns import answer_name, contract

if TYPE_CHECKING:
    import pandas as pd

_FIRST = b"CBM1"
_CLASSES = ("Logloss", "CrossEntropy", "MultiClass")


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
        return CatboostModel(model)


class CatboostModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, model: Any) -> None:
        self._model = model
        self._loss = str(model.get_all_params().get("loss_function", ""))
        self._columns = Columns("", "", ())

    @property
    def task(self) -> Task:
        if self._loss in _CLASSES:
            labels = [str(label) for label in self._model.classes_]
            return Task("classification", tuple(labels) or ("0", "1"))
        return Task("regression")

    def columns(self, rows: pd.DataFrame) -> Columns:
        names = list(self._model.feature_names_)
        has_names = names != [str(at) for at in range(len(names))]
        self._columns = contract(rows, names if has_names else (), len(names))
        return self._columns

    def predict(self, given: Any) -> Arrays:
        rows = given[list(self._columns.names)].to_numpy(np.float64)
        kind = "Probability" if self.task.labels else "Exponent" if self._loss == "Poisson" else "RawFormulaVal"
        return {answer_name(self._columns): np.asarray(self._model.predict(rows, prediction_type=kind))}

    def convert(self, path: Path) -> None:
        from onnx import TensorProto

        with temporary() as folder:
            self._model.save_model(str(folder / "model.onnx"), format="onnx")
            model = graph.load(folder / "model.onnx")
        name, inside = answer_name(self._columns), model.graph.output[-1].name
        if zipped := next((node for node in model.graph.node if node.op_type == "ZipMap"), None):
            inside = zipped.input[0]
            model.graph.node.remove(zipped)
        graph.keep(model, name, inside, is_flat=not self.task.labels)
        feeding = graph.Feeding(self._columns)
        feeding.matrix(model.graph.input[0].name, self._columns.names, TensorProto.FLOAT, {})
        feeding.into(model)
        graph.save(model, path)
