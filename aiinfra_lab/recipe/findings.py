"""What the lint found, as a check of a recipe hands it over: as JSON, on its card, and as its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from ..errors import Failed
from ..show import Cell, Part, Table
from ..units import counted
from .taken import in_project

if TYPE_CHECKING:
    from .lint import Diagnostic

_MOST_NAMED, _MOST_ROWS = 3, 60


class Finding(TypedDict):
    """See `Diagnostic`."""

    code: str
    severity: str
    path: str
    cell: int
    line: int
    what: str
    fix: str


def finding(found: Diagnostic) -> Finding:
    """As Python and JSON have it."""
    return Finding(
        code=found.code,
        severity=found.severity,
        path=in_project(found.path),
        cell=found.cell,
        line=found.line,
        what=found.what,
        fix=found.fix,
    )


def findings_table(found: Sequence[Finding]) -> list[Part]:
    """The errors first, each with its place and its fix."""
    rows: list[tuple[Cell, ...]] = [
        (each["code"], each["severity"], _place(each), each["what"], each["fix"])
        for each in sorted(found, key=lambda each: each["severity"])
    ]
    return [Table(("rule", "level", "where", "what", "fix"), rows, label="Found", most=_MOST_ROWS)] if rows else []


def failure(recipe: str, found: Sequence[Diagnostic]) -> Failed | None:
    """The error that names the first errors, each with its place, and how to correct them; None where there is none."""
    errors = [each for each in found if each.severity == "error"]
    if not errors:
        return None
    first = errors[:_MOST_NAMED]
    what = "; ".join(f"{each.place}: {each.what} ({each.code})" for each in first)
    fixes = [*dict.fromkeys(each.fix for each in first)]
    if any(each.edits for each in errors):
        fixes.append(f"`%recipe check {recipe} --fix` writes what is safe")
    if len(found) > len(first):
        fixes.append(f"`%recipe check {recipe} --report` shows all {len(found)} findings")
    return Failed(f"{recipe} has {counted(len(errors), 'error')}: {what}", "; ".join(fixes))


def _place(found: Finding) -> str:
    cell = f" cell {found['cell']}" if found["cell"] else ""
    return f"{found['path'].rpartition('/')[2]}{cell} line {found['line']}"
