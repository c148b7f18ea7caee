"""Whether a notebook runs at all where nobody looks at it, from top to bottom."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ..notebook import PARAMETERS
from ..parameters import parameter_name
from . import magics
from .base import CellEdit, Diagnostic, Edit, LineEdit, Severity
from .subject import LintCell, LintSubject, text_of


class UnreadableCell:
    """A cell is neither Python that compiles nor what IPython makes Python of.

    The code below `%%train` and `%%features` is plain Python: a line with `%` or `!` is not understood there.
    """

    code = "LAB100"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        for cell in subject.cells:
            if "raises-exception" in cell.code.tags:
                continue
            if cell.is_python and (problem := _compile_error(cell) if cell.tree else _syntax_error(cell)):
                yield subject.found(self, cell, problem[0], f"this is no Python: {problem[1]}", "correct that line")
            if cell.place == "alone":
                for magic in cell.magics[len(cell.heads) :]:
                    what = f"code below the magic {cell.heads[0].name} is plain Python, and this line is none"
                    yield subject.found(self, cell, magic.line, what, "put it into a cell of its own")


def _compile_error(cell: LintCell) -> tuple[int, str] | None:
    """(line, what Python says) of what it can read and not compile, as a `return` outside of a function."""
    if any(head.name == "timeit" for head in cell.heads):  # its code is that of a function
        return None
    flags = 0 if cell.place == "alone" else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(cell.tree or "", "<cell>", "exec", flags, dont_inherit=True)
    except SyntaxError as problem:
        return problem.lineno or 1, problem.msg
    except (ValueError, RecursionError, MemoryError) as problem:
        return 1, str(problem) or "it is nested too deeply"
    return None


def _syntax_error(cell: LintCell) -> tuple[int, str] | None:
    """(line, what Python says); None where IPython does understand the cell."""
    above = next((at for at, line in enumerate(cell.lines[len(cell.heads) :]) if line.strip()), 0) + len(cell.heads)
    body = "\n".join(cell.lines[above:])
    try:
        ast.parse(body if cell.place == "alone" else _transformed(body))
    except SyntaxError as problem:
        line = min(max(problem.lineno or 1, 1), max(len(cell.lines) - above, 1))
        return above + line, problem.msg
    except (ValueError, RecursionError, MemoryError) as problem:
        return above + 1, str(problem) or "it is nested too deeply"
    return None


def _transformed(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager  # here, since few cells come so far

    transformers: Any = TransformerManager
    return str(transformers().transform_cell(source))


class ExecutionOrder:
    """The stored outputs come from another order of the cells.

    Execution counts that do not grow from top to bottom mean that what the file shows was made by jumping back and
    forth, and that a run from the top may show something else.
    """

    code = "LAB102"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        last = 0
        for cell in subject.cells:
            count = cell.code.count
            if count is None:
                continue
            if count <= last:
                what = f"this cell ran as number {count}, before the one above it with number {last}"
                yield subject.found(self, cell, 1, what, "Restart Kernel and Run All Cells, then save")
                return
            last = count


class DerivedParameter:
    """A value in the parameters cell is computed from another parameter.

    What a recipe gives is put in below that cell, and what was computed before it keeps the old value. The safe fix
    moves the line into a cell of its own right below.
    """

    code = "LAB103"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        at = subject.notebook.parameters_at
        cell = subject.cells[at] if at is not None and subject.cells else None
        if cell is None or cell.tree is None:
            return
        body = cell.tree.body
        names = [name for node in body if (name := parameter_name(node))]
        for place, node in enumerate(body):
            uses = sorted(_used(node) & {*names}) if parameter_name(node) else []
            if uses:
                may_move = len(names) == len({*names}) and all(map(parameter_name, body[place:]))
                what = f"{parameter_name(node)} is computed from {', '.join(uses)}, before a recipe's value is put in"
                edits = _moved_below(cell, node, body) if may_move else ()
                yield subject.found(self, cell, node, what, "compute it in the cell below", *edits)


class SecondParameters:
    """A second cell is tagged `parameters`.

    What a recipe gives is put in below the first one: what the second assigns takes the place of it.
    """

    code = "LAB113"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        for cell in [cell for cell in subject.cells if PARAMETERS in cell.code.tags][1:]:
            what = "a second cell is tagged parameters, and a recipe's values are put in above it"
            yield subject.found(self, cell, 1, what, "move its lines into the first one, or take the tag off")


def _used(node: ast.stmt) -> set[str]:
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return {each.id for each in ast.walk(value) if isinstance(each, ast.Name)} if value else set()


def _moved_below(cell: LintCell, node: ast.stmt, body: list[ast.stmt]) -> tuple[Edit, ...]:
    first, last = node.lineno, node.end_lineno or node.lineno
    if any(other is not node and other.lineno <= last and (other.end_lineno or 0) >= first for other in body):
        return ()  # two on one line
    lines = cell.lines[first - 1 : last]
    return LineEdit(cell.number, first, last, ()), CellEdit(cell.number, "\n".join(lines), is_below=True)


class WaitsForPeople:
    """A cell waits for somebody who types or clicks.

    Nobody does when a recipe runs it: `input()` fails there, and a debugger or a blocking window waits for ever.
    """

    code = "LAB104"
    severity: Severity = "error"

    _CALLS = frozenset(
        {
            *("input", "getpass.getpass", "breakpoint", "pdb.set_trace", "ipdb.set_trace", "code.interact"),
            *("IPython.embed", "IPython.core.debugger.set_trace", "jupyter_ui_poll.ui_events"),
            *("matplotlib.pyplot.ginput", "matplotlib.pyplot.waitforbuttonpress", "click.prompt", "click.confirm"),
            *("sys.stdin.read", "sys.stdin.readline", "sys.stdin.readlines"),
        }
    )

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        fix = "take it as a parameter; a secret from the environment"
        for cell in subject.cells:
            for name, call in subject.calls(cell):
                if name in self._CALLS:
                    yield subject.found(self, cell, call, f"{name}() waits for somebody", fix)
            for magic in cell.magics:
                if magic.name == "debug" and not magic.is_cell:
                    yield subject.found(self, cell, magic.line, "%debug waits for somebody", "take it out")


_HOME = r"(?:/home/[\w.-]+|/Users/[\w.-]+|/root(?=/)|/tmp|/var/tmp|/private/tmp|[A-Za-z]:[\\/]+Users[\\/]+[\w.-]+)"
_PATH = re.compile(rf"(?:file://)?({_HOME})(?:[\\/][^\n]*)?")
_PATH_IN_LINE = re.compile(rf"(?:^|(?<=[\s=:'\"(]))({_HOME})(?=[\\/\s'\")]|$)")
_LONGEST_PATH = 300


class HomePath:
    """An absolute path leads into a home folder or a temporary one.

    On another machine, or for another person, there is no such folder; and what lies in a temporary one is gone.
    """

    code = "LAB105"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        fix = "write a path from the notebook's own folder, or take it as a parameter"
        for cell in subject.cells:
            for line, folder in sorted({*self._in_code(cell), *self._in_lines(cell)}):
                yield subject.found(self, cell, line, f"{folder} is a folder of this machine", fix)

    def _in_code(self, cell: LintCell) -> Iterator[tuple[int, str]]:
        if cell.is_remote:
            return
        passed_over = {id(node.value) for node in cell.nodes if isinstance(node, ast.Expr)}  # texts about the code
        passed_over |= {id(each) for node in cell.nodes if isinstance(node, ast.JoinedStr) for each in node.values[1:]}
        for node in cell.nodes:
            text = text_of(node) if isinstance(node, ast.Constant) and id(node) not in passed_over else None
            if text and len(text) < _LONGEST_PATH and (found := _PATH.fullmatch(text)):
                yield node.lineno, found[1]  # type: ignore[attr-defined]  # a constant has a line

    def _in_lines(self, cell: LintCell) -> Iterator[tuple[int, str]]:
        for magic in (*cell.magics, *cell.shell_lines):
            if found := _PATH_IN_LINE.search(magic.text):
                yield magic.line, found[1]


class UndeclaredFile:
    """A step wrote a file of the project, when it ran last, that its `out` does not name.

    No step behind it waits for that file, and it is not made again when somebody removes it.
    """

    code = "LAB109"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        made = subject.step.made_files.values() if subject.step else ()
        for path in subject.wrote:
            if not any(PurePath(path).is_relative_to(each) for each in made):
                what = f"{subject.step.name if subject.step else 'it'} wrote {path} when it ran last"
                fix = f'write out = {{ NAME = "{path}" }} for the step, and recipe.outputs.NAME in the notebook'
                yield Diagnostic(self.code, self.severity, subject.notebook.path, 0, 1, what, fix)


class ChangedFolder:
    """A cell changes the working folder.

    Every relative path below it then means something else than above it, and in a run of one cell alone.
    """

    code = "LAB106"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        fix = "leave the folder as it is, and write the paths from there"
        for cell in subject.cells:
            for name, call in subject.calls(cell):
                if name in ("os.chdir", "os.fchdir"):
                    yield subject.found(self, cell, call, f"{name}() changes what relative paths mean", fix)
            for magic in cell.magics:
                if magic.name in ("cd", "pushd", "popd") and not magic.is_cell and magic.name in magics.LINE:
                    yield subject.found(self, cell, magic.line, f"%{magic.name} changes what relative paths mean", fix)
