"""A notebook whose kernel is held when a cell fails in it, or that goes on in one that was."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode

from ...host.journal import Journal
from ...kernels.bridge import forget
from ...secrets import known
from .. import holding
from ..base import Hold
from ..cache_key import cell_code
from .archive import OWN, saved_at

_log = logging.getLogger(__name__)

_WIDGETS, _STATE = "widgets", "application/vnd.jupyter.widget-state+json"


class KernelHold:
    """How one execution holds its kernel.

    notebook: what is executed; where a kernel is held, its cells before the one to go on at get what they have put out
    there. first: which of its cells that is. key, received: of that kernel, see `HeldKernel`; the key is empty where it
    goes on in none. until: when the time of the held kernel is over, once it is held.
    """

    def __init__(self, declared: Hold, notebook: NotebookNode) -> None:
        self.folder, self.seconds = declared.folder, declared.seconds
        self.first, self.until, self._edited = 0, 0.0, dict[int, str]()
        self._notebook, self._is_begun = notebook, False
        self.key, self.received = b"", 0
        found = holding.find(self.folder) if declared.goes_on else None
        if found is None or not self._takes_over(found):
            holding.end(self.folder)
            if declared.goes_on:  # what has ended just now may still write there
                self.folder = self.folder.with_name(f"{self.folder.name}.again")

    def begin(self) -> None:
        """Have the folder, just before the kernel is started, or gone on with: that is then no longer as it was held.

        LabError where it cannot be written.
        """
        holding.claim(self.folder)
        self._is_begun = True
        holding.withdraw(self.folder)

    def save_notebook(self) -> None:
        """Write down what has been executed, before the kernel is let go of."""
        saved_at(self.folder / holding.NOTEBOOK)(self._notebook)
        (self.folder / holding.NOTEBOOK).chmod(0o600)

    def keep(self, cell: NotebookNode, key: bytes) -> None:
        """Write down that the kernel is held, in which that cell has failed."""
        cells = _code_cells(self._notebook)
        received = Journal(self.folder / "received").last
        until = time.time() + self.seconds
        at = next(number for number, one in enumerate(cells) if one is cell)
        digests = tuple(map(_digest, cells))
        holding.write(self.folder, holding.HeldKernel(key.decode(), received, until, at, digests))
        self.until = until
        # What has passed between the kernel and us has secrets in it. Until it is held that is what its cells put out.
        forget(self.folder)

    def mark_edited(self) -> None:
        """Have the executed notebook say which cells were others when they ran in the held kernel."""
        cells = _code_cells(self._notebook)
        for number, source in self._edited.items():
            cells[number].metadata[OWN]["edited_from"] = source

    def close(self, *, is_needed: bool) -> None:
        """The execution is over: what is not held is ended. is_needed: what the kernel has sent is, and stays."""
        if not self._is_begun or self.until:
            return
        if is_needed:
            holding.end_kernel(self.folder)
        else:
            holding.end(self.folder)

    def _takes_over(self, found: holding.HeldKernel) -> bool:
        """Whether it goes on in that; not where what was written down is damaged."""
        try:
            self._take_over(found)
        except Exception as problem:  # noqa: BLE001  # whatever is wrong with it, all cells can run
            _log.warning("the step runs whole: the kernel that was held cannot be gone on with: %r", problem)
            self.first, self._edited = 0, {}
            return False
        self.key, self.received = found.key.encode(), found.received
        return True

    def _take_over(self, found: holding.HeldKernel) -> None:
        before = nbformat.read(self.folder / holding.NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
        cells, was = _code_cells(self._notebook), _code_cells(before)
        edited = [number for number in range(found.at + 1)
                  if number >= len(cells) or _digest(cells[number]) != found.cells[number]]  # fmt: skip
        first = min([found.at, *edited])
        for cell, earlier in zip(cells[:first], was, strict=False):
            cell.outputs, cell.execution_count = earlier.outputs, earlier.execution_count
            cell.metadata.update({name: earlier.metadata[name] for name in ("papermill", OWN)})
        self._edited = {number: was[number].source for number in edited if number < len(cells)}
        if _WIDGETS in before.metadata:
            self._notebook.metadata[_WIDGETS] = before.metadata[_WIDGETS]
        at = self._notebook.cells.index(cells[first]) if first < len(cells) else len(self._notebook.cells)
        self.first = at


def greeting(variables: Mapping[str, str]) -> str:
    """The code by which a Python kernel that was held belongs to this run: with these variables, and so that it reports
    once more what was resolved in it."""
    text = f"import os, sys\nos.environ.update({json.dumps(dict(variables))})\n"
    module = f"sys.modules.get({known.__name__!r})"
    return f"exec({text + f'known = {module}; known and known.report_again()'!r}, {{}})"


def with_widgets(before: Mapping[str, Any], notebook: NotebookNode) -> None:
    """Keep the widgets of cells that were executed before."""
    now = notebook.metadata.setdefault(_WIDGETS, nbformat.from_dict(before))  # type: ignore[no-untyped-call]
    states = now.setdefault(_STATE, {}).setdefault("state", {})
    for name, state in before.get(_STATE, {}).get("state", {}).items():
        states.setdefault(name, state)


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _digest(cell: NotebookNode) -> str:
    """Of what it means, as the key of a step's cache has it."""
    return hashlib.sha256(cell_code(cell.source).text.encode("utf-8", "surrogateescape")).hexdigest()
