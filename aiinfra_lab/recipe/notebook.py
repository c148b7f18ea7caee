"""A notebook file as a recipe reads it: its code cells, its parameters and its kernel's name. Nothing of it is run."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import Failed, NotFound, nearest
from .parameters import ParameterSchema, read_schema

PARAMETERS = "parameters"
"""The tag of the cell that declares them; the first one that has it counts, as for papermill."""

Part = Literal["in", "out"]
HANDED_BY: Mapping[Part, str] = {"in": "inputs", "out": "outputs"}
"""By which attribute of `recipe` a notebook has what `in` and `out` of its step name."""

_OLDEST = 4
_METADATA = "metadata"
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

    def schema(self) -> ParameterSchema:
        """The parameters that it declares. Failed when their cell is no Python, computes, or contradicts itself."""
        return _schema(self)


@functools.lru_cache(maxsize=512)
def _schema(notebook: Notebook) -> ParameterSchema:
    at = notebook.parameters_at
    if notebook.language.lower() != "python":
        return ParameterSchema(notebook.path, is_open=True)
    if at is None:
        return ParameterSchema(notebook.path)
    return read_schema(notebook.path, [cell.source for cell in notebook.cells[: at + 1]])


def read_notebook(path: Path) -> Notebook:
    """The notebook in that file. NotFound when there is none, Failed when the file is none."""
    try:
        stat = path.stat()
        return _read(path, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    except (FileNotFoundError, NotADirectoryError):
        fix = nearest_notebook(path) or f"name one that is there; a path counts from the folder {Path.cwd()}"
        raise NotFound(f"there is no notebook {path}", fix) from None


def nearest_notebook(path: Path) -> str:
    """The sentence that suggests a notebook beside one that is not there; empty where none has a name like it."""
    there = {each.stem: each.name for each in path.parent.glob("*.ipynb")}
    near = nearest(path.stem, there)
    return f"did you mean {there[near]}?" if near else ""


@functools.lru_cache(maxsize=512)
def _read(path: Path, *_stamp: int) -> Notebook:
    try:
        return notebook_of(path, json.loads(path.read_text("utf-8")))
    except _UNREADABLE as problem:
        fix = "write another `notebook = …` in the recipe, or make it anew in JupyterLab (New, Notebook)"
        if _lacks_metadata(problem):
            fix = f'write "metadata": {{}} there; or {fix}'
        raise Failed(f"{path.name} cannot be read as a notebook: {_why(path, problem)}", fix) from None


def _why(path: Path, problem: Exception) -> str:
    if not path.read_bytes().strip():
        return "it is empty"
    if isinstance(problem, json.JSONDecodeError | UnicodeDecodeError):
        return f"it is no JSON: {problem}"
    if _lacks_metadata(problem):
        return "it lacks `metadata`, of its own or of a cell"
    return "it has not what a notebook has: nbformat, and cells with their type and source"


def _lacks_metadata(problem: Exception) -> bool:
    return isinstance(problem, KeyError) and problem.args == (_METADATA,)


def notebook_of(path: Path, content: Mapping[str, Any]) -> Notebook:
    """The notebook that was read from that file; errors of every kind when it is none, Failed for an old format."""
    if content["nbformat"] < _OLDEST:
        fix = f"`jupyter nbconvert --to notebook --inplace {shlex.quote(str(path))}` writes it in format 4"
        raise Failed(f"{path.name} is a notebook of format {content['nbformat']}, which is not executed", fix)
    metadata = content[_METADATA]
    spec = metadata.get("kernelspec", {})
    language = spec.get("language") or metadata.get("language_info", {}).get("name") or "python"
    return Notebook(path, tuple(_code_cells(content["cells"])), spec.get("name", ""), language)


def _code_cells(cells: Sequence[Mapping[str, Any]]) -> Iterator[CodeCell]:
    for cell in cells:
        is_code, metadata = cell["cell_type"] == "code", cell[_METADATA]  # nbformat reads no cell without
        if is_code:
            tags = frozenset(metadata.get("tags", []))
            yield CodeCell("".join(cell["source"]), tags, cell.get("execution_count"))
