"""The same features in training and in serving: views over tables, joined as of each row's time."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..audit.references import refuse_referenced
from ..errors import Conflict, Failed, Inconclusive, LabError, NotFound, UsageProblem
from ..files import retry
from ..resolve import resolve
from ..show import Listing, working
from ..store import Record, log_same, open_store
from ..units import counted
from ..uris import Uri, check_name
from ..verbs import Code, Destination, Live, Name, Rows, Suggested, verb
from . import views
from .opening import join_aside, open_rows, rows_for
from .record import FeatureSetVersion, OnlineState, path_of
from .results import (
    FeatureCheck,
    FeatureDifference,
    FeatureHistory,
    FeatureRemoval,
    FeatureRows,
    FeatureSet,
    FeatureSets,
    OnlineRow,
    event_line,
    feature_rows,
    feature_set,
)
from .views import View, view

if TYPE_CHECKING:
    from ..data import Dataset

__all__ = [
    "FeatureCheck", "FeatureDifference", "FeatureHistory", "FeatureRemoval", "FeatureRows", "FeatureSet", "OnlineRow",
    "View", "add", "check", "diff", "get", "join_aside", "log", "ls", "open_rows", "rm", "rows_for", "show", "view",
]  # fmt: skip

SetName = Annotated[Name, Live("features")]


def _columns(typed: Mapping[str, str]) -> list[str]:
    from ..data import versions

    return versions.columns(typed.get("data", ""))


def _times(typed: Mapping[str, str]) -> list[str]:
    from ..data import versions

    return versions.times(typed.get("data", ""))


ColumnName = Annotated[str, Suggested(_columns)]


@verb("features", views.arguments_help)
def add(
    name: SetName,
    *,
    data: Rows,
    timestamp: Annotated[str, Suggested(_times)] = "",
    label: Annotated[Sequence[str], Suggested(_columns)] = (),
    id_: ColumnName = "",
    code: Code,
) -> FeatureSet:
    """Add a feature set: the cell's views, and the columns of the rows themselves that it names in `columns`.

    The views run once over the data version, so that what cannot work fails now; they are registered in Feast, and
    the newest values go to its online store. The same cell and options again are the same version. What the cell
    imports is not part of the version.

    name: what to call it
    data: the data version whose tables the views read
    timestamp: the rows' column that says when their features are asked for; left out where rows have no time: then each
        row gets what is known of its entity, and point-in-time correctness is not promised
    label: the rows' column that is to be predicted; several, a,b, are numbers each
    id_: the rows' column that names a row; by default row_id, or the row's position
    code: Python with functions under @view, and a list `columns`

    Example:
        %%features add delay --data data:flights --timestamp sched_dep --label late
        import polars as pl
        from aiinfra_lab.features import view

        columns = ["carrier", "hour"]

        @view(entity="origin", timestamp="sched_dep", ttl="365d")
        def warmth(flights: pl.LazyFrame) -> pl.LazyFrame:
            return flights.select("origin", "sched_dep", warmth="temp")
    """
    name = check_name(str(name))
    with working("Feature set", f"features:{name}", "opens the data") as step:
        from .. import data as data_noun
        from . import online, sets
        from .rows import tables_of

        dataset = data_noun.open_rows(data, name=name)
        step("runs the views over it")
        spec, events = sets.describe(name, code, timestamp, label, id_, dataset.table(), tables_of(dataset))
        record, new = sets.keep(spec, events, dataset.uri)
        if not new:
            log_same("features add", record.uri)
        # The version that was there already may have wider types than what the views return now.
        events = sets.conformed(record.body, events)
        step("registers them in Feast and fills the online store")
        # A new version's own event names the data; when an old one gets newer data, that needs an event of its own.
        return feature_set(online.fill(record, dataset, events, None if new else "features add"))


@verb("features")
def get(
    name: SetName, *, rows: Rows = None, online: str = "", data: Rows = None, into: Destination | None = None
) -> FeatureRows | OnlineRow:
    """Get features: of rows, as they were known at each row's time where they have one, or the newest of one entity.

    Every row stays, in its order; what was asked before is answered from the store.

    name: the feature set, or rows that were made already (features:NAME@N#…)
    rows: the rows: a data version, a file, a DataFrame
    online: one row's keys and own columns for the online store, as origin=JFK,carrier=UA or a JSON object; with the
      timestamp's name, a moment later than the store's own
    data: the data version whose tables the views read, when the rows are not from it
    into: also write the rows to this parquet or CSV file

    Example:
        %features get delay --rows data:flights -o rows
    """
    from .. import data as data_noun
    from . import rows as joined

    uri = Uri.parse(name, noun="features")
    if uri.part:
        return _written(feature_rows(joined.stored(uri)), into)
    record = resolve(uri, FeatureSetVersion)
    if bool(online) == (rows is not None):
        fix = f"`%features get {record.name} --rows {record.body.newest_data}`"
        raise UsageProblem("%features get needs either --rows or --online", fix)
    if online:
        with working("Online features", record.uri, "asks the online store"):
            return _online(record, online, data)
    began_at = time.time()
    with working("Feature rows", record.uri, "opens the rows") as step:
        asked = data_noun.open_rows(rows)
        with _naming_what_was_added(asked, began_at):
            tables = asked if data is None else data_noun.open_rows(data)
            joined.need_tables(record.body, asked, tables, record.body.newest_data)
            step("joins what was known at each row's time")
            return _written(feature_rows(joined.answer(record, asked, tables)), into)


@contextlib.contextmanager
def _naming_what_was_added(asked: Dataset, began_at: float) -> Iterator[None]:
    """An error that comes after rows were stored says so: they are a version that nobody asked for by name."""
    try:
        yield
    except LabError as problem:
        if asked.added_at >= began_at:
            away = f"`%data rm {Uri.parse(asked.uri).label}` removes them"
            problem.fix = f"{problem.fix}; the rows were stored as {asked.uri}: {away}"
        raise


@verb("features")
def check(name: SetName, *, rows: Rows = None, data: Rows = None, report: bool = False) -> FeatureCheck:
    """Check a feature set on a sample: that no row sees its future, and that online and history agree.

    Raises unless both are proven. A view whose tables do not carry the column of its times cannot be proven. Of a set
    without views only that the rows have its columns is checked; of one without a timestamp, that each entity has one
    row in place of that none sees its future.

    name: the feature set
    rows: rows to draw the sample from; by default the data version's own
    data: the data version whose tables the views read; by default the one the set was last added with
    report: hand the verdict back instead of raising

    Example:
        %features check delay --report
    """
    record = resolve(name, FeatureSetVersion)
    with working("Feature check", record.uri, "opens the data") as step:
        from .. import data as data_noun
        from . import checks

        tables = data_noun.open_rows(data if data is not None else record.body.newest_data)
        record, state = _filled(record, tables, "features check")
        step("takes away what came later, and compares")
        findings = checks.judge(record.body, state, tables if rows is None else data_noun.open_rows(rows), tables)
    states = [each.verdict for each in findings]
    worst = next((state for state in (checks.BAD, checks.UNCLEAR) if state in states), checks.GOOD)
    if worst != checks.GOOD and not report:
        first = findings[states.index(worst)]
        kind = Failed if worst == checks.BAD else Inconclusive
        raise kind(f"{first.what}: {worst}: {first.why}", f"{first.fix}; --report shows all that was tried")
    verdicts = tuple(vars(each) for each in findings)
    return FeatureCheck(record.uri, worst, verdicts, len(record.body.views), record.body.timestamp)


@verb("features")
def ls() -> Listing:
    """List the feature sets, newest first.

    Example:
        %features ls
    """
    from . import sets

    found = tuple(feature_set(record) for record in sets.versions(skip_unreadable=True))
    empty = "there is none yet: `%%features add NAME` makes one"
    header = ("uri", "label", "data", "online_as_of", "created_at")
    return FeatureSets("features", found, header, empty, title="Feature sets")


@verb("features")
def show(name: SetName) -> FeatureSet | FeatureRows:
    """Show a feature set: its features in order, the views that give them, and the cell; or rows made by it.

    name: the feature set, or rows (features:NAME@N#…)

    Example:
        %features show delay
    """
    from . import rows

    uri = Uri.parse(name, noun="features")
    return feature_rows(rows.stored(uri)) if uri.part else feature_set(resolve(uri, FeatureSetVersion))


@verb("features")
def log(name: SetName) -> FeatureHistory:
    """Show what happened with a feature set, newest first.

    name: the feature set

    Example:
        %features log delay
    """
    uri = str(Uri.parse(name, noun="features"))
    found = list(open_store().events(naming=uri))
    if not found:
        # What was removed still has its history; what never was there has none, and then the error says what there is.
        resolve(uri, FeatureSetVersion)
    return FeatureHistory(uri, tuple(event_line(each) for each in reversed(found)))


@verb("features")
def diff(name: SetName, other: SetName) -> FeatureDifference:
    """Compare two feature sets, or two versions of one: features, views, and the cells' text.

    name: the one before
    other: the one after; one that does not exist yet is noted as such

    Example:
        %features diff delay@1 delay@2
    """
    from . import compare

    return compare.difference(name, other)


@verb("features")
def rm(name: SetName) -> FeatureRemoval:
    """Remove a version of a feature set from Feast, or the file of rows; the record that it was stays.

    The rows of a version stay when it is removed. The name then means the newest version that is left. What an endpoint
    serves, or an alias points at, keeps the version that it was made with.

    name: the version, NAME@N (without @N the only one), or rows (features:NAME@N#…)

    Example:
        %features rm delay@2
    """
    from . import online, rows, sets

    uri = Uri.parse(name, noun="features")
    if uri.part:
        made = rows.stored(uri)
        sets.remove(made)
        path_of(made.name).unlink(missing_ok=True)
        return FeatureRemoval(made.uri, counted(made.body.rows, "row"))
    record = resolve(uri, FeatureSetVersion)
    if uri.version is None and len(sets.versions(uri.name)) > 1:
        raise Conflict(f"{name} has several versions", f"say which: `%features rm {record.name}`")
    refuse_referenced(open_store(), record.uri)
    # The record first: whoever asks in between must find nothing rather than half of a version.
    sets.remove(record)
    # Also where nothing is recorded: a process may have been killed while it filled the store.
    if record.body.views:
        online.provider().forget(record.body)
    shutil.rmtree(record.body.folder, ignore_errors=True)
    left = next(iter(sets.versions(uri.name)), None)
    return FeatureRemoval(record.uri, "feature set", left.uri if left else "")


def _online(record: Record[FeatureSetVersion], key: str, data: object) -> OnlineRow:
    from .. import data as data_noun
    from . import online

    row, at = online.parse_key(record.body, key)
    asked = None if data is None else data_noun.open_rows(data)

    def read() -> online.OnlineVector:
        # The record as it is now: the one from before may tell of what is there no more.
        now = open_store().get(FeatureSetVersion, record.name) or record
        if asked is not None or now.body.online is None:
            now, _ = _filled(now, data_noun.open_rows(now.body.newest_data) if asked is None else asked, "features get")
        try:
            answer = online.read_held(now, row, at)
        except NotFound:  # somebody took away what our record says was there
            dataset = data_noun.open_rows(now.body.newest_data)
            answer = online.read_held(_filled(online.emptied(now), dataset, "features get")[0], row, at)
        if answer is None:
            raise Conflict(f"{now.uri} is filled anew by somebody else", "repeat in a moment")
        return answer

    found = retry(read, Conflict(f"{record.uri} is filled anew all the time", "repeat in a moment"))
    values = tuple(found.values.values())
    moments = found.at.isoformat(), found.as_of.isoformat()
    return OnlineRow(record.uri, tuple(found.values), values, *moments, found.data_uri)


def _filled(
    record: Record[FeatureSetVersion], dataset: Dataset, verb: str
) -> tuple[Record[FeatureSetVersion], OnlineState]:
    """The record when the online store holds that data version, and what it holds."""
    from . import online

    record = online.fill(record, dataset, None, verb)
    assert record.body.online is not None  # for the type checker: `fill` wrote it
    return record, record.body.online


def _written(found: FeatureRows, into: Destination | None) -> FeatureRows:
    if into is not None:
        from ..data import tables

        tables.write(found.scan(), Path(into))
    return found
