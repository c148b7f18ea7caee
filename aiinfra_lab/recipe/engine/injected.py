"""The cell with the values that a notebook is given, behind its own cell of parameters."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ...errors import Failed
from ...verbs import Typed
from ..notebook import PARAMETERS, notebook_of
from ..parameters import LiteralWriter, Misfit, ParameterSchema, refuse, stored
from .archive import FAILURE_TAG

INJECTED = "injected-parameters"
# What papermill gives a notebook when it is asked for its paths; no notebook declares them.
_PAPERMILLS = ("PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH")


def inject(notebook: NotebookNode, parameters: Mapping[str, object], path: Path | None = None) -> None:
    """Put the values behind the notebook's parameters, or first where it has none; no earlier ones are left.

    UsageProblem when it can take one of them not. path: the notebook's, for that
    """
    drop = {INJECTED, FAILURE_TAG}
    notebook.cells = [cell for cell in notebook.cells if drop.isdisjoint(_tags(cell))]
    if not parameters:
        return
    source = _source(notebook, parameters, path or Path("the notebook"))
    cell: NotebookNode = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
    cell.metadata["tags"] = [INJECTED]
    at = next((at for at, cell in enumerate(notebook.cells) if PARAMETERS in _tags(cell)), -1)
    notebook.cells.insert(at + 1, cell)


def retyped(notebook: NotebookNode, parameters: Mapping[str, object], path: Path, *, is_python: bool) -> None:
    """Write the cell that papermill has put in once more, with the values as the notebook declares them.

    UsageProblem when it can take one of them not. A parameters cell that only papermill can read is none here. Its
    command makes a number of whatever reads so: for a text that was typed the word itself counts.
    """
    cell = next((cell for cell in notebook.cells if INJECTED in _tags(cell)), None)
    if cell is None or not parameters:
        return
    if not is_python:
        refuse(ParameterSchema(path, is_open=True).unknown(parameters))
        return
    schema = ParameterSchema(path)
    with contextlib.suppress(Failed):
        schema = notebook_of(path, notebook).schema()
    own = {name: value for name, value in parameters.items() if name in _PAPERMILLS}
    given = {name: value for name, value in parameters.items() if name not in own}
    given |= _typed(schema, given)
    if schema.cell:
        schema.read({name: value for name, value in given.items() if name in schema or name not in schema.bound})
    source = [schema.source(given), LiteralWriter().assignments(own.items())]
    cell.source = "\n".join(filter(None, ["# Parameters", *source]))
    notebook.metadata["papermill"]["parameters"] = stored({**own, **given})


def _typed(schema: ParameterSchema, given: Mapping[str, object]) -> dict[str, str]:
    """The words of papermill's own command line for values that are to be a text or a Decimal: `-p zip 02139`."""
    words, found = sys.argv, dict[str, str]()
    for flag, name, word in zip(words, words[1:], words[2:], strict=False):
        is_its = flag.lstrip("-") in ("p", "parameters") and name in given and _guessed(word, given[name])
        if is_its and not schema.of(name).is_untyped:
            with contextlib.suppress(Misfit):
                if isinstance(schema.of(name).read(Typed(word)), str | Decimal):
                    found[name] = word
    return found


def _guessed(word: str, value: object) -> bool:
    """Whether papermill makes that value of that word."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return not isinstance(value, str) and word == str(value)
    try:
        return repr(type(value)(word)) == repr(value)
    except ValueError:
        return False


def _source(notebook: NotebookNode, parameters: Mapping[str, object], path: Path) -> str:
    read = notebook_of(path, notebook)
    schema = read.schema()
    if not schema.is_open:
        return f"# Parameters\n{schema.source(parameters)}"
    refuse(schema.unknown(parameters))
    from ..papermill import translated

    return translated(parameters, read.kernel, read.language)


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))
