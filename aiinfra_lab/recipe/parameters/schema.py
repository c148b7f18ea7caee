"""The parameters that a notebook declares: its cell tagged `parameters`, read without a kernel.

docs/parameters.md has what may stand in it, and what its values may be.
"""

from __future__ import annotations

import ast
import json
import keyword
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...errors import Failed, did_you_mean
from ..base import Value
from .annotations import WrongAnnotation, kind_like, kind_of
from .defaults import Computed, plain_value
from .imports import Meanings, certain, imported
from .kinds import AnyKind, ChoiceKind, Misfit, OptionalKind, ValueKind
from .literals import LiteralWriter
from .problems import ComputedParameter, ParameterProblem, refuse
from .stored import as_text, stored

GivenBy = Literal["-p", "recipe"]
_MOST_OF_AN_EXAMPLE = 60
_NAMES = "use letters, digits and _, beginning with a letter, and no word of Python"


@dataclass(frozen=True)
class DeclaredParameter:
    """One parameter. default: its Python value. text: what the annotation says of it. line: in its cell."""

    name: str
    kind: ValueKind
    default: Any
    text: str = ""
    line: int = 1

    @property
    def stored_default(self) -> Value:
        """The default in the form that records have."""
        return stored(self.default)

    @property
    def is_untyped(self) -> bool:
        """Whether it takes everything."""
        return isinstance(self.kind, AnyKind)

    @property
    def choices(self) -> list[str]:
        """All that it may be, as `-p` takes it, where that is a short list."""
        kind, more = (self.kind.inner, ["none"]) if isinstance(self.kind, OptionalKind) else (self.kind, [])
        if isinstance(kind, ChoiceKind):
            return [*(as_text(stored(each)) for each in kind.values), *more]
        return ["true", "false", *more] if kind.name == "bool" else []

    def read(self, value: object) -> Any:
        """The Python value that the notebook gets; Misfit where it can be none."""
        found = self.kind.read(value)
        try:
            json.dumps(stored(found), ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
            raise Misfit("of Unicode, which records and notebooks are written in", value) from None
        return found

    def problem(self, found: Misfit, place: str, by: GivenBy = "-p", name: str = "") -> ParameterProblem:
        """place: where it is declared, or where the value stands. name: what the giver calls it, where not the same."""
        name = name or self.name
        how, example = f"write in the recipe {found.value}", f"{name} = {json.dumps(self.stored_default, default=str)}"
        if by == "-p":
            text = as_text(self.stored_default)
            how, example = f"give -p {name}= {found.value}", f"-p {name}={shlex.quote(text)}"
        usual = f", e.g. {example}" if self.default not in (None, "") and len(example) <= _MOST_OF_AN_EXAMPLE else ""
        what = f"parameter {name} must be {found.wanted}, and {found.shown} was given ({place})"
        return ParameterProblem(what, found.hint or f"{how}{usual}")


@dataclass(frozen=True)
class ParameterSchema:
    """What a notebook can be given. cell: the code cell that declares it, counted from 1; 0: none does.

    is_open: its values are not known, since another language's cell declares them: everything is taken as it is. bound:
    all names that the cell gives a value to, in whichever way.
    """

    path: Path
    cell: int = 0
    parameters: Mapping[str, DeclaredParameter] = field(default_factory=dict)
    is_open: bool = False
    bound: frozenset[str] = frozenset()
    names: Meanings = field(default_factory=dict, compare=False)

    def __contains__(self, name: str) -> bool:
        return self.is_open or name in self.parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def of(self, name: str) -> DeclaredParameter:
        """The parameter of that name; of what is not declared one that takes everything."""
        return self.parameters.get(name) or DeclaredParameter(name, AnyKind(), None)

    def place(self, name: str) -> str:
        """Where it is declared, for people."""
        declared = self.parameters.get(name)
        return f"{self.path.name} cell {self.cell} line {declared.line}" if declared else self.path.name

    def read(self, values: Mapping[str, object]) -> dict[str, Any]:
        """The Python values that the notebook gets. UsageProblem with everything that is wrong with them."""
        found, problems = {}, list(self.unknown(values))
        for name in (name for name in values if name in self):
            declared = self.of(name)
            try:
                found[name] = declared.read(values[name])
            except Misfit as problem:
                problems.append(declared.problem(problem, self.place(name)))
        refuse(problems)
        return found

    def unknown(self, names: Mapping[str, object]) -> Iterator[ParameterProblem]:
        """The names that can be none of its parameters."""
        for name in names:
            if not is_name(name, is_python=not self.is_open):
                yield ParameterProblem(f"{name!r} cannot be the name of a parameter", _NAMES)
            elif name not in self:
                what = f"{self.path.name} has no parameter {name!r} (cell {self.cell} declares them)"
                yield ParameterProblem(what, did_you_mean(name, self.parameters))

    def source(self, values: Mapping[str, object]) -> str:
        """Assignments of these values as Python, for the place right behind the cell that declares them.

        UsageProblem with everything that is wrong with them. Names that are not declared get their values as they are.
        """
        bad = [name for name in values if not is_name(name)]
        refuse(ParameterProblem(f"{name!r} cannot be the name of a parameter", _NAMES) for name in bad)
        names = {name: meaning for name, meaning in self.names.items() if name not in values}
        return LiteralWriter(names).assignments(replace(self, is_open=True).read(values).items())


def is_name(name: str, *, is_python: bool = True) -> bool:
    """Whether code can be given a value by that name; in other languages it may have dots, and words of Python."""
    if is_python:
        return name.isidentifier() and not keyword.iskeyword(name)
    return all(part.isidentifier() for part in name.split("."))


def parameter_name(node: ast.stmt) -> str:
    """The name of the parameter that this statement of a parameters cell declares; empty where it declares none."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def read_schema(path: Path, sources: Sequence[str]) -> ParameterSchema:
    """That of a Python notebook. sources: its code cells, up to the one that declares the parameters.

    Failed when that cell is no Python, computes a value, or contradicts itself.
    """
    cell = len(sources)
    try:
        body = ast.parse(sources[-1]).body
    except (SyntaxError, ValueError) as problem:
        raise Failed(
            f"the parameters cell of {path.name} cannot be read as Python: {problem}", "one `name: type = value` a line"
        ) from None
    names = imported(sources)
    found = [_declared(path, cell, name, node, names) for node in body if (name := parameter_name(node))]
    stores = (each for node in body for each in ast.walk(node) if isinstance(each, ast.Name))
    bound = frozenset(each.id for each in stores if isinstance(each.ctx, ast.Store))
    return ParameterSchema(path, cell, {each.name: each for each in found}, bound=bound, names=certain(sources))


def _declared(path: Path, cell: int, name: str, node: ast.stmt, names: Meanings) -> DeclaredParameter:
    assert isinstance(node, ast.AnnAssign | ast.Assign)
    assert node.value is not None
    place = f"{path.name} cell {cell} line {node.lineno}"
    try:
        default = plain_value(node.value, names)
    except Computed as problem:
        fix = "give every parameter a plain value, and compute in a later cell"
        raise ComputedParameter(f"{place}: the parameters cell computes {name}: {problem}", fix) from None
    if not isinstance(node, ast.AnnAssign):
        return DeclaredParameter(name, kind_like(default), default, line=node.lineno)
    try:
        kind, text = kind_of(node.annotation, names)
    except WrongAnnotation as problem:
        raise Failed(f"{place}: parameter {name}: {problem}", "correct its annotation") from None
    if default is None and not isinstance(kind, OptionalKind | AnyKind) and kind != ChoiceKind((None,)):
        kind = OptionalKind(kind)  # as many write it
    if isinstance(kind, AnyKind):
        return DeclaredParameter(name, kind, default, text, node.lineno)
    try:
        return DeclaredParameter(name, kind, kind.read(default), text, node.lineno)
    except Misfit as problem:
        what = f"{place}: parameter {name} must be {problem.wanted}, and its default is {problem.shown}"
        raise Failed(what, problem.hint or "correct the default, or the annotation") from None
