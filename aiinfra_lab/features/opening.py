"""Rows for the verbs of the nouns to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .results import FeatureRows, feature_rows

if TYPE_CHECKING:
    from ..data import Dataset


def open_rows(rows: object, name: str = "rows") -> FeatureRows | Dataset:
    """Rows for whoever wants some: `features:…#…` or its handle, or whatever the data noun opens.

    Both answers have `.uri`, `.digest`, `.df()` and `.table()`.
    """
    from .. import data as data_noun
    from . import rows as joined

    if isinstance(rows, FeatureRows) or str(rows).startswith("features:"):
        return feature_rows(joined.stored(str(rows)))
    return data_noun.open_rows(rows, name=name)
