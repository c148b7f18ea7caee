"""What the verbs of data hand back, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..show import Card, Cell, Fold, Result, RowHeader, StateMark, Table, mark_of, sentence, shown
from ..units import counted
from ..uris import Uri
from .compare import FileChanges, TableChange
from .difference import difference_card
from .handle import main_table
from .judge import DataFinding
from .tables import DataTable, is_same_type, paired
from .version_card import version_card


@dataclass(frozen=True)
class DataComparison(Result):
    """Two versions compared by meaning: `uri` against `other`, which is the older one or what it is held against."""

    kind = "Data comparison"

    uri: str
    other: str
    files: FileChanges | None = None
    tables: tuple[TableChange, ...] = ()
    note: str = ""

    def card(self) -> Card:
        return difference_card(self.uri, self.other, self.files, self.tables, self.note)


@dataclass(frozen=True)
class DataCheck(Result):
    """What a check found. `state` is good, bad or cannot tell: the worst of its findings."""

    kind = "Data check"

    uri: str
    state: str
    findings: tuple[DataFinding, ...]
    note: str = ""

    def card(self) -> Card:
        # A card shows few rows and nobody reads the good ones first.
        ordered = sorted(self.findings, key=lambda one: ("bad", "cannot tell", "good").index(one.state))
        worst = [one for one in ordered if one.state == self.state]
        odd = [one for one in ordered if one.state != "good"]
        good = [one for one in ordered if one.state == "good"]
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=self.mark,
            lead=self._lead(worst),
            advice=_advice(odd),
            parts=[_findings(odd), Fold(f"{len(good)} passed", _findings(good))] if odd and good else [
                _findings(ordered)
            ],
            notes=[sentence(self.note)] if self.note else [],
            next=[f"Next: `%data show {Uri.parse(self.uri).label}`"],
        )  # fmt: skip

    def _lead(self, worst: Sequence[DataFinding]) -> str:
        if self.state == "good":
            return f"**All {len(worst)} things that were judged are good**, every byte among them."
        if not worst:
            return "**Nothing was judged.**"
        first = f"{worst[0].where}, {worst[0].what}: {worst[0].seen}."
        if self.state == "bad":
            return f"**{len(worst)} of {len(self.findings)} things that were judged did not pass.** {first}"
        return f"**Nothing is bad, and {len(worst)} of {len(self.findings)} could not be judged.** {first}"


def _findings(findings: Sequence[DataFinding]) -> Table:
    rows: list[tuple[Cell, ...]] = [(one.what, mark_of(one.state), one.where, one.seen) for one in findings]
    return Table((RowHeader("judged"), "state", "of", "seen"), rows)


def _advice(odd: Sequence[DataFinding]) -> str:
    fixes = [f"{one.where}, {one.what}: {one.fix}" for one in odd if one.fix]
    return "; ".join(fixes[:3]) + "." * bool(fixes)


@dataclass(frozen=True)
class DataEvent:
    """Something that happened to data: which verb, what went in and what came out."""

    happened_at: float
    verb: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    actor: str


@dataclass(frozen=True)
class DataRemoval(Result):
    """A version whose content was deleted; its record stays. newest: what the name means now."""

    kind = "Data version"

    uri: str
    size_bytes: int
    newest: str

    def card(self) -> Card:
        name = Uri.parse(self.uri).bare
        left = f"{name} now means {self.newest}" if self.newest else f"no version of {name} is left"
        lead = f"**Its content is deleted**, {shown('size_bytes', self.size_bytes)}; its record stays, and {left}."
        return Card(
            kind=self.kind, uri=self.uri, state=mark_of("removed"), lead=lead, next=[f"Next: `%data log {name.label}`"]
        )


@dataclass(frozen=True)
class DataDescription(Result):
    """A version in full, removed ones included. `key` is the content's name in DVC's cache.

    path: the folder with its files, None when they are not here. former: the version before it.
    """

    kind = "Data version"

    uri: str
    state: str
    rows: int | None
    files: int
    size_bytes: int
    source: str
    added_at: float
    digest: str
    key: str
    tables: tuple[DataTable, ...]
    path: Path | None = field(default=None, repr=False, metadata={"json": False})
    former: DataDescription | None = field(default=None, repr=False, metadata={"json": False})

    @property
    def mark(self) -> StateMark | None:
        return mark_of(self.state) if self.state else mark_of("complete") if self.path else None

    def card(self) -> Card:
        label = Uri.parse(self.uri).label
        next_ = [f"`%data diff {label} {Uri.parse(self.former.uri).label}`"] * bool(self.former) if self.former else []
        next_ += [f"`%data log {label}`" if self.state else f"`%data get {label}`"]
        return version_card(
            self.uri,
            main_table(Uri.parse(self.uri).name, [table.name for table in self.tables]),
            self.tables,
            files=self.files,
            size_bytes=self.size_bytes,
            added_at=self.added_at,
            facts=[("source", self.source), ("digest", self.digest[:12]), ("key", self.key[:12])],
            folder=self.path,
            state=self.mark,
            lead=self._lead(),
            next_=[f"Next: {next_[0]}", *next_[1:]],
        )

    def _lead(self) -> str:
        if self.state:
            return "**Its content was deleted**; this record of it stays."
        if self.former:
            return _since(self, self.former)
        missing = "" if self.path else " Its files are not in this folder: `%data get` brings them."
        return f"**The first version** of {Uri.parse(self.uri).bare} that is there.{missing}"


def _since(new: DataDescription, old: DataDescription) -> str:
    """What is new in a version, by what their records say."""
    found = []
    if new.rows is not None and old.rows is not None:
        rows = new.rows - old.rows
        found.append(f"{counted(abs(rows), 'row')} {'more' if rows > 0 else 'less'}" if rows else "as many rows")
    pairs = paired(old.tables, new.tables)
    both = [(before.schema, now.schema) for before, now in pairs]
    came = [column for one, two in both for column in two if column not in one]
    gone = [column for one, two in both for column in one if column not in two]
    other = [
        column for one, two in both for column in two if column in one and not is_same_type(one[column], two[column])
    ]
    found += [
        f"{counted(len(columns), 'column')} {what} ({', '.join(columns[:3])}{', …' * (len(columns) > 3)})"
        for columns, what in ((came, "new"), (gone, "gone"), (other, "of another type"))
        if columns
    ]
    alone = [f"table {table.name} new" for table in new.tables if table not in [now for _, now in pairs]]
    alone += [f"table {table.name} gone" for table in old.tables if table not in [before for before, _ in pairs]]
    found += alone[:3]
    if new.rows is None:
        other_rows = [now.name for before, now in pairs if before.rows != now.rows]
        found += [f"other rows in {', '.join(other_rows[:3])}{', …' * (len(other_rows) > 3)}"] * bool(other_rows)
    first, *rest = found or ["other content"]
    return f"Against {old.uri}: {', '.join([f'**{first}**', *rest])}."
