"""Versions of files and tables, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..errors import Failed, NotFound, UsageProblem
from ..show import Card, Listing, Result, shown
from ..store import open_store
from ..units import Share, number
from ..uris import Uri
from ..verbs import Live, Rows, verb
from . import adding, compare, judge, removal, versions
from . import files as _files
from .adding import open_rows
from .handle import Dataset
from .tables import Table

__all__ = ["Comparison", "Dataset", "Description", "Happening", "Removal", "Verdict"]
__all__ += ["add", "check", "diff", "get", "log", "ls", "open_rows", "rm", "show"]


@dataclass(frozen=True)
class Comparison(Result):
    """Two versions compared by meaning: `uri` against `other`, which is the older one or what it is held against."""

    uri: str
    other: str
    files: compare.Files | None = None
    tables: tuple[compare.TableChange, ...] = ()
    note: str = ""

    def card(self) -> Card:
        lines = [line for table in self.tables for line in table.lines()]
        measures = [change for table in self.tables for change in table.measures()]
        if self.files:
            lines += [(f"file {name}", "–", "is new") for name in self.files.added]
            lines += [(f"file {name}", "is gone", "–") for name in self.files.removed]
            told = {table.name for table in self.tables}
            lines += [(f"file {name}", "", "changed") for name in self.files.changed if Path(name).stem not in told]
        notes = [self.note] if self.note else [] if lines else ["nothing differs"]
        header = ("", self.other, self.uri) if lines else ()
        return Card(f"{self.other} → {self.uri}", "", (), header, [*lines, *measures], notes)


@dataclass(frozen=True)
class Verdict(Result):
    """What a check found. `state` is good, bad or cannot tell: the worst of its findings."""

    uri: str
    state: str
    findings: tuple[judge.Finding, ...]
    note: str = ""

    def card(self) -> Card:
        ordered = sorted(self.findings, key=lambda one: ("bad", "cannot tell", "good").index(one.state))
        rows = [(one.where, one.what, one.state, one.seen) for one in ordered]
        fixes = [f"{one.where}, {one.what}: {one.fix}" for one in ordered if one.fix]
        notes = [*fixes[:5], *([self.note] if self.note else [])]
        return Card(self.uri, self.state, (), ("where", "what", "state", "seen"), rows, notes)


@dataclass(frozen=True)
class Happening:
    """Something that happened to data: which verb, what went in and what came out."""

    happened_at: float
    verb: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    actor: str


@dataclass(frozen=True)
class Removal(Result):
    """A version whose content was deleted; its record stays. newest: what the name means now."""

    uri: str
    size_bytes: int
    newest: str

    def card(self) -> Card:
        name = self.uri.partition("@")[0]
        left = f"{name} now means {self.newest}" if self.newest else f"no version of {name} is left"
        return Card(self.uri, "removed", [("size", shown("size_bytes", self.size_bytes))], notes=[left])


@dataclass(frozen=True)
class Description(Result):
    """A version in full, removed ones included. `key` is the content's name in DVC's cache."""

    uri: str
    state: str
    rows: int | None
    files: int
    size_bytes: int
    source: str
    added_at: float
    digest: str
    key: str
    tables: tuple[Table, ...]

    def card(self) -> Card:
        facts = [fact for fact in super().card().facts if fact[0] not in ("rows", "tables")]
        rows = [(table.name, f"{table.rows:,}", str(len(table.columns))) for table in self.tables]
        notes = [f"{table.name}: {', '.join(map(' '.join, table.columns[:60]))}" for table in self.tables[:8]]
        return Card(self.uri, self.state, facts, ("table", "rows", "columns"), rows, notes)


@verb("data")
def add(
    name: Annotated[str, Live("data")],
    rows: Rows | None = None,
    *,
    from_: str | None = None,
    text: tuple[str, ...] = (),
) -> Dataset:
    """Record files or a table as a new version, under DVC; the same content again makes none.

    name: what to call the data
    rows: a file, a folder, a URI, or in Python a data frame; data/NAME of the workspace when left out
    from_: where to bring it from, e.g. example:nycflights13/2013-01..03
    text: columns of a CSV that are text even though most of their values are numbers
    """
    return adding.add(name, rows, from_, text)


@verb("data")
def get(name: Annotated[str, Live("data")], *, into: Path | None = None) -> Dataset:
    """Hand a version to the cell as a handle: `.df()` reads it, `.path` is where its files are.

    name: the data, e.g. flights or flights@1
    into: a place to copy the files to, which must be free
    """
    found = versions.handle(versions.find(name))
    if into is not None:
        _files.copy_out(found.path, into)
    return found


@verb("data")
def ls(name: Annotated[str, Live("data")] | None = None) -> Listing:
    """List the versions there are, newest first.

    name: only the versions of this one
    """
    wanted = Uri.parse(name, noun="data").name if name else None
    items = tuple(versions.described(record) for record in versions.records(wanted))
    header = ("uri", "rows", "files", "size_bytes", "source", "added_at")
    return Listing("data", items, header, "there is none yet: `%data add NAME PATH` makes one")


@verb("data")
def show(name: Annotated[str, Live("data")]) -> Description:
    """Show a version in full: its tables, their columns and types, its size, digest and source.

    name: the data, e.g. flights or flights@1
    """
    record = versions.find(name, removed=True)
    found = versions.described(record)
    same = {key: getattr(found, key) for key in ("rows", "files", "size_bytes", "source", "added_at", "digest")}
    state = "removed" if record.body.get("removed_at") else ""
    return Description(found.uri, state, key=record.body["key"], tables=found.described, **same)


@verb("data")
def diff(name: Annotated[str, Live("data")], other: Annotated[str, Live("data")] | None = None) -> Comparison:
    """Compare two versions by meaning: files, and in tables rows, columns, types and each column's summary.

    name: the data to look at, e.g. flights
    other: what to hold it against, e.g. flights@1; the version before it when left out
    """
    record = versions.find(name)
    uri = f"data:{record.name}"
    try:
        against = versions.find(other) if other else versions.before(record)
    except NotFound as problem:
        return Comparison(uri, str(Uri.parse(other, noun="data")), note=f"nothing to compare with: {problem.what}")
    if against is None:
        return Comparison(uri, "nothing", note="there is no earlier version to compare with")
    old, new = versions.handle(against), versions.handle(record)
    files = compare.files(versions.manifest(against), versions.manifest(record))
    return Comparison(uri, old.uri, files, compare.tables(old, new, files))


@verb("data")
def check(
    name: Annotated[str, Live("data")],
    *,
    key: tuple[str, ...] = (),
    max_missing: Share | None = None,
    max_duplicates: Share = 0.0,
    like: Annotated[str, Live("data")] | None = None,
    report: bool = False,
) -> Verdict:
    """Judge a version: its bytes, and of its tables the schema, types, missing values and duplicates.

    name: the data, e.g. flights or flights@1
    key: the columns that name a row, in the tables that have them; whole rows when left out
    max_missing: the share that may be missing of any column; when left out, anything less than all of it
    max_duplicates: the share of rows that may have been there before
    like: the version whose schema it must have; the version before it when left out
    report: hand the verdict back when it is bad, instead of raising
    """
    record = versions.find(name)
    data = versions.handle(record)
    standard = versions.find(like) if like else versions.before(record)
    bounds = judge.Bounds(key, number(max_missing), number(max_duplicates))
    findings = [versions.intact(record)]
    if findings[0].state == "good":
        findings += judge.judge(data, versions.described(standard) if standard else None, bounds)
    note = "" if standard else "there is no earlier version whose schema it could be held against"
    verdict = Verdict(data.uri, judge.worst(findings), tuple(findings), note)
    if verdict.state != "good" and not report:
        raise _failed(verdict)
    return verdict


@verb("data")
def log(name: Annotated[str, Live("data")]) -> Listing:
    """List what happened to data and with it, newest first.

    name: the data, e.g. flights; flights@1 for that version alone
    """
    uri = Uri.parse(name, noun="data")
    versions.records(uri.name, removed=True) or versions.find(uri)
    items = tuple(
        Happening(one.at, one.event.verb, one.event.inputs, one.event.outputs, one.actor)
        for one in reversed(list(open_store().events()))
        if any(_means(uri, word) for word in (one.event.subject, *one.event.inputs, *one.event.outputs))
    )
    return Listing(str(uri), items, ("happened_at", "verb", "inputs", "outputs"), "nothing yet")


@verb("data")
def rm(name: Annotated[str, Live("data")]) -> Removal:
    """Delete the content of a version, keeping the record that it was.

    What other versions share with it stays. The name then means the newest version that is left. What an endpoint
    serves, or an alias points at, keeps the data that it was made of.

    name: the version, e.g. flights@1
    """
    uri = Uri.parse(name, noun="data")
    if uri.version is None:
        raise UsageProblem(
            f"data rm {name} does not say which version", f"write {uri}@N: `%data ls {uri.name}` lists them"
        )
    return Removal(str(uri), *removal.remove(uri))


def _means(uri: Uri, word: str) -> bool:
    return word == str(uri) or (uri.version is None and word.startswith(f"{uri}@"))


def _failed(verdict: Verdict) -> Failed:
    told = [one for one in verdict.findings if one.state == verdict.state]
    seen = "; ".join(f"{one.where}: {one.seen}" for one in told[:3]) + (f" (+{len(told) - 3} more)" * (len(told) > 3))
    head = f"{verdict.uri} is not good" if verdict.state == "bad" else f"cannot tell whether {verdict.uri} is good"
    return Failed(f"{head}: {seen}", f"{told[0].fix}; --report shows all" if told[0].fix else "--report shows all")
