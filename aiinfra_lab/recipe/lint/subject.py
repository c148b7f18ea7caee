"""A notebook as the rules see it: its cells, read, with their magics and what the names in them mean."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..base import RecipeStep, Value
from ..cache_key import MAGIC, cell_tree
from ..notebook import CodeCell, Notebook, read_notebook
from . import magics
from .base import Diagnostic, Edit, LintRule

Place = Literal["kernel", "alone", "session"]
"""Where a cell's Python runs: in the notebook's kernel, in a namespace of its own, or in a session's kernel."""

_PLACES: dict[str, Place] = {"train": "alone", "features": "alone", "gpu": "session"}
_SHELLS = frozenset({"!", "bash", "sh", "script", "sx", "system"})
_REMOTELY = re.compile(r"(?:^|\s)-{2}on[\s=]")
IGNORE = re.compile(r"#\s*lab:\s*ignore(?:\[([^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class MagicLine:
    """A line that only IPython understands. name: of the magic, or `!`, or `?`. text: what stands behind it."""

    line: int
    name: str
    text: str
    is_cell: bool = False


@dataclass(frozen=True)
class LintCell:
    """A code cell. number: from 1."""

    number: int
    code: CodeCell

    @cached_property
    def lines(self) -> list[str]:
        return self.code.source.splitlines()

    @cached_property
    def _read(self) -> tuple[tuple[MagicLine, ...], ast.Module | None, bool]:
        found = cell_tree(self.code.source)
        heads = tuple(_magic(line, text, is_cell=True) for line, text in found.magics)
        word = self.code.source.split(maxsplit=1)[:1]
        if found.tree is None and found.is_python and self.is_one_line and magics.LINE.issuperset(word):
            found = cell_tree(f"%{self.code.source.strip()}")  # IPython's automagic
        return heads, found.tree, found.is_python

    @property
    def heads(self) -> tuple[MagicLine, ...]:
        """The cell magics above its code."""
        return self._read[0]

    @property
    def tree(self) -> ast.Module | None:
        """Its Python; None where it holds none, or cannot be read."""
        return self._read[1]

    @property
    def is_python(self) -> bool:
        return self._read[2]

    @property
    def is_one_line(self) -> bool:
        return "\n" not in self.code.source.strip()

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All of its Python."""
        return tuple(ast.walk(self.tree)) if self.tree else ()

    @cached_property
    def magics(self) -> tuple[MagicLine, ...]:
        """Its magics, those of the cell first."""
        inside = filter(None, (magic_of(node) for node in self.nodes))
        return (*self.heads, *sorted(inside, key=lambda magic: magic.line))

    @cached_property
    def place(self) -> Place:
        """Where its Python runs."""
        return next((_PLACES[head.name] for head in self.heads if head.name in _PLACES), "kernel")

    @property
    def is_remote(self) -> bool:
        """Whether its Python may run on another machine."""
        return self.place == "session" or any(_REMOTELY.search(head.text) for head in self.heads)

    @property
    def shell_lines(self) -> Iterator[MagicLine]:
        """What a shell is given: behind `!`, and below `%%bash` and the like."""
        yield from (magic for magic in self.magics if magic.name == magics.SHELL)
        if any(head.name in _SHELLS for head in self.heads):
            for at, line in enumerate(self.lines, 1):
                if at > len(self.heads):
                    yield MagicLine(at, magics.SHELL, line.strip())

    @cached_property
    def ignored(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(line, codes) of each comment that silences rules; no code at all where it names none."""
        found = ((at, IGNORE.search(line)) for at, line in enumerate(self.lines, 1) if "lab:" in line)
        return tuple((at, tuple(re.split(r"[\s,]+", (match[1] or "").strip()))) for at, match in found if match)

    def is_ignored(self, code: str, line: int) -> bool:
        """Whether a comment silences that rule there: on the line, or for all of the cell at its head."""
        first = next((at for at, text in enumerate(self.lines, 1) if text.strip()), 1)
        head = (*range(first, first + len(self.heads)), first + len(self.heads) if self.heads else first)
        return any(code in codes and (at == line or at in head) for at, codes in self.ignored)


@dataclass(frozen=True, slots=True)
class GivenValue:
    """What a recipe gives a parameter of a notebook, and where in its file that stands."""

    value: Value
    path: Path
    line: int


@dataclass(frozen=True)
class LintSubject:
    """A notebook to be checked.

    step: whose it is in a recipe. given: what that gives it, each set of values that there is. wrote: the files that it
    wrote when it ran last, as far as `out` did not name them.
    """

    notebook: Notebook
    step: RecipeStep | None = None
    given: tuple[Mapping[str, GivenValue], ...] = field(default=(), hash=False)
    wrote: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        path: Path,
        step: RecipeStep | None = None,
        given: tuple[Mapping[str, GivenValue], ...] = (),
        wrote: tuple[str, ...] = (),
    ) -> LintSubject:
        """That of a file; the errors of `read_notebook`."""
        return cls(read_notebook(path), step, given, wrote)

    @cached_property
    def cells(self) -> tuple[LintCell, ...]:
        """Its code cells; of a notebook in another language none."""
        if self.notebook.language.lower() != "python":
            return ()
        return tuple(LintCell(number, code) for number, code in enumerate(self.notebook.cells, 1))

    @cached_property
    def _names(self) -> tuple[dict[str, str], set[str]]:
        imported: dict[str, str] = {}
        defined: set[str] = set()
        for node in (node for cell in self.cells for node in cell.nodes):
            match node:
                case ast.Import():
                    imported.update(_imported(node))
                case ast.ImportFrom(module=str(module), level=0):
                    imported.update((alias.asname or alias.name, f"{module}.{alias.name}") for alias in node.names)
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    defined.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    defined.add(name)
        return imported, defined

    @property
    def aliases(self) -> dict[str, str]:
        """Each name that is imported somewhere → what it is, with dots."""
        return self._names[0]

    @property
    def defined(self) -> set[str]:
        """Each name that the notebook itself gives to something, but for what it imports."""
        return self._names[1]

    def meaning(self, node: ast.AST) -> str:
        """What a name or an attribute is, with dots: `numpy.random.rand` for `np.random.rand`; empty for all else, and
        where the name also means something else in the notebook."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        known = "" if node.id in self.defined else self.aliases.get(node.id, node.id)
        return ".".join([known, *reversed(parts)]) if known else ""

    def calls(self, cell: LintCell) -> Iterator[tuple[str, ast.Call]]:
        """Each call in a cell's Python, with what it calls."""
        for node in cell.nodes:
            if isinstance(node, ast.Call):
                yield self.meaning(node.func), node

    def found(
        self, rule: LintRule, cell: LintCell, where: int | ast.AST, what: str, fix: str, *edits: Edit
    ) -> Diagnostic:
        """What a rule found there. where: the line, or what begins on it."""
        line = where if isinstance(where, int) else int(getattr(where, "lineno", 1))
        return Diagnostic(rule.code, rule.severity, self.notebook.path, cell.number, line, what, fix, edits)


def magic_of(node: ast.AST) -> MagicLine | None:
    """The line that only IPython understands for which this stands in a tree; None for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == MAGIC:
        text = node.args[0] if node.args else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            return _magic(node.lineno, text.value)
    return None


def text_of(node: ast.AST | None) -> str | None:
    """The text that a literal is, of an f-string its beginning up to the first value; None for anything else."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return text_of(node.values[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _magic(line: int, text: str, *, is_cell: bool = False) -> MagicLine:
    if text.startswith(magics.SHELL):
        return MagicLine(line, magics.SHELL, text.lstrip(magics.SHELL).strip(), is_cell)
    if not text.startswith("%"):
        return MagicLine(line, magics.HELP, text, is_cell)
    if text.endswith(magics.HELP) and " " not in text:
        return MagicLine(line, magics.HELP, text, is_cell)
    name, _, rest = text.removeprefix("%%" if is_cell else "%").partition(" ")
    return MagicLine(line, name, rest.strip(), is_cell)


def _imported(node: ast.Import) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        first = alias.name.partition(".")[0]
        yield (alias.asname, alias.name) if alias.asname else (first, first)
