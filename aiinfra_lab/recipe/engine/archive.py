"""The executed notebook while it is made: its cells' states as they are, and a file that is whole at every moment.

The words and keys are papermill's, which other programs read. Papermill 2.7 itself marks every cell as completed when
the kernel dies or a cell times out, and writes the file in place, so that a kill can leave it empty.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ...errors import LabError
from ...files import writing
from ...secrets import redactor

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
OWN = "aiinfra"
"""The key of what papermill has no words for: how a cell, and the notebook, ended, as `archives` has it."""
AFTER = "after"
"""Of a notebook that is being executed: `Archive.after`."""
FAILURE_TAG = "papermill-error-cell-tag"
"""Of the cells that say where a notebook failed; papermill takes them out before it runs the file again."""

_ANCHOR = "failed-cell"
# A save in between may take a tenth of the time; what a cell has just put out is in the file within half a second.
_SAVE_EVERY_S, _SHARE = 0.5, 10.0

_log = logging.getLogger(__name__)

Save = Callable[[NotebookNode], None]


def saved_at(path: Path) -> Save:
    """Saves a notebook in that file, whole or not at all."""

    def save(notebook: NotebookNode) -> None:
        with writing(path) as aside:
            nbformat.write(notebook, aside)  # type: ignore[no-untyped-call]

    return save


class Archive:
    """What is executed, cell after cell. notebook: takes the outputs. save: brings it where it is kept. facts: for its
    metadata. on_cell_end: called when a cell has ended. before_save: called before the notebook is saved. after: the id
    of the kernel's last message that is in the notebook. now: the time at which what is written down happens."""

    before_save: Callable[[], None] = staticmethod(lambda: None)
    after = ""

    def __init__(
        self,
        notebook: NotebookNode,
        save: Save,
        facts: Mapping[str, Any],
        on_cell_end: Callable[[], object] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.notebook, self._save, self._on_cell_end, self._now = notebook, save, on_cell_end, now
        self._facts = dict(facts)
        self.redactor = redactor()
        self._began = self._cell_began = now()
        self._saved_at = self._save_took_s = 0.0
        self._is_due = False

    def begin(self, first: int = 0) -> None:
        """Write down that no cell has run, but for those before that one."""
        times = {"start_time": self._began.isoformat(), "end_time": None, "duration": None}
        self.notebook.metadata["papermill"] = {**self.redactor.clean_value(self._facts), **times, "exception": None}
        for cell in self.notebook.cells[first:]:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            cell.metadata["papermill"] = dict.fromkeys(("exception", "start_time", "end_time", "duration"))
            cell.metadata["papermill"]["status"] = PENDING
            cell.metadata[OWN] = {"state": "not_run"}
        self.notebook.metadata[OWN] = {"state": "running"}
        self.save()

    def go_on_from(self, began: datetime) -> None:
        """It has begun then, and as far as it says itself."""
        self._began = began

    def begin_cell(self, cell: NotebookNode) -> None:
        """It runs from now on."""
        self._cell_began = self._now()
        state = {"status": RUNNING, "start_time": self._cell_began.isoformat(), "exception": False}
        cell.metadata["papermill"].update(state)
        cell.metadata[OWN]["state"] = "running"
        self.save_if_cheap()

    def end_cell(self, cell: NotebookNode, problem: BaseException | None = None) -> None:
        """It has ended. problem: how, unless well; one that the kernel could not report itself is shown below it."""
        ended = self._now()
        took = (ended - self._cell_began).total_seconds()
        cell.metadata["papermill"].update(status=COMPLETED, end_time=ended.isoformat(), duration=took)
        cell.metadata[OWN]["state"] = "done" if problem is None else "failed"
        if problem is not None:
            cell.metadata["papermill"].update(status=FAILED, exception=True)
            self.notebook.metadata["papermill"]["exception"] = True
        if problem is not None and cell.cell_type == "code" and not _shows_error(cell):
            shown = self.redactor.clean_value(_error_output(problem))
            cell.outputs.append(nbformat.from_dict(shown))  # type: ignore[no-untyped-call]
        self.save_if_cheap()
        self._on_cell_end()

    def end(self, state: str = "", why: str = "") -> None:
        """No further cell runs. state: how the notebook ended; else failed when a cell did. why: the error of a kernel
        that could not report it itself."""
        failed = bool(self.notebook.metadata["papermill"]["exception"])
        set_state(self.notebook, state or ("failed" if failed else "done"), self.redactor.clean(why))
        ended = self._now()
        took = (ended - self._began).total_seconds()
        self.notebook.metadata["papermill"].update(end_time=ended.isoformat(), duration=took)
        self.notebook.metadata["papermill"].update(self.redactor.clean_value(self._facts))
        for cell in self.notebook.cells:
            cell.source = self.redactor.clean(cell.source)
        self.save()

    def point_to(self, at: int, error: str) -> None:
        """Say at the top which cell failed, with a link to it."""
        count = cell_number(self.notebook, at)
        where = f"cell [{count}]" if count else "a cell"
        top = f"**{where.capitalize()} failed:** `{error.splitlines()[0][:200]}`. [Go there](#{_ANCHOR})"
        self.notebook.cells.insert(at, _mark(f'<span id="{_ANCHOR}">**The next cell failed.**</span>'))
        self.notebook.cells.insert(0, _mark(top))

    def save(self) -> None:
        """Bring it where it is kept."""
        began = time.monotonic()
        self._is_due = False
        self.before_save()
        if self.after and self.notebook.metadata[OWN]["state"] == "running":
            self.notebook.metadata[OWN][AFTER] = self.after
        with self._clean_sources():
            self._save(self.notebook)
        self._saved_at = time.monotonic()
        self._save_took_s = self._saved_at - began

    @contextlib.contextmanager
    def _clean_sources(self) -> Iterator[None]:
        """What is executed may hold a secret, such as a parameter's value; no file does."""
        sources = [(cell, cell.source) for cell in self.notebook.cells if self.redactor.finds(cell.source)]
        try:
            for cell, source in sources:
                cell.source = self.redactor.clean(source)
            yield
        finally:
            for cell, source in sources:
                cell.source = source

    def save_if_cheap(self) -> None:
        """Bring it there now and then: one with large outputs and many cells is not written once for each.

        A disk that is full ends no work of hours: only the last save must succeed.
        """
        self._is_due = True
        if time.monotonic() - self._saved_at >= max(_SAVE_EVERY_S, _SHARE * self._save_took_s):
            try:
                self.save()
            except LabError as problem:
                self._saved_at = time.monotonic()
                _log.warning("the executed notebook is not saved in between: %s", problem)

    def save_when_due(self) -> None:
        """Bring there what came too early to be saved at once; called now and then, also while a cell is silent."""
        if self._is_due:
            self.save_if_cheap()


def set_state(notebook: NotebookNode, state: str, why: str = "") -> None:
    """Write down how it ended: of the notebook, and of the cell at which that was. why: as in `Archive.end`"""
    notebook.metadata[OWN] = {"state": state}
    for cell in notebook.cells:
        own = cell.metadata.get(OWN, {})
        if own.get("state") in ("running", "failed", "stopped") and state != "done":
            own["state"] = state
            if why and cell.get("outputs") and cell.outputs[-1].get("ename") == "DeadKernelError":
                cell.outputs[-1].update(evalue=why, traceback=[why])


def cell_number(notebook: NotebookNode, at: int) -> int | None:
    """Of the cell at that place, among those that are executed; in a kernel that was held it has counted on. None for
    one that was not executed."""
    return _place_among_executed(notebook, at) if notebook.cells[at].execution_count else None


def cell_at_the_end(notebook: NotebookNode) -> int | None:
    """The same of the cell that its kernel did not survive, whatever that sent of it; None where none ran then."""
    for at, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.metadata.get(OWN, {}).get("state") in ("running", "failed"):
            return _place_among_executed(notebook, at)
    return None


def _place_among_executed(notebook: NotebookNode, at: int) -> int:
    executed = [cell for cell in notebook.cells[: at + 1] if cell.cell_type == "code" and cell.source.strip()]
    skipped = [cell for cell in executed if "skip-execution" in cell.metadata.get("tags", ())]
    return len(executed) - len(skipped)


def _mark(text: str) -> NotebookNode:
    cell: NotebookNode = nbformat.v4.new_markdown_cell(text)  # type: ignore[no-untyped-call]
    cell.metadata["tags"] = [FAILURE_TAG]
    return cell


def _shows_error(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def _error_output(problem: BaseException) -> dict[str, Any]:
    """The output that a notebook shows for an exception that the kernel could not report itself."""
    text = str(problem).strip() or "it ended without a message"
    return {"output_type": "error", "ename": type(problem).__name__, "evalue": text, "traceback": [text]}
