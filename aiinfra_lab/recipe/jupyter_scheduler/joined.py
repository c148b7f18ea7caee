"""The executed notebooks of a recipe's run as one, for whoever has a place for one file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from ..results import RecipeRun


def joined(run: RecipeRun) -> NotebookNode:
    """Its steps in their order, each below a heading with its state; of a step that was skipped what it did last."""
    made: NotebookNode = new_notebook()  # type: ignore[no-untyped-call]
    made.cells.append(_text(f"# {run.uri}: {run.state}"))
    for name, step in run.steps.items():
        error = f"\n\n    {step['error'].splitlines()[0]}" if step["error"] else ""
        made.cells.append(_text(f"## {name}: {step['state']}{error}"))
        for notebook in _executed(step["archive"]):
            made.cells += notebook.cells
            _take_metadata(made, notebook)
    for at, cell in enumerate(made.cells):  # those of copied notebooks have the same
        cell["id"] = f"cell-{at}"
    return made


def _executed(archive: str) -> Iterator[NotebookNode]:
    """None where it never ran, or its file is gone since."""
    with contextlib.suppress(OSError, ValueError):
        if archive:
            yield nbformat.read(Path(archive), as_version=4)  # type: ignore[no-untyped-call]


def _take_metadata(made: NotebookNode, notebook: NotebookNode) -> None:
    widgets = made.metadata.get("widgets", {})
    for kind, each in notebook.metadata.get("widgets", {}).items():
        known = widgets.setdefault(kind, each)
        known["state"] = {**known.get("state", {}), **each.get("state", {})}
    made.metadata.update({key: notebook.metadata[key] for key in ("kernelspec", "language_info")
                          if key in notebook.metadata})  # fmt: skip
    if widgets:
        made.metadata["widgets"] = widgets


def _text(source: str) -> NotebookNode:
    made: NotebookNode = new_markdown_cell(source)  # type: ignore[no-untyped-call]
    return made
