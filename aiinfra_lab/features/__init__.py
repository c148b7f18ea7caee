"""The same features in training and in serving: views over tables, joined as of each row's time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from ..audit.references import refuse_referenced
from ..errors import Conflict, Failed, NotFound, UsageProblem
from ..show import Listing
from ..store import Record, open_store
from ..uris import Uri, check_name
from ..verbs import Code, Live, Rows, verb
from .opening import open_rows
from .results import (
    Difference,
    FeatureRows,
    FeatureSet,
    History,
    OnlineRow,
    Removal,
    Report,
    event_line,
    feature_rows,
    feature_set,
    newest_data,
)
from .views import View, view

__all__ = [
    "Difference", "FeatureRows", "FeatureSet", "History", "OnlineRow", "Removal", "Report", "View",
    "add", "check", "diff", "get", "log", "ls", "open_rows", "rm", "show", "view",
]  # fmt: skip

Name = Annotated[str, Live("features")]


@verb("features")
def add(name: Name, *, data: Rows, timestamp: str, label: str = "", id_: str = "", code: Code = "") -> FeatureSet:
    """Add a feature set: the cell's views, and the columns of the rows themselves that it names in `columns`.

    The views run once over the data version, so that what cannot work is told now; they are registered in Feast, and
    the newest values go to its online store. The same cell and options again are the same version. What the cell
    imports is not part of the version.

    name: what to call it
    data: the data version whose tables the views read
    timestamp: the rows' column that says when their features are asked for
    label: the rows' column that is to be predicted
    id_: the rows' column that names a row; by default row_id, or the row's place
    code: Python with functions under @view, and a list `columns`
    """
    from .. import data as data_noun
    from . import online, sets
    from .rows import tables_of

    check_name(name)
    dataset = data_noun.open_rows(data, name=name)
    spec, events = sets.describe(name, code, timestamp, label, id_, dataset.table(), tables_of(dataset))
    record, new = sets.keep(spec, events, dataset.uri)
    events = sets.conformed(sets.spec_of(record), events)
    return feature_set(online.fill(record, dataset, events, None if new else "features add"))


@verb("features")
def get(
    name: Name, *, rows: Rows = None, online: str = "", data: Rows = None, into: Path | None = None
) -> FeatureRows | OnlineRow:
    """Get features: of rows, as they were known at each row's time, or the newest ones of one entity.

    Every row stays, in its order; what was asked before is answered from the store.

    name: the feature set, or rows that were made already (features:NAME@N#…)
    rows: the rows: a data version, a file, a DataFrame
    online: one row's keys and own columns for the online store, as origin=JFK,carrier=UA or a JSON object; with the
      timestamp's name, a moment later than the store's own
    data: the data version whose tables the views read, when the rows are not from it
    into: also write the rows to this parquet or CSV file
    """
    from .. import data as data_noun
    from . import rows as joined
    from . import sets

    if bool(online) == (rows is not None) and "#" not in name:
        raise UsageProblem("features get needs either --rows or --online", f"`%features get {name} --rows data:…`")
    if online:
        return _online(sets.find(name), online, data)
    if "#" in name:
        return _written(feature_rows(joined.stored(name)), into)
    record = sets.find(name)
    spec, asked = sets.spec_of(record), data_noun.open_rows(rows)
    tables = asked if data is None else data_noun.open_rows(data)
    joined.need_tables(spec, tables, newest_data(record))
    return _written(feature_rows(joined.answer(spec, asked, tables)), into)


@verb("features")
def check(name: Name, *, rows: Rows = None, data: Rows = None, report: bool = False) -> Report:
    """Check a feature set on a sample: that no row sees its future, and that online and history agree.

    Raises unless both are proven. A view whose tables do not carry the column of its times cannot be proven.

    name: the feature set
    rows: rows to draw the sample from; by default the data version's own
    data: the data version whose tables the views read; by default the one the set was last added with
    report: hand the verdict back instead of raising
    """
    from .. import data as data_noun
    from . import checks, online, sets

    record = sets.find(name)
    tables = data_noun.open_rows(data if data is not None else newest_data(record))
    record = online.fill(record, tables, None, "features check")
    verdicts = checks.judge(record, tables if rows is None else data_noun.open_rows(rows), tables)
    states = [each.verdict for each in verdicts]
    state = next((word for word in (checks.BAD, checks.UNCLEAR) if word in states), checks.GOOD)
    found = Report(f"features:{record.name}", state, tuple(vars(each) for each in verdicts))
    if state != checks.GOOD and not report:
        worst = next(each for each in verdicts if each.verdict == state)
        raise Failed(
            f"{worst.what}: {state}: {worst.why}", f"mend the view; `%features check {name} --report` shows all"
        )
    return found


@verb("features")
def ls() -> Listing:
    """List the feature sets, newest first."""
    from . import sets

    found = tuple(feature_set(record) for record in sets.sets())
    empty = "there is none yet: `%%features add NAME` makes one"
    return Listing("features", found, ("uri", "label", "data", "online_as_of", "created_at"), empty)


@verb("features")
def show(name: Name) -> FeatureSet | FeatureRows:
    """Show a feature set: its features in order, the views that give them, and the cell; or rows made by it.

    name: the feature set, or rows (features:NAME@N#…)
    """
    from . import rows, sets

    return feature_rows(rows.stored(name)) if "#" in name else feature_set(sets.find(name))


@verb("features")
def log(name: Name) -> History:
    """Show what happened with a feature set, newest first.

    name: the feature set
    """
    from . import sets

    uri = str(Uri.parse(name, noun="features"))
    found = list(open_store().events(naming=uri))[::-1]
    if not found:
        sets.find(name)  # says what there is
    return History(uri, tuple(event_line(each) for each in found))


@verb("features")
def diff(name: Name, other: Name) -> Difference:
    """Compare two feature sets, or two versions of one: features, views, and the cells' text.

    name: the one before
    other: the one after; one that does not exist yet is said to be so
    """
    from . import compare, sets

    return compare.difference(sets.find_or_none(name), sets.find_or_none(other), name, other)


@verb("features")
def rm(name: Name) -> Removal:
    """Remove a version of a feature set from Feast, or the file of rows; the record that it was stays.

    The rows of a version stay when it is removed. The name then means the newest version that is left. What an endpoint
    serves, or an alias points at, keeps the version that it was made with.

    name: the version, NAME@N (without @N the only one), or rows (features:NAME@N#…)
    """
    from . import online, rows, sets

    if "#" in name:
        found = feature_rows(rows.stored(name))
        sets.remove(open_store(), found.uri)
        found.path.unlink(missing_ok=True)
        return Removal(found.uri, f"{found.rows:,} rows")
    record = sets.find(name)
    if Uri.parse(name, noun="features").version is None and len(sets.versions(record.body["name"])) > 1:
        raise Conflict(f"{name} has several versions", f"say which: `%features rm {record.name}`")
    spec = sets.spec_of(record)
    refuse_referenced(open_store(), spec.uri)
    sets.remove(open_store(), spec.uri)
    if record.body["online"] and spec.views:
        online.provider().forget(spec)
    shutil.rmtree(spec.folder, ignore_errors=True)
    left = next(iter(sets.versions(spec.name)), None)
    return Removal(spec.uri, "feature set", f"features:{left.name}" if left else "")


def _online(record: Record, key: str, data: object) -> OnlineRow:
    from .. import data as data_noun
    from . import online, sets

    row, at = online.parse_key(sets.spec_of(record), key)
    if data is not None or not record.body["online"]:
        dataset = data_noun.open_rows(newest_data(record) if data is None else data)
        record = online.fill(record, dataset, None, "features get")
    try:
        found = online.read(record, row, at)
    except NotFound:  # somebody took away what our record says was there
        dataset = data_noun.open_rows(newest_data(record))
        found = online.read(online.fill(online.emptied(record), dataset, None, "features get"), row, at)
    uri, values = f"features:{record.name}", tuple(found.values.values())
    return OnlineRow(uri, tuple(found.values), values, found.at.isoformat(), found.as_of.isoformat(), found.data_uri)


def _written(found: FeatureRows, into: Path | None) -> FeatureRows:
    if into is not None:
        from . import rows

        rows.copy(found.scan(), into)
    return found
