"""LAB101: the names that a notebook uses before anything defines them."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator

from ...errors import LabError, nearest
from ...nouns import TABLE
from ...words import split
from . import magics
from .base import Diagnostic, Severity
from .scopes import BUILTINS, NameReader, bound_in
from .subject import LintCell, LintSubject, MagicLine, magic_of

# What a kernel's namespace holds from the start.
_OF_IPYTHON = frozenset(
    {
        *("In", "Out", "get_ipython", "display", "exit", "quit", "open", "__IPYTHON__", "__session__"),
        *("_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh"),
    }
)
_HISTORY = re.compile(r"_i?\d+")
# Of IPython's own line magics: those that bind names that do not stand there.
_OPENING = frozenset(
    {
        *("alias_magic", "autocall", "code_wrap", "debug", "ed", "edit", "load", "loadpy", "macro", "pylab"),
        *("recall", "rep", "rerun", "run", "store"),
    }
)
_SILENT = (magics.LINE - _OPENING) | {magics.SHELL, magics.HELP, *magics.EXTENSIONS["autoreload"]}
_VARIABLE = re.compile(r"\$\$|\$([A-Za-z_]\w*)")
_FIRST_WORD = re.compile(r"\s*(\w+)\b(?!\s*[=(.\[,:])")
_TAKEN_ALONG = re.compile(r"(?:^|\s)-i\s+([\w,]+)")
_OF_A_SCRIPT = re.compile(r"--(?:out|err|proc)[ =](\w+)")
_OPTIONS = re.compile(r"(?:\s*-\w+(?:\s+\d+)?)*\s*")
# Names that the code of our cell magics finds.
_GIVEN = {"train": ("run", "display", "get_ipython"), "features": ("view", "display", "get_ipython")}


class UndefinedName:
    """A name is used that nothing above has defined.

    In order, from the first cell to the last, as a recipe runs them: a name that a later cell defines is as missing as
    one that was never assigned, however often the notebook has worked with a kernel that still knew it. The body of a
    function may use what is defined below it.
    """

    code = "LAB101"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        yield from _NotebookNames(self, subject).check()


class _NotebookNames:
    """One pass over a notebook: its kernel's names, and those of the sessions that it starts."""

    def __init__(self, rule: UndefinedName, subject: LintSubject) -> None:
        self.rule = rule
        self.subject = subject
        self.found: list[Diagnostic] = []
        self.kernel = self._new(_OF_IPYTHON)
        self.sessions: dict[str, NameReader] = {}
        self.defined_in: dict[str, int] = {}

    def check(self) -> list[Diagnostic]:
        """What is missing."""
        cells = [cell for cell in self.subject.cells if "skip-execution" not in cell.code.tags]
        for cell in cells:
            if cell.place == "kernel" and cell.tree and not _timed(cell):
                for name in bound_in(cell.tree.body):
                    self.defined_in.setdefault(name, cell.number)
        for cell in cells:
            self._read(cell)
        for reader in (self.kernel, *self.sessions.values()):
            reader.finish()
        return self.found

    def _new(self, names: Iterable[str]) -> NameReader:
        return NameReader(names, self._report, self._on_call)

    def _read(self, cell: LintCell) -> None:
        self.kernel.piece = cell.number
        for head in cell.heads:
            self._magic(head, self.kernel)
        if not cell.is_python or self._is_automagic(cell):
            return
        reader = self._reader(cell)
        reader.piece = cell.number
        if cell.tree is None:
            reader.is_open = True  # whatever it is, it may bind
            return
        if timed := _timed(cell):
            with contextlib.suppress(SyntaxError, ValueError):  # of what is run before, on the magic's line
                setup = ast.increment_lineno(ast.parse(_OPTIONS.sub("", timed.text, count=1)), timed.line - 1)
                reader.read_aside(ast.Module([*setup.body, *cell.tree.body], []))
            return
        reader.read(cell.tree)
        if cell.place == "alone":
            reader.finish()

    def _is_automagic(self, cell: LintCell) -> bool:
        """`ls -l`, `pwd`: what IPython takes for a magic without its %."""
        word = _FIRST_WORD.match(cell.code.source)
        return bool(word and cell.is_one_line and word[1] in magics.LINE and word[1] not in self.kernel.bound)

    def _reader(self, cell: LintCell) -> NameReader:
        """That of the namespace in which this cell runs."""
        if cell.place == "kernel":
            return self.kernel
        head = next(head for head in cell.heads if head.name in TABLE)
        if cell.place == "alone":
            return self._new(_GIVEN[head.name])
        name = next((word for word in head.text.split()[1:] if not word.startswith("-")), "")
        if name not in self.sessions:
            self.sessions[name] = self._new(_OF_IPYTHON)
            # One that was started before this notebook may hold anything.
            self.sessions[name].is_open = not self._starts(name)
        for given in _TAKEN_ALONG.findall(head.text):
            for each in given.split(","):
                self.sessions[name].bind(each)
        return self.sessions[name]

    def _starts(self, session: str) -> bool:
        lines = (magic for cell in self.subject.cells for magic in cell.magics if magic.name == "gpu")
        return any(magic.text.split()[:2] == ["start", session] for magic in lines)

    def _on_call(self, node: ast.Call) -> bool:
        found = magic_of(node)
        if found is None:
            return False
        self._magic(found, self.kernel)
        return True

    def _magic(self, magic: MagicLine, reader: NameReader) -> None:
        """What a line of IPython's uses and binds."""
        if magic.name in TABLE:
            _our_magic(magic, reader)
        elif magic.name == "time" and not magic.is_cell:
            with contextlib.suppress(SyntaxError, ValueError):
                reader.read(ast.increment_lineno(ast.parse(magic.text), magic.line - 1))
        elif magic.is_cell and magic.name == "capture":
            for word in filter(str.isidentifier, magic.text.split()):
                reader.bind(word)
        elif magic.is_cell and magic.name in magics.CELL - _OPENING:
            for name in _OF_A_SCRIPT.findall(magic.text):
                reader.bind(name)
        elif magic.is_cell or magic.name not in _SILENT:
            reader.is_open = True

    def _report(self, name: str, line: int, number: int) -> None:
        cell = self.subject.cells[number - 1]
        if not _HISTORY.fullmatch(name) and "raises-exception" not in cell.code.tags:
            self.found.append(self.subject.found(self.rule, cell, line, *self._explained(name, cell, line)))

    def _explained(self, name: str, cell: LintCell, line: int) -> tuple[str, str]:
        """What is the matter, and the fix."""
        if cell.place != "kernel" and line > len(cell.heads) and name in self.kernel.bound:
            if cell.place == "session":
                return f"{name} is a name of the notebook, and not of the session", f"take it along: -i {name}"
            missing = f"this cell's code runs alone, without the notebook's {name}"
            return missing, f"make {name} in this cell too, or give a value with -p and read it from run.params"
        where = self.defined_in.get(name, 0)
        if where > cell.number:
            return f"{name} is used here and defined in cell {where}", f"move cell {where} above this one"
        near = nearest(name, self.kernel.bound - BUILTINS - _OF_IPYTHON - {name})
        fix = f"did you mean {near}?" if near else f"assign or import {name} in a cell above"
        return f"nothing above defines {name}", fix


def _timed(cell: LintCell) -> MagicLine | None:
    """`%%timeit`, whose code is that of a function."""
    return next((head for head in cell.heads if head.name == "timeit"), None)


def _our_magic(magic: MagicLine, reader: NameReader) -> None:
    """`$name` and `-i name` are read, and `-o name` is bound."""
    try:
        words = [str(word) for word in split(magic.text)]
    except LabError:
        return  # LAB304's
    for before, word in zip(["", *words], words, strict=False):
        if before in ("-i", "-o"):
            for name in filter(str.isidentifier, word.split(",")):
                if before == "-o":
                    reader.bind(name)
                else:
                    reader.use(name, magic.line)
        else:
            for name in filter(None, _VARIABLE.findall(word)):
                reader.use(name, magic.line)
