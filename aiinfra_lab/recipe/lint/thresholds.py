"""LAB304: lines of our magics as the toolkit's own grammars read them, with the values that a recipe gives."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import LabError, UsageProblem
from ...help import Help
from ...nouns import TABLE
from ...words import AnyName, Call, split, understand
from .base import Diagnostic, Severity
from .subject import GivenValue, LintCell, LintSubject, MagicLine

_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
_BOUND = re.compile(r"(?:^|\s)-o\s+(\w+)")
_MARK = "\0"  # stands in no line


class _Unknown:
    """What a variable holds is only known when the notebook runs."""

    def __str__(self) -> str:
        return _MARK


_UNKNOWN = _Unknown()


class _Variables(AnyName):
    """Variables of which some are known."""

    def __missing__(self, name: str) -> Any:
        return _UNKNOWN


class RefusedLine:
    """A line of a magic, or a threshold, budget or duration in it, is one that the toolkit refuses.

    Read as the verb reads it when it runs, with the values that the parameters cell has and those that a recipe gives.
    """

    code = "LAB304"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        own = _parameters(subject)
        for cell in subject.cells:
            for magic in cell.magics:
                if magic.name in TABLE and (cell.place == "kernel" or magic in cell.heads):
                    yield from self._check(subject, cell, magic, own)

    def _check(
        self, subject: LintSubject, cell: LintCell, magic: MagicLine, own: Mapping[str, Any]
    ) -> Iterator[Diagnostic]:
        if problem := _problem(cell, magic, own):
            yield subject.found(self, cell, magic.line, problem.what, problem.fix)
            return
        used = _VARIABLE.findall(magic.text)
        for given in subject.given:
            mine = {name: value for name, value in given.items() if name in used and name in own}
            problem = (
                _problem(cell, magic, {**own, **{name: each.value for name, each in mine.items()}}) if mine else None
            )
            if problem is not None:
                yield self._in_recipe(cell, problem, next(iter(mine.values())))

    def _in_recipe(self, cell: LintCell, problem: UsageProblem, given: GivenValue) -> Diagnostic:
        what = f"{problem.what}, in cell {cell.number} of the notebook"
        return Diagnostic(self.code, self.severity, given.path, 0, given.line, what, problem.fix)


def _parameters(subject: LintSubject) -> dict[str, Any]:
    """The notebook's parameters with their defaults, but for those that a later cell changes."""
    try:
        schema = subject.notebook.schema()
        found = {name: schema.of(name).default for name in schema}
    except LabError:
        return {}
    later = {
        name for cell in subject.cells if cell.number - 1 != subject.notebook.parameters_at for name in _given(cell)
    }
    return {name: value for name, value in found.items() if name not in later}


def _given(cell: LintCell) -> Iterator[str]:
    """The names that a cell gives a value to in the notebook's kernel."""
    if cell.place == "kernel":
        yield from (node.id for node in cell.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    for magic in cell.magics:
        yield from _BOUND.findall(magic.text)


def _problem(cell: LintCell, magic: MagicLine, known: Mapping[str, Any]) -> UsageProblem | None:
    """What the toolkit says of that line; None where nothing, or where that hangs on what a variable will hold."""
    variables = _Variables(known)
    body = "\n".join(cell.lines[len(cell.heads) :]) if magic.is_cell else None
    try:
        call = understand(magic.name, split(magic.text, variables), body, names=variables)
        if not isinstance(call, Help):
            _read(call)
    except UsageProblem as problem:
        return None if _MARK in str(problem) else problem
    except LabError:  # what is not there yet may be there then
        return None
    return None


def _read(call: Call) -> None:
    """Read its values by the verb's annotations, and thresholds by what will judge them."""
    for item in call.verb.parameters:
        value = call.values.get(item.name)
        if value is None or value is _UNKNOWN or _MARK in str(value):
            continue
        if item.unit is not None or item.kind in ("int", "float", "bool", "choice"):
            item.read(value)
        elif grammar := _grammars().get((call.verb.noun, item.name)):
            grammar(str(value))


def _grammars() -> Mapping[tuple[str, str], Callable[[str], object]]:
    """(noun, parameter) → what reads it in the end; a verb takes it as a text."""
    from ...models import policies
    from ...stats.bounds import parse_bounds

    def bounds(text: str) -> object:
        return None if text.strip().lower() == policies.NOTHING else policies.required(text)

    return {("models", "require"): bounds, ("deploy", "rollback_if"): parse_bounds}
