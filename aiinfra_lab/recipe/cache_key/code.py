"""The normal form of code: texts that differ in comments, layout and line ends alone have the same one."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ...nouns import TABLE
from ..notebook import Notebook
from ..parameters import parameter_name
from ..watching import reading

# What changes how a cell is executed, of all the tags that a cell may have.
_EXECUTION_TAGS = frozenset({"raises-exception", "skip-execution"})
# Below them stands Python code; what others take is a text of which every letter may count.
_PYTHON_CELLS = frozenset({"capture", "prun", "time", "timeit", *TABLE})
MAGIC = "__magic__"
_CELL_MAGIC = re.compile(r"%%(\w+|!)")
_TARGET = r"[A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*\s*=\s*"
_LINE_MAGIC = re.compile(rf"(\s*)({_TARGET})?([%!].*|[\w.%]+\?\??)")


class Import(NamedTuple):
    """An import statement. module: as it is written after `from`, or the module itself. level: how many dots stand
    before it. names: what is taken from it, which may be modules too."""

    module: str
    level: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NormalCode:
    """NormalCode in its normal form. text: of it all. imports: what it imports, wherever in it."""

    text: str
    imports: tuple[Import, ...] = ()

    @property
    def digest(self) -> str:
        """The SHA-256 of its text."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()


def notebook_code(notebook: Notebook) -> NormalCode:
    """What a notebook executes, cell by cell, but for the defaults of its parameters, which are values of their own."""
    found: list[NormalCode] = []
    for at, cell in enumerate(notebook.cells):
        code = cell_code(cell.source, is_parameters=at == notebook.parameters_at)
        if code.text:
            found.append(NormalCode(f"{sorted(cell.tags & _EXECUTION_TAGS)} {code.text}", code.imports))
    imports = dict.fromkeys(one for code in found for one in code.imports)
    return NormalCode("\n".join(code.text for code in found), tuple(imports))


@dataclass(frozen=True, slots=True)
class CellTree:
    """A cell as it can be read without running it, with the cell's own line numbers.

    magics: (line, text) of each line with `%%` that heads it. tree: its Python, in which each line that only IPython
    understands is a call of MAGIC with the text of that line; None where it holds no Python, or cannot be read.
    """

    magics: tuple[tuple[int, str], ...]
    tree: ast.Module | None
    is_python: bool = True


def cell_tree(source: str) -> CellTree:
    """The cell, read."""
    lines = source.splitlines()
    at = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    magics: list[tuple[int, str]] = []
    while at < len(lines) and (magic := _CELL_MAGIC.match(lines[at])):
        magics.append((at + 1, lines[at].rstrip()))
        at += 1
        if magic[1] not in _PYTHON_CELLS:
            return CellTree(tuple(magics), None, is_python=False)
    return CellTree(tuple(magics), _tree("\n" * at + "\n".join(lines[at:])))


def cell_code(source: str, *, is_parameters: bool = False) -> NormalCode:
    """A cell's. Magics and commands of a shell count as they are written; so does what cannot be read as Python.

    is_parameters: leave out the parameters that it declares
    """
    source = source.strip()
    if magic := _CELL_MAGIC.match(source):
        first, _, body = source.partition("\n")
        below = cell_code(body) if magic[1] in _PYTHON_CELLS else NormalCode(body)
        return NormalCode(f"{first.rstrip()}\n{below.text}", below.imports)
    tree = _tree(source)
    if tree is None:
        return NormalCode("\n".join(line.rstrip() for line in source.splitlines()))
    if is_parameters:
        tree.body = [node for node in tree.body if not parameter_name(node)]
    code = _of_tree(tree)
    return replace(code, text=f"{code.text};") if _shows_nothing(tree, source) else code


def _shows_nothing(tree: ast.Module, source: str) -> bool:
    """Whether a semicolon keeps the value of the last expression from being shown."""
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or last.end_lineno is None:
        return False
    line = source.split("\n")[last.end_lineno - 1].encode()
    return line[last.end_col_offset :].lstrip().startswith(b";")


def module_code(path: Path) -> NormalCode:
    """A module's; one that cannot be read as Python counts as it is written."""
    stat = path.stat()
    return _module_code(path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


def module_digest(path: Path) -> str:
    """The SHA-256 of a module's normal form."""
    return module_code(path).digest


def notebook_digest(notebook: Notebook) -> str:
    """The SHA-256 of the normal form of a notebook that another one executes, defaults of parameters included."""
    cells = tuple(replace(cell, tags=cell.tags & _EXECUTION_TAGS) for cell in notebook.cells)
    return notebook_code(replace(notebook, cells=cells)).digest


@functools.lru_cache(maxsize=4096)
def _module_code(path: Path, *_stamp: int) -> NormalCode:
    with reading(path):
        content = path.read_bytes()
    tree = _parsed(content)
    return NormalCode(content.decode("utf-8", "surrogateescape")) if tree is None else _of_tree(tree)


def _of_tree(tree: ast.Module) -> NormalCode:
    return NormalCode("\n".join(map(ast.dump, tree.body)), tuple(_imports(tree)))


def _imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.level, tuple(alias.name for alias in node.names))


def _tree(source: str) -> ast.Module | None:
    return _parsed(source) or _parsed(_without_magics(source))


def _parsed(source: str | bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last: too deeply nested for the parser
        return None


def _without_magics(source: str) -> str:
    """The same with each line that only IPython understands as a call of it, so that the rest can be read.

    Where such a line belongs to a text over several lines it still differs from every other one.
    """
    lines: list[str] = []
    for line in _logical_lines(source):
        found = _LINE_MAGIC.fullmatch(line)
        lines.append(f"{found[1]}{found[2] or ''}{MAGIC}({found[3].rstrip()!r})" if found else line)
    return "\n".join(lines)


def _logical_lines(source: str) -> Iterator[str]:
    """Lines, of a magic with those that a backslash joins to it, and as many empty ones: all keep their number."""
    begun: list[str] = []
    for line in source.splitlines():
        if not begun and not _LINE_MAGIC.fullmatch(line):
            yield line
            continue
        begun.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield from _joined(begun)
            begun = []
    if begun:
        yield from _joined(begun)


def _joined(lines: list[str]) -> Iterator[str]:
    yield " ".join(lines)
    yield from [""] * (len(lines) - 1)
