"""`pytest --lab notebooks/`: each notebook is executed, and compared by meaning with a reference run.

A reference is made where there is none, under `build/reference`, and `--lab-update` makes them anew. What differs at
each execution is no difference; see `recipe.diff`. What was executed is kept under `build/lab`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# pytest loads this whenever it begins: what executes notebooks is imported by who asks for it.
if TYPE_CHECKING:
    from ..recipe.diff.cells import CellDifference

__all__ = ["NotebookFile", "NotebookItem"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("aiinfra_lab", "notebooks, compared by meaning")
    group.addoption("--lab", action="store_true", help="execute notebooks, and compare them with their reference runs")
    group.addoption("--lab-update", action="store_true", help="make the reference runs anew")
    group.addoption(
        "--lab-reference", default="build/reference", metavar="DIR", help="where the reference runs are kept"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Each notebook that is no copy of Jupyter's own."""
    is_wanted = file_path.suffix == ".ipynb" and ".ipynb_checkpoints" not in file_path.parts
    if not is_wanted or not parent.config.getoption("--lab"):
        return None
    found: pytest.Collector = NotebookFile.from_parent(parent, path=file_path)
    return found


class NotebookFile(pytest.File):
    """One notebook, of which there is one test."""

    def collect(self) -> Iterator[pytest.Item]:
        """See pytest."""
        yield NotebookItem.from_parent(self, name="lab")


class NotebookDiffers(Exception):
    """It did not come to its end, or means something else than its reference. text: what pytest shows."""


class NotebookItem(pytest.Item):
    """Executes the notebook, and compares it with its reference run."""

    def runtest(self) -> None:
        """See pytest."""
        from ..recipe.base import NotebookTask
        from ..recipe.diff.cells import differing_cells
        from ..recipe.engine import execute

        root = self.config.rootpath
        name = self.path.relative_to(root) if self.path.is_relative_to(root) else Path(self.path.name)
        made = root / "build" / "lab" / name
        reference = root / str(self.config.getoption("--lab-reference")) / name
        made.parent.mkdir(parents=True, exist_ok=True)
        # The order of a set's texts is drawn anew with each interpreter, and would differ each time.
        env = {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
        outcome = execute(NotebookTask(self.path, made, env=env), lambda: 0)
        if outcome.state != "done":
            cell = "" if outcome.cell is None else f" in cell {outcome.cell}"
            raise NotebookDiffers(f"{name} {outcome.state}{cell}: {outcome.error}\nexecuted: {made}")
        if self.config.getoption("--lab-update") or not reference.exists():
            reference.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, reference)
            self.add_report_section("call", "lab", f"its reference was made: {reference}")
            return
        if found := differing_cells(_read(reference), _read(made)):
            raise NotebookDiffers(_shown(name, found, reference, made))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """See pytest: of a notebook that differs no traceback of ours."""
        if isinstance(excinfo.value, NotebookDiffers):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """See pytest."""
        return self.path, None, f"{self.path.name} by meaning"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _shown(name: Path, found: Sequence[CellDifference], reference: Path, made: Path) -> str:
    cells = [f"cell {cell.number} ({cell.change}):\n" + "\n".join(f"  {line}" for line in cell.lines) for cell in found]
    places = f"reference: {reference}\nexecuted:  {made}\n`pytest --lab --lab-update` takes it as the reference"
    return "\n".join([f"{name} means something else than its reference run", *cells, places])
