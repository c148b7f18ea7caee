"""The safe edits of what was found, written into the notebook's file, which keeps its form."""

from __future__ import annotations

import json
import re
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...files import write
from .base import CellEdit, Diagnostic, LineEdit

_INDENT = re.compile(r"\{\r?\n([ \t]+)\"")


def fix_notebook(path: Path, found: Iterable[Diagnostic]) -> int:
    """Write the edits of what was found in that notebook into its file, all or none; how many findings that ends.

    Where two would change the same lines only the first one does.
    """
    mine = list(_apart(each for each in found if each.edits and each.path == path))
    if mine:
        old = path.read_bytes().decode()
        notebook = json.loads(old)
        _apply(notebook, mine)
        write(path, _as_before(old, notebook), mode=stat.S_IMODE(path.stat().st_mode))
    return len(mine)


def _apart(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    taken: set[tuple[int, int]] = set()
    for each in found:
        lines = {(edit.cell, line) for edit in _line_edits(each) for line in range(edit.first, edit.last + 1)}
        if not lines & taken:
            taken |= lines
            yield each


def _line_edits(found: Diagnostic) -> list[LineEdit]:
    return [edit for edit in found.edits if isinstance(edit, LineEdit)]


def _apply(notebook: dict[str, Any], found: Sequence[Diagnostic]) -> None:
    cells: list[dict[str, Any]] = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    # From below, so that the lines above keep their numbers.
    for edit in sorted((edit for each in found for edit in _line_edits(each)), key=lambda edit: -edit.first):
        cell = code[edit.cell - 1]
        lines = "".join(cell["source"]).splitlines(keepends=True)
        lines[edit.first - 1 : edit.last] = [f"{line}\n" for line in edit.lines]
        _write_source(cell, "".join(lines).removesuffix("\n"))
    new = [edit for each in found for edit in each.edits if isinstance(edit, CellEdit)]
    place = sorted(new, key=lambda edit: (edit.cell, edit.is_below))
    for (number, is_below), edits in groupby(place, key=lambda edit: (edit.cell, edit.is_below)):
        beside = code[number - 1]
        at = next(at for at, cell in enumerate(cells) if cell is beside)
        cells.insert(at + is_below, _code_cell(notebook, beside, "\n".join(edit.source for edit in edits)))


def _code_cell(notebook: dict[str, Any], like: dict[str, Any], source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) >= (4, 5):
        cell["id"] = uuid.uuid4().hex[:8]
    cell["source"] = like["source"]
    _write_source(cell, source)
    return dict(sorted(cell.items()))  # as nbformat writes them


def _write_source(cell: dict[str, Any], text: str) -> None:
    """In the form that it had: one text, or one a line."""
    cell["source"] = text if isinstance(cell["source"], str) else text.splitlines(keepends=True)


def _as_before(old: str, notebook: dict[str, Any]) -> str:
    """The notebook as JSON in the form of the text that it was."""
    indent = found[1] if (found := _INDENT.match(old.lstrip())) else None
    is_ascii = old.isascii() and "\\u" in old
    separators = None if indent or '": ' in old[:200] else (",", ":")
    text = json.dumps(notebook, indent=indent, ensure_ascii=is_ascii, separators=separators)
    end = old[len(old.rstrip()) :]
    return (text.replace("\n", "\r\n") if "\r\n" in old else text) + end
