"""What a rule of the lint is, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from .subject import LintSubject

Severity = Literal["error", "warning"]
"""An error: run from top to bottom it fails, or a secret stands in it. A warning: it works here and now, by luck."""


@dataclass(frozen=True, slots=True)
class LineEdit:
    """Lines of a code cell, `first` to `last`, in whose place others come. All are counted from 1."""

    cell: int
    first: int
    last: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CellEdit:
    """A code cell that is put in, right above or below the code cell of that number."""

    cell: int
    source: str
    is_below: bool


Edit = LineEdit | CellEdit


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What a rule found.

    cell: the code cell, counted from 1 as JupyterLab does when all are run in order; 0 in a recipe's file, and of a
    notebook as a whole. line: in that cell, from 1. edits: what takes it away without changing what the notebook does,
    where there is such a thing.
    """

    code: str
    severity: Severity
    path: Path
    cell: int
    line: int
    what: str
    fix: str
    edits: tuple[Edit, ...] = ()

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.path.name} {f'cell {self.cell} ' if self.cell else ''}line {self.line}"


class LintRule(Protocol):
    """One thing that is looked for. The first line of a rule's docstring is what people read of it in docs/lint.md, the
    lines below it why."""

    code: str
    severity: Severity

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """All that it finds in a notebook, in any order. Never raises for what the notebook holds."""
