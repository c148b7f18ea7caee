"""What a model takes and answers, in MLflow's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..train.inputs import ArrayInputs
from ..train.saved_model import SavedModel
from ..train.signature import Tensor, probabilities

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema


def of(saved: SavedModel) -> ModelSignature:
    """The signature of rows and answers as an endpoint has them.

    A number is of any type there: MLflow would refuse a column of whole numbers where it is told `double`, and our
    contract says better what is wrong with a row. So is a category where some of its values look like numbers or truth
    values, which a table may hold as such.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    return ModelSignature(_taken(saved), Schema([*_answered(saved)]))


def example(saved: SavedModel) -> Any:
    """The saved example, as MLflow's pages show how to ask the model."""
    import pandas as pd

    rows = saved.example.rows
    if not (tensors := _tensors(saved)):
        return pd.DataFrame(rows)
    return {item.name: np.array([row[item.name] for row in rows], item.dtype) for item in tensors}


def _taken(saved: SavedModel) -> Schema:
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    if tensors := _tensors(saved):
        return Schema([TensorSpec(np.dtype(item.dtype), item.shape, item.name) for item in tensors])
    if saved.is_of_table:
        texts = {item.name for item in saved.columns.categories if not any(map(_is_odd, item.categories))}
        optional = {item.name for item in saved.columns if not item.required}
    else:
        texts = {item.name for item in saved.signature.inputs if item.is_text and item.is_scalar}
        optional = set()
    anything = AnyType()  # type: ignore[no-untyped-call]
    return Schema(
        [
            ColSpec(DataType.string if name in texts else anything, name, required=name not in optional)
            for name in saved.rows.names
        ]
    )


def _tensors(saved: SavedModel) -> list[Tensor]:
    """The arrays that it takes, where all of its inputs are some of one size; MLflow mixes them with nothing else."""
    inputs = saved.rows
    if not isinstance(inputs, ArrayInputs) or saved.encoders:
        return []
    are_alike = all(size >= 0 for item in inputs.asked for size in item.row_shape)
    return [*inputs.asked] if are_alike else []


def _is_odd(category: str) -> bool:
    return category in ("true", "false") or category.lstrip("-").isdecimal()


def _answered(saved: SavedModel) -> Iterator[ColSpec]:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array, Map

    for item in saved.signature.outputs:
        if saved.signature.has_labels(item):
            yield ColSpec(DataType.string, item.name)
            yield ColSpec(Map(DataType.double), probabilities(item.name))
            continue
        kind: Any = _type(item)
        for _ in item.row_shape:
            kind = Array(kind)
        yield ColSpec(kind, item.name)


def _type(item: Tensor) -> DataType:
    from mlflow.types import DataType

    kind = np.dtype(item.dtype).kind
    return {"f": DataType.double, "b": DataType.boolean, "O": DataType.string}.get(kind, DataType.long)
