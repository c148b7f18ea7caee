"""scikit-learn's trees as ONNX: a value is compared in the precision in which scikit-learn compares it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def converters() -> dict[type, Any]:
    """By the type of a model of trees, what converts it wherever it stands in a model.

    Boosting on histograms compares doubles; all the others make float32 of a value first.
    """
    return {**dict.fromkeys(_of_doubles(), _in_doubles), **dict.fromkeys(_of_floats(), _in_floats)}


def thresholds(model: Any, names: Sequence[str]) -> Mapping[str, Sequence[float]]:
    """Of each column the values that trees compare it with; nothing of a model that makes others of them first."""
    found: dict[str, list[float]] = {}
    if isinstance(model, (*_of_doubles(), *_of_floats())):
        for feature, threshold in _splits(model):
            found.setdefault(names[feature], []).append(threshold)
    return found


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
    inside = [
        variable("answered", each, FloatTensorType) if is_one else each
        for each, is_one in zip(operator.outputs, is_double, strict=True)
    ]
    get_converter(operator.type)(scope, _Rewired(operator, [fed], inside), container, *node)
    for one, other in zip(inside, operator.outputs, strict=True):
        if one is not other:
            apply_cast(scope, one.full_name, other.full_name, container, to=onnx_proto.TensorProto.DOUBLE)


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
