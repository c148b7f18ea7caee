"""A notebook file as a recipe reads it: its code cells, its parameters and its kernel's name. Nothing of it is run."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Failed, NotFound

PARAMETERS = "parameters"
"""The tag of the cell that declares them; the first one that has it counts, as for papermill."""

_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class CodeCell:
    """A code cell: its text, its tags, and the execution count that is stored with it."""

    source: str
    tags: frozenset[str] = frozenset()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Notebook:
    """The code of a notebook. kernel: the name of its kernel; empty where it names none. language: that of its code."""

    path: Path
    cells: tuple[CodeCell, ...]
    kernel: str = ""
    language: str = "python"

    @property
    def parameters_at(self) -> int | None:
        """Which of the code cells declares the parameters."""
        return next((at for at, cell in enumerate(self.cells) if PARAMETERS in cell.tags), None)

    def parameters(self) -> dict[str, tuple[str, Any]]:
        """Name → (annotated type, default). Failed when their cell is no Python, or computes."""
        at = self.parameters_at
        return {} if at is None else _parameters(self.path, self.cells[at].source)


def read_notebook(path: Path) -> Notebook:
    """The notebook in that file. NotFound when there is none, Failed when the file is none."""
    try:
        stat = path.stat()
        return _read(path, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no notebook {path}", "correct `notebook = …` in the recipe") from None


@functools.lru_cache(maxsize=512)
def _read(path: Path, *_stamp: int) -> Notebook:
    try:
        content = json.loads(path.read_text("utf-8"))
        cells = tuple(_code_cells(content["cells"]))
        spec = content.get("metadata", {}).get("kernelspec", {})
        return Notebook(path, cells, spec.get("name", ""), spec.get("language") or "python")
    except _UNREADABLE as problem:
        what = f"{path.name} cannot be read as a notebook: {problem}"
        raise Failed(what, "open it in JupyterLab and save it again") from None


def _code_cells(cells: Sequence[Mapping[str, Any]]) -> Iterator[CodeCell]:
    for cell in cells:
        if cell["cell_type"] == "code":
            tags = frozenset(cell.get("metadata", {}).get("tags", []))
            yield CodeCell("".join(cell["source"]), tags, cell.get("execution_count"))


def parameter_name(node: ast.stmt) -> str:
    """The name of the parameter that this statement of a parameters cell declares; empty where it declares none."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _parameters(path: Path, source: str) -> dict[str, tuple[str, Any]]:
    try:
        body = ast.parse(source).body
    except SyntaxError as problem:
        raise Failed(
            f"the parameters cell of {path.name} cannot be read as Python: {problem}", "one `name: type = value` a line"
        ) from None
    try:
        return {name: _typed_default(node) for node in body if (name := parameter_name(node))}
    except ValueError as problem:
        fix = "give every parameter a plain value, and compute in a later cell"
        raise Failed(f"the parameters cell of {path.name} computes: {problem}", fix) from None


def _typed_default(node: ast.stmt) -> tuple[str, Any]:
    assert isinstance(node, ast.AnnAssign | ast.Assign)
    assert node.value is not None
    value = ast.literal_eval(node.value)
    return (ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else type(value).__name__), value
