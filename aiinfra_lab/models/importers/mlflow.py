"""Folders of MLflow: the native file in them is read by the importer of its format, never the pickle beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config import Settings
from ...errors import UsageProblem
from ...providers import make
from ..base import Original
from ..mlflow import flavours_of

_FILE = "MLmodel"
# Flavour → our importer, and where its entry says which file it is. In this order: what is served as it is first.
_FLAVOURS = {
    "onnx": ("onnx", "data"),
    "xgboost": ("xgboost", "data"),
    "lightgbm": ("lightgbm", "data"),
    "catboost": ("catboost", "data"),
    "sklearn": ("sklearn", "pickled_model"),
    "pytorch": ("torch", "model_data"),
}


class MlflowFolder:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        return (path / _FILE).is_file()

    def read(self, path: Path) -> Original:
        flavours = flavours_of(path)
        for name, file in _native(path, flavours):
            importer = make("models.importer", name)
            if importer.suits(file):
                found: Original = importer.read(file)
                return found
        raise UsageProblem(
            f"{path} has no file that can be read without running it, of {', '.join(flavours) or 'no flavour'}",
            "log the model in a native form: mlflow.onnx, mlflow.xgboost, mlflow.lightgbm or mlflow.catboost, or "
            'mlflow.sklearn.log_model(model, serialization_format="skops")',
        )


def _native(path: Path, flavours: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The importer and the file of each flavour that has one of its own, inside the folder."""
    folder = path.resolve()
    for flavour, (name, key) in _FLAVOURS.items():
        entry = flavours.get(flavour)
        value = entry.get(key) if isinstance(entry, Mapping) else None
        if not isinstance(value, str):
            continue
        place = (folder / value).resolve()
        if not place.is_relative_to(folder):
            raise UsageProblem(f"{path / _FILE} names {value}, outside its folder", "log the model again")
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            yield name, file
