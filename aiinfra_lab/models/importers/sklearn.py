"""scikit-learn's models and pipelines, from files of skops: nothing of them is run but types that are known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import Settings
from ...errors import Failed, LabError, UsageProblem
from ...features.contract import Columns
from ...train.inputs import Arrays
from ...train.saved_model import opened
from ...train.signature import CUSTOM, Task
from .. import graph
from ..columns import answer_name, contract

if TYPE_CHECKING:
    import pandas as pd

# Beyond what skops itself trusts: parts of scikit-learn that hold numbers and no code. Never by the file.
TRUSTED = (
    "numpy.dtype",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance32",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
# What no row has: the encoders take it for a category that they were not trained on.
_UNSEEN = "\x1funseen"
# Beyond it a whole number and the next one are the same double.
_MOST_WHOLE = 2.0**53
_OPSETS = {"": graph.OPSET, "ai.onnx.ml": 3}


class SklearnFile:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        if path.suffix != ".skops" or not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"

    def read(self, path: Path) -> SklearnModel:
        import skops.io

        if off := sorted({*skops.io.get_untrusted_types(file=path)} - {*TRUSTED}):
            raise UsageProblem(
                f"{path} holds types that are not known to be safe: {', '.join(off)}",
                "build the model of scikit-learn's own parts, without functions and classes of others, and categories "
                "by an encoder in the pipeline, not by categorical_features; then save it again",
            )
        model = skops.io.load(path, trusted=list(TRUSTED))
        if not hasattr(model, "predict"):
            raise Failed(f"{path} holds a {type(model).__name__}, which predicts nothing", "save the fitted model")
        if vectorizer := _of_texts(model):
            raise UsageProblem(
                f"{path} takes texts by a {vectorizer}, and a scikit-learn model of texts is not taken",
                "give a model of numbers and categories; or one of texts as a Hugging Face folder; or save what comes "
                "after the vectorizer, and make its columns of numbers before",
            )
        if not hasattr(model, "n_features_in_"):
            raise Failed(
                f"{path} holds a {type(model).__name__} that was not trained, or takes no columns",
                "save the fitted model; one of a single column has to be in a pipeline that takes columns",
            )
        if hasattr(model, "classes_") and not hasattr(model, "predict_proba"):
            raise UsageProblem(
                f"{path} holds a {type(model).__name__}, which gives labels and no probabilities",
                "fit sklearn.calibration.CalibratedClassifierCV(model) with its method sigmoid, and save that",
            )
        _refuse_calibration(path, model)
        return SklearnModel(model)


class SklearnModel:
    """See `Original`."""

    tolerance = 1e-5

    def __init__(self, model: Any) -> None:
        self._model = model
        self._names = tuple(map(str, getattr(model, "feature_names_in_", ())))
        self._categories = _categories(model, self._names)
        self._coded = _coded_numbers(model, self._names)
        self._by_column = bool(self._names) and any(True for _ in _column_transformers(model))
        self._columns = Columns("", "", ())
        self._is_flat = False

    @property
    def task(self) -> Task:
        classes = getattr(self._model, "classes_", None)
        if classes is not None and len(classes) > 1:
            return Task("classification", tuple(map(str, classes)))
        return Task("regression") if hasattr(self._model, "score") else CUSTOM

    def columns(self, rows: pd.DataFrame) -> Columns:
        self._columns = contract(rows, self._names, int(self._model.n_features_in_), self._categories)
        return self._columns

    def predict(self, given: Any) -> Arrays:
        rows = given[list(self._columns.names)]
        rows = rows if self._names else rows.to_numpy()
        found = self._model.predict_proba(rows) if self.task.labels else self._model.predict(rows)
        self._is_flat = np.ndim(found) == 1
        return {answer_name(self._columns): found}

    def convert(self, path: Path) -> None:
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        # Of double precision, as scikit-learn computes, wherever its parts can be converted so; never by the example.
        try:
            self._write(path, DoubleTensorType)
            opened(path)
        except Exception as problem:  # noqa: BLE001  # neither the converter's nor the runtime's share a base class
            try:
                self._write(path, FloatTensorType)
            except Exception:  # noqa: BLE001
                raise self._unconverted(problem) from problem

    def thresholds(self) -> Mapping[str, Sequence[float]]:
        return {**_thresholds(self._model, self._columns.names), **self._coded}

    def _unconverted(self, problem: Exception) -> LabError:
        if isinstance(problem, LabError):
            return problem
        reason = str(problem).strip().partition("\n")[0][:300] or type(problem).__name__
        return Failed(
            f"skl2onnx cannot convert this {type(self._model).__name__}: {reason}",
            "build it of parts that it can: `python -c 'import skl2onnx; print(skl2onnx.supported_converters())'` "
            "lists them; or train the same with LightGBM or XGBoost, whose own files are taken",
        )

    def _write(self, path: Path, kind: Any) -> None:
        import skl2onnx
        from skl2onnx.common.data_types import StringTensorType

        names = self._columns.names
        types = [("features", kind([None, len(names)]))]
        if self._by_column:
            types = [
                (name, StringTensorType([None, 1]) if name in self._categories else kind([None, 1])) for name in names
            ]
        is_classifier = bool(self.task.labels)
        options = {id(self._model): {"zipmap": False}} if is_classifier else None
        for part in _parts(self._model):
            if hasattr(part, "flatten_transform"):  # its converter wants False, and no probability depends on it
                part.flatten_transform = False
        model = skl2onnx.convert_sklearn(
            self._model,
            initial_types=types,
            options=options,
            target_opset=_OPSETS,
            custom_conversion_functions=_converters(),
        )
        graph.keep(model, answer_name(self._columns), model.graph.output[-1].name, is_flat=self._is_flat)
        self._feed(model, types[0][1])
        graph.save(model, path)

    def _feed(self, model: Any, of: Any) -> None:
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType

        dtypes = {item.name: item.type.tensor_type.elem_type for item in model.graph.input}
        feeding = graph.Feeding(self._columns)
        if not self._by_column:
            dtype = TensorProto.DOUBLE if isinstance(of, DoubleTensorType) else TensorProto.FLOAT
            feeding.matrix("features", self._columns.names, dtype, {})
        else:
            for name in self._columns.names:
                # A column that no part of the pipeline uses is no input of the converted model.
                if name not in dtypes:
                    continue
                if name in self._categories:
                    feeding.text(name, name, _UNSEEN)
                elif name in self._coded:
                    feeding.known(name, name, self._coded[name], dtypes[name])
                else:
                    feeding.number(name, name, dtypes[name])
        feeding.into(model)


def _parts(model: Any) -> Sequence[Any]:
    """The model, and whatever it was made of."""
    return [model, *(model.get_params().values() if hasattr(model, "get_params") else ())]


def _refuse_calibration(path: Path, model: Any) -> None:
    """Its converter takes every calibration that is not a sigmoid for steps: they differ between the steps alone."""
    from sklearn.calibration import CalibratedClassifierCV

    others = [each.method for each in _parts(model) if isinstance(each, CalibratedClassifierCV)]
    if method := next((each for each in others if each != "sigmoid"), ""):
        raise UsageProblem(
            f"{path} is calibrated by the method {method}, which ONNX's converter takes for another",
            'fit CalibratedClassifierCV with method="sigmoid" and save that',
        )


def _of_texts(model: Any) -> str:
    """The part of it that takes texts."""
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    return next(
        (type(each).__name__ for each in _parts(model) if isinstance(each, CountVectorizer | HashingVectorizer)), ""
    )


def _column_transformers(model: Any) -> Iterator[Any]:
    """What takes columns by name, at the beginning of a pipeline."""
    while hasattr(model, "steps"):
        model = model.steps[0][1]
    if hasattr(model, "transformers_"):
        yield model


def _categories(model: Any, names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """The values of each column of texts that an encoder of the pipeline was trained on."""
    found: dict[str, Sequence[Any]] = {}
    for transformer in _column_transformers(model):
        for _, fitted, columns in transformer.transformers_:
            chosen = [columns] if isinstance(columns, str) else list(columns) if np.iterable(columns) else []
            own = [names[int(each)] if isinstance(each, int | np.integer) else str(each) for each in chosen]
            for encoder in [fitted, *(step for _, step in getattr(fitted, "steps", ()))]:
                for name, values in zip(own, getattr(encoder, "categories_", ()), strict=False):
                    if np.asarray(values).dtype.kind in "OUST":
                        found[name] = list(values)
    return found


def _coded_numbers(model: Any, names: Sequence[str]) -> Mapping[str, Sequence[float]]:
    """The values of each column of numbers that goes to nothing but an encoder, which takes others for unknown ones.

    Its converter makes whole numbers of them first, so that 1.5 would be 1.
    """
    found: dict[str, Sequence[float]] = {}
    for transformer in _column_transformers(model):
        used: list[str] = []
        for _, fitted, columns in transformer.transformers_:
            chosen = [columns] if isinstance(columns, str) else list(columns) if np.iterable(columns) else []
            own = [names[int(each)] if isinstance(each, int | np.integer) else str(each) for each in chosen]
            used += own
            if getattr(fitted, "handle_unknown", "error") == "error":
                continue
            for name, values in zip(own, getattr(fitted, "categories_", ()), strict=False):
                if values.dtype.kind in "iuf" and (np.abs(values) < _MOST_WHOLE).all():
                    found[name] = [float(each) for each in values]
        found = {name: values for name, values in found.items() if used.count(name) == 1}
    return found


def _converters() -> dict[type, Any]:
    """By the type of a model of trees, what converts it wherever it stands in a model.

    Boosting on histograms compares doubles; all the others make float32 of a value first.
    """
    return {**dict.fromkeys(_of_doubles(), _in_doubles), **dict.fromkeys(_of_floats(), _in_floats)}


def _thresholds(model: Any, names: Sequence[str]) -> Mapping[str, Sequence[float]]:
    """Of each column the values that trees compare it with, also behind what scales each column for itself; nothing of
    a model that makes others of them first.
    """
    *before, last = [step for _, step in getattr(model, "steps", [("", model)])]
    scalers = [step for step in before if step not in (None, "passthrough")]
    if not isinstance(last, (*_of_doubles(), *_of_floats())) or not all(
        isinstance(each, _scalers()) for each in scalers
    ):
        return {}
    splits = [*_splits(last)]
    features = [feature for feature, _ in splits]
    at = np.arange(len(splits))
    rows = np.zeros((len(splits), len(names)))
    rows[at, features] = [threshold for _, threshold in splits]
    for each in reversed(scalers):
        rows = each.inverse_transform(rows)
    found: dict[str, list[float]] = {}
    for feature, value in zip(features, rows[at, features].tolist(), strict=True):
        found.setdefault(names[feature], []).append(value)
    return found


def _scalers() -> tuple[type, ...]:
    from sklearn import preprocessing

    return (
        preprocessing.MaxAbsScaler,
        preprocessing.MinMaxScaler,
        preprocessing.RobustScaler,
        preprocessing.StandardScaler,
    )


def _of_doubles() -> tuple[type, ...]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return HistGradientBoostingClassifier, HistGradientBoostingRegressor


def _of_floats() -> tuple[type, ...]:
    from sklearn import ensemble, tree

    return (
        ensemble.ExtraTreesClassifier,
        ensemble.ExtraTreesRegressor,
        ensemble.GradientBoostingClassifier,
        ensemble.GradientBoostingRegressor,
        ensemble.RandomForestClassifier,
        ensemble.RandomForestRegressor,
        tree.DecisionTreeClassifier,
        tree.DecisionTreeRegressor,
        tree.ExtraTreeClassifier,
        tree.ExtraTreeRegressor,
    )


def _splits(model: Any) -> Iterator[tuple[int, float]]:
    for each in np.ravel(getattr(model, "estimators_", [model])):
        if hasattr(each, "tree_"):
            inner = each.tree_.children_left >= 0
            yield from zip(each.tree_.feature[inner].tolist(), each.tree_.threshold[inner].tolist(), strict=True)
    for several in getattr(model, "_predictors", ()):
        for each in several:
            nodes = each.nodes[each.nodes["is_leaf"] == 0]
            yield from zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)


def _in_floats(scope: Any, operator: Any, container: Any) -> None:
    from onnx import TensorProto
    from skl2onnx.common.data_types import FloatTensorType

    _convert(scope, operator, container, FloatTensorType, TensorProto.FLOAT)


def _in_doubles(scope: Any, operator: Any, container: Any) -> None:
    from onnx import TensorProto
    from skl2onnx.common.data_types import DoubleTensorType

    kind = "Classifier" if len(operator.outputs) > 1 else "Regressor"
    # Operators of trees hold doubles since version 3.
    node = (f"TreeEnsemble{kind}", "ai.onnx.ml", 3)
    _convert(scope, operator, _InDoubles(container), DoubleTensorType, TensorProto.DOUBLE, *node)


def _convert(scope: Any, operator: Any, container: Any, kind: Any, dtype: int, *node: Any) -> None:
    """skl2onnx's own conversion, of an input of that kind. What trees give is of float32, whatever they compare."""
    from skl2onnx.common._apply_operation import apply_cast
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common._topology import Variable
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from skl2onnx.proto import onnx_proto

    def variable(name: str, like: Any, of: Any) -> Any:
        return Variable(name, scope.get_unique_variable_name(name), scope.name, of(like.type.shape))

    fed = variable("compared", operator.inputs[0], kind)
    apply_cast(scope, operator.inputs[0].full_name, fed.full_name, container, to=dtype)
    is_double = [isinstance(each.type, DoubleTensorType) for each in operator.outputs]
    # Boosting on histograms learns the logarithm by these losses, and its converter leaves it at that.
    is_logarithm = len(is_double) == 1 and getattr(operator.raw_operator, "loss", "") in ("poisson", "gamma")
    inside = [
        variable("answered", each, FloatTensorType) if is_one or is_logarithm else each
        for each, is_one in zip(operator.outputs, is_double, strict=True)
    ]
    get_converter(operator.type)(scope, _Rewired(operator, [fed], inside), container, *node)
    for one, other, is_one in zip(inside, operator.outputs, is_double, strict=True):
        if one is other:
            continue
        source = one.full_name
        if is_logarithm:
            source = scope.get_unique_variable_name("expected")
            container.add_node("Exp", [one.full_name], [source], name=scope.get_unique_operator_name("Exp"))
        to = onnx_proto.TensorProto.DOUBLE if is_one else onnx_proto.TensorProto.FLOAT
        apply_cast(scope, source, other.full_name, container, to=to)


class _Rewired:
    """An operator of skl2onnx with other inputs and outputs."""

    def __init__(self, operator: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self._operator = operator
        self.inputs, self.outputs = inputs, outputs
        self.input_full_names = [each.full_name for each in inputs]
        self.output_full_names = [each.full_name for each in outputs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


class _InDoubles:
    """A graph in the making, whose nodes keep doubles as they are, and get integers for booleans."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *given: Any, **attributes: Any) -> Any:
        return self._container.add_node(*given, **dict(_kept(*each) for each in attributes.items()))


def _kept(name: str, value: Any) -> tuple[str, Any]:
    from onnx import numpy_helper

    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return f"{name}_as_tensor", numpy_helper.from_array(value, name)
    is_flags = isinstance(value, list) and any(isinstance(each, bool | np.bool_) for each in value)
    return name, [int(each) for each in value] if is_flags else value
