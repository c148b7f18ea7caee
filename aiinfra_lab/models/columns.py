"""The columns that a table's model takes out of rows, as a raw contract; and the names of what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import UsageProblem, did_you_mean
from ..features.contract import CATEGORY, NUMBER, ROW_ID, Column, Columns, category_text

if TYPE_CHECKING:
    import pandas as pd

# Of these the first that no column is called.
_ANSWERS = ("prediction", "predicted", "model_prediction")


def contract(
    rows: pd.DataFrame,
    names: Sequence[str],
    count: int,
    categories: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> Columns:
    """The contract of these columns. names: empty where the model knows only how many there are.

    categories: of each column of categories its values, in the model's order
    """
    there = [str(name) for name in rows.columns]
    if not names:
        names = [name for name in there if name != ROW_ID]
        if len(names) != count:
            raise UsageProblem(
                f"it was trained without names of columns and takes {count}, and the rows have {len(names)}",
                "give rows with its columns alone, in the order of its training",
            )
    if lacking := next((name for name in names if name not in there), ""):
        raise UsageProblem(f"the rows have no column {lacking!r}, which it takes", did_you_mean(lacking, there))
    return Columns("", "", tuple(_column(rows[name], name, categories.get(name)) for name in names), raw=True)


def _column(values: pd.Series[Any], name: str, categories: Sequence[Any] | None) -> Column:
    # What no row of the example lacks is not known to be one that the model can do without.
    required = not bool(values.isna().any())
    if categories is not None:
        texts = [text for value in categories if (text := category_text(value)) is not None]
        return Column(name, CATEGORY, required, categories=tuple(texts))
    if values.dtype.kind not in "iuf":
        raise UsageProblem(
            f"the column {name} is {values.dtype}, and the model takes numbers there",
            f'make it numbers as in training, e.g. df["{name}"].astype(float); or train with the encoder inside: '
            "a scikit-learn pipeline, saved by skops",
        )
    return Column(name, NUMBER, required)


def answer_name(columns: Columns) -> str:
    """What the model's one answer is called."""
    return next(name for name in _ANSWERS if name not in columns.names)
