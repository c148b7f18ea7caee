"""What MLflow's `python_function` loads of a version of ours: it takes what an endpoint takes, and answers as it does.

MLflow imports this module by its name, `loader_module`, and looks for `_load_pyfunc` in it. No pickle is involved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..train.saved_model import SavedModel

if TYPE_CHECKING:
    import pandas as pd


class PyfuncModel:
    """The model in that folder, as `mlflow.pyfunc` calls it."""

    def __init__(self, saved: SavedModel) -> None:
        self._saved = saved

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """A column for each name of an endpoint's answer, a row for each row. BadRow for a row that it would refuse.

        model_input: a data frame or dicts of rows; or arrays by input, their rows first.
        """
        import pandas as pd

        rows = self._rows_of_arrays(model_input) if isinstance(model_input, Mapping) else model_input
        return pd.DataFrame(self._saved.answers(rows), columns=[*self._saved.signature.answered])

    def _rows_of_arrays(self, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]


def _load_pyfunc(path: str) -> PyfuncModel:
    return PyfuncModel(SavedModel(Path(path)))
