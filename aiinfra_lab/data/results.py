"""What the verbs of data hand back, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..show import Card, Result, plain_card, shown
from ..uris import Uri
from .compare import FileChanges, TableChange
from .judge import DataFinding
from .tables import DataTable


@dataclass(frozen=True)
class DataComparison(Result):
    """Two versions compared by meaning: `uri` against `other`, which is the older one or what it is held against."""

    uri: str
    other: str
    files: FileChanges | None = None
    tables: tuple[TableChange, ...] = ()
    note: str = ""

    def card(self) -> Card:
        lines = [line for table in self.tables for line in table.lines()]
        measures = [change for table in self.tables for change in table.measures()]
        if self.files:
            lines += [(f"file {name}", "–", "is new") for name in self.files.added]
            lines += [(f"file {name}", "is gone", "–") for name in self.files.removed]
            compared = {table.name for table in self.tables}  # their rows say more than that the file differs
            lines += [(f"file {name}", "", "changed") for name in self.files.changed if Path(name).stem not in compared]
        notes = [self.note] if self.note else [] if lines else ["nothing differs"]
        header = ("", self.other, self.uri) if lines else ()
        return plain_card(f"{self.other} → {self.uri}", "", (), header, [*lines, *measures], notes)


@dataclass(frozen=True)
class DataCheck(Result):
    """What a check found. `state` is good, bad or cannot tell: the worst of its findings."""

    uri: str
    state: str
    findings: tuple[DataFinding, ...]
    note: str = ""

    def card(self) -> Card:
        # A card shows few rows and nobody reads the good ones first.
        ordered = sorted(self.findings, key=lambda one: ("bad", "cannot tell", "good").index(one.state))
        rows = [(one.where, one.what, one.state, one.seen) for one in ordered]
        fixes = [f"{one.where}, {one.what}: {one.fix}" for one in ordered if one.fix]
        notes = [*fixes[:5], *([self.note] if self.note else [])]
        return plain_card(self.uri, self.state, (), ("where", "what", "state", "seen"), rows, notes)


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

    uri: str
    size_bytes: int
    newest: str

    def card(self) -> Card:
        name = Uri.parse(self.uri).bare
        left = f"{name} now means {self.newest}" if self.newest else f"no version of {name} is left"
        return plain_card(self.uri, "removed", [("size", shown("size_bytes", self.size_bytes))], notes=[left])


@dataclass(frozen=True)
class DataDescription(Result):
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
    tables: tuple[DataTable, ...]

    def card(self) -> Card:
        facts = [fact for fact in super().card().facts if fact[0] not in ("rows", "tables")]
        rows = [(table.name, f"{table.rows:,}", str(len(table.columns))) for table in self.tables]
        notes = [f"{table.name}: {', '.join(map(' '.join, table.columns[:60]))}" for table in self.tables[:8]]
        return plain_card(self.uri, self.state, facts, ("table", "rows", "columns"), rows, notes)
