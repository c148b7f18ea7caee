"""Rows for the verbs of the nouns to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NotFound
from ..show import Result
from ..store import Record
from .results import FeatureRows, feature_rows, newest_data

if TYPE_CHECKING:
    from ..data import Dataset


def open_rows(rows: object, name: str = "rows") -> FeatureRows | Dataset:
    """Rows for whoever wants some: `features:…` or a handle of it, or whatever the data noun opens.

    A version of a feature set, `features:NAME@N` without `#…`, means the rows that were made with it last.
    Both answers have `.uri`, `.digest`, `.df()` and `.table()`.
    """
    from .. import data as data_noun
    from . import rows as joined

    words = str(rows) if isinstance(rows, str | Result) else ""
    if words.startswith("features:"):
        return feature_rows(joined.stored(words) if "#" in words else _newest(words))
    try:
        return data_noun.open_rows(rows, name=name)
    except NotFound as problem:
        raise _meant(rows, problem) from problem


def _newest(version: str) -> Record:
    """The rows that were made last with a version, and are still there."""
    from . import rows as joined
    from . import sets

    record = sets.find(version)
    found = joined.made_with(f"{sets.KIND}:{record.name}")
    if not found:
        raise NotFound(
            f"no rows were made with {sets.KIND}:{record.name} yet",
            f"make some: `%features get {record.name} --rows {newest_data(record)}`",
        )
    return found[0]


def _meant(rows: object, problem: NotFound) -> NotFound:
    """The same problem; where a feature set is called so, the fix names it."""
    from . import sets

    if isinstance(rows, str) and sets.versions(rows.partition("@")[0]):
        return NotFound(problem.what, f"write {sets.KIND}:{rows} for the rows of that feature set; {problem.fix}")
    return problem
