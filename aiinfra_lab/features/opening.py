"""Rows for the verbs of the nouns to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LabError, NotFound
from ..resolve import resolve
from ..show import Result
from ..store import Record
from ..uris import Uri
from .record import FeatureSetVersion, JoinedRows
from .results import FeatureRows, feature_rows

if TYPE_CHECKING:
    from ..data import Dataset
    from .contract import Columns


def open_rows(rows: object, name: str = "rows") -> FeatureRows | Dataset:
    """Rows for whoever wants some: `features:…` or a handle of it, or whatever the data noun opens.

    A version of a feature set, `features:NAME@N` without `#…`, means the rows that were made with it last, but for
    those that a verb made for its own use, e.g. to judge them.
    Both answers have `.uri`, `.digest`, `.df()` and `.table()`.
    """
    from .. import data as data_noun
    from . import rows as joined

    if isinstance(rows, str | Result) and Uri.is_one(rows):
        uri = Uri.parse(rows)
        if uri.noun == FeatureSetVersion.kind:
            return feature_rows(joined.stored(uri) if uri.part else _newest(uri))
    # Anything else than a feature set's rows is data, or becomes a version of it.
    try:
        return data_noun.open_rows(rows, name=name)
    except NotFound as problem:
        raise _meant(rows, problem) from problem


def rows_of(name: str) -> str:
    """What data is called that a verb takes in for a run, a model or an endpoint of that name: versions of one name
    would share a lineage with the rows of others.
    """
    return f"{name[:58]}-rows"  # a name has 63 characters at most


def rows_for(rows: object, columns: Columns, name: str = "rows") -> FeatureRows | Dataset:
    """Rows for a model of these columns: as they are when they have all of them, or cannot have them; else taken
    through its features. name: of the data that they become where they are none yet.
    """
    from .sets import find_or_none

    source = open_rows(rows, name)
    have = source.scan().collect_schema().names()
    record = find_or_none(columns.features_uri) if columns.features_uri else None
    if record is None or set(columns.names) <= set(have):
        return source
    asked_by = [record.body.timestamp] if record.body.timestamp else [*record.body.entity]
    if not set(asked_by) <= set(have):
        return source
    return join_aside(columns.features_uri, source)


def join_aside(features_uri: str, rows: object, data: object = None) -> FeatureRows:
    """Rows taken through a feature set for a verb's own use. data: the version whose tables the views read."""
    from .. import data as data_noun
    from . import rows as joined

    record = resolve(features_uri, FeatureSetVersion)
    asked = data_noun.open_rows(rows)
    tables = asked if data is None else data_noun.open_rows(data)
    joined.need_tables(record.body, asked, tables, record.body.newest_data)
    return feature_rows(joined.answer(record, asked, tables, is_aside=True))


def _newest(uri: Uri) -> Record[JoinedRows]:
    """The rows that were made last with a version, and are still there."""
    from . import rows as joined

    record = resolve(uri, FeatureSetVersion)
    found = [each for each in joined.made_with(record) if not each.body.is_aside]
    if not found:
        raise NotFound(
            f"no rows were made with {record.uri} yet",
            f"make some: `%features get {record.name} --rows {record.body.newest_data}`",
        )
    return found[0]


def _meant(rows: object, problem: NotFound) -> NotFound:
    """The same problem; where a feature set is called so, the fix names it."""
    try:
        resolve(rows, FeatureSetVersion)
    except LabError:  # most paths could not even be a name
        return problem
    uri = Uri.parse(rows, noun=FeatureSetVersion.kind)
    return NotFound(problem.what, f"write {uri} for the rows of that feature set; {problem.fix}")
