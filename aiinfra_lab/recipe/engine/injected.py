"""The cell with the values that a notebook is given, behind its own cell of parameters."""

from __future__ import annotations

from collections.abc import Mapping

import nbformat
from nbformat import NotebookNode

from ..base import Value
from ..notebook import PARAMETERS
from .archive import FAILURE_TAG

INJECTED = "injected-parameters"


def inject(notebook: NotebookNode, parameters: Mapping[str, Value]) -> None:
    """Put the values behind the notebook's parameters, or first where it has none; no earlier ones are left."""
    drop = {INJECTED, FAILURE_TAG}
    notebook.cells = [cell for cell in notebook.cells if drop.isdisjoint(_tags(cell))]
    if not parameters:
        return
    source = _source(notebook, parameters)
    cell: NotebookNode = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
    cell.metadata["tags"] = [INJECTED]
    at = next((at for at, cell in enumerate(notebook.cells) if PARAMETERS in _tags(cell)), -1)
    notebook.cells.insert(at + 1, cell)


def _source(notebook: NotebookNode, parameters: Mapping[str, Value]) -> str:
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language == "python":
        return "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())])
    from ..papermill import translated

    return translated(parameters, notebook.metadata.get("kernelspec", {}).get("name", ""), language)


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))
