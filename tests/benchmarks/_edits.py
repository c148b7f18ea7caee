"""Edits of a project between runs of its recipe: of what changes no result, and of what changes that of a few steps.

The peer is DVC with the same notebooks, files and outputs in a dvc.yaml; `dvc status` says which stages it would run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

RECIPE = """
[parameters]
seed = 1
[steps.make]
notebook = "make.ipynb"
in = { rows = "raw.csv" }
parameters = { seed = "${params.seed}" }
out = { table = "build/table.csv" }
[steps.use]
notebook = "use.ipynb"
in = { table = "make.table" }
[steps.model]
notebook = "model.ipynb"
in = { flights = "data:flights" }
[steps.alone]
notebook = "alone.ipynb"
"""
# Each with its parameters first.
CELLS: Mapping[str, tuple[str, ...]] = {
    "make": (
        "rows: str = ''\nseed: int = 0",
        "import random\nfrom pathlib import Path\nfrom aiinfra_lab import recipe",
        "lines = Path(rows).read_text().splitlines()\nrandom.Random(seed).shuffle(lines)",
        "path = Path(recipe.outputs.table)\npath.parent.mkdir(exist_ok=True)\npath.write_text('\\n'.join(lines))",
    ),
    "use": ("table: str = ''", "print(len(open(table).read()))"),
    "model": ("flights: str = ''", "print(flights)"),
    "alone": ("n: int = 1", "import helper\nprint(helper.twice(n))"),
}
HELPER = "def twice(n):\n    return n * 2\n"
DVC = """stages:
  make: {cmd: "true", deps: [notebooks/make.ipynb, raw.csv], outs: [build/table.csv]}
  use: {cmd: "true", deps: [notebooks/use.ipynb, build/table.csv]}
  model: {cmd: "true", deps: [notebooks/model.ipynb, flights.csv]}
  alone: {cmd: "true", deps: [notebooks/alone.ipynb, notebooks/helper.py]}
"""

Change = Callable[[nbformat.NotebookNode], None]


@dataclass(frozen=True)
class Edited:
    """What a run after one edit did. ran: step → why."""

    what: str
    ran: Mapping[str, tuple[str, ...]]
    wanted: Mapping[str, str] = field(default_factory=dict)
    dvc: int = 0

    @property
    def is_right(self) -> bool:
        """Whether exactly the steps ran that had to, each for its reason and no other."""
        return self.ran.keys() == self.wanted.keys() and all(
            len(why) == 1 and self.wanted[name] in why[0] for name, why in self.ran.items()
        )

    def __str__(self) -> str:
        reasons = [f"{name}: {', '.join(why)}" for name, why in self.ran.items()]
        return f"{self.what} → {'; '.join(reasons) or 'none'}"


class Project:
    """A project of four notebooks in a folder, which has run once."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        installed = folder / "site"
        (installed / "demo-1.0.dist-info").mkdir(parents=True)
        places = os.pathsep.join([str(installed), env.get("PYTHONPATH", str(Path.cwd()))])
        self._env = {**env, "AIINFRA_PROJECT": str(folder), "PYTHONPATH": places}
        for name in ("recipes", "notebooks"):
            (folder / name).mkdir()
        self.write("recipes/all.toml", RECIPE)
        self.write("raw.csv", "".join(f"{number}\n" for number in range(100)))
        self.write("notebooks/helper.py", HELPER)
        for name, (parameters, *rest) in CELLS.items():
            first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            notebook = new_notebook(cells=[first, *map(_with_output, rest)], metadata={"kernelspec": kernel})
            nbformat.write(notebook, self._notebook(name))
        self.add("a\n1\n")
        self.run()
        self.write("dvc.yaml", DVC)  # `data add` has made this a repository of DVC
        self._dvc("commit", "-f")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        """In a file, where it must stand."""
        text = (self.folder / name).read_text()
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        self.write(name, text.replace(old, new))

    def add(self, text: str) -> None:
        """A version of the data."""
        self.write("flights.csv", text)
        self._lab("data", "add", "flights", "flights.csv")

    def run(self) -> dict[str, tuple[str, ...]]:
        """Each step that ran, and why."""
        steps = json.loads(self._lab("recipe", "run", "all", "--json"))["steps"]
        return {name: tuple(step["because"]) for name, step in steps.items() if step["state"] != "skipped"}

    def each(self, change: Change) -> None:
        """Edit all notebooks, and save them as Jupyter does."""
        for name in CELLS:
            notebook = nbformat.read(self._notebook(name), as_version=4)  # type: ignore[no-untyped-call]
            change(notebook)
            nbformat.write(notebook, self._notebook(name))

    def save_again(self) -> None:
        """All notebooks as another program writes them."""
        for name in CELLS:
            content = json.loads(self._notebook(name).read_text())
            self._notebook(name).write_text(json.dumps(content, indent=4, sort_keys=True))

    def would_run_by_dvc(self) -> int:
        """How many stages DVC sees as changed; from now on they are not."""
        changed = json.loads(self._dvc("status", "--json"))
        self._dvc("commit", "-f")
        return len(changed)

    def _notebook(self, name: str) -> Path:
        return self.folder / "notebooks" / f"{name}.ipynb"

    def _lab(self, *arguments: str) -> str:
        return self._call("aiinfra_lab.cli", *arguments)

    def _dvc(self, *arguments: str) -> str:
        return self._call("dvc", *arguments)

    def _call(self, module: str, *arguments: str) -> str:
        argv = [sys.executable, "-m", module, *arguments]
        return subprocess.run(argv, cwd=self.folder, env=self._env, check=True, capture_output=True, text=True).stdout


def cosmetic(project: Project) -> list[Edited]:
    """Eight edits that change no result, each in all notebooks."""
    edits: Mapping[str, Callable[[], None]] = {
        "a markdown cell": lambda: project.each(lambda one: one.cells.insert(1, new_markdown_cell("# Why"))),
        "a comment": lambda: project.each(lambda one: _source(one, "# why so\n{}  # and so")),
        "layout": lambda: project.each(lambda one: _source(one, "\n\n{}\n\n")),
        "collapsed cells": lambda: project.each(_collapse),
        "outputs cleared": lambda: project.each(_clear),
        "the kernel's title": lambda: project.each(lambda one: one.metadata.kernelspec.update(display_name="Mine")),
        "ids of cells": lambda: project.each(_rename_cells),
        "saved once more": project.save_again,
    }
    found = []
    for what, edit in edits.items():
        edit()
        found.append(Edited(what, project.run(), dvc=project.would_run_by_dvc()))
    return found


def real(project: Project) -> list[Edited]:
    """Eight edits that change results, each with the steps that it concerns and a part of their reason."""
    folder = project.folder
    csv = (folder / "raw.csv").read_text()
    packages = "packages changed: demo 1.0 → 1.1"
    edits: list[tuple[str, Callable[[], object], Mapping[str, str]]] = [
        ("code", lambda: project.replace("notebooks/use.ipynb", "print(len", "print(-len"), {"use": "code"}),
        ("a parameter", lambda: project.replace("notebooks/alone.ipynb", "int = 1", "int = 2"), {"alone": "n 1 → 2"}),
        (
            "a csv cut in half",
            lambda: project.write("raw.csv", csv[: len(csv) // 2]),
            {"make": "raw.csv", "use": "make.table"},
        ),
        (
            "a helper module",
            lambda: project.replace("notebooks/helper.py", "* 2", "* 3"),
            {"alone": "notebooks/helper.py"},
        ),
        (
            "a package",
            lambda: (folder / "site" / "demo-1.0.dist-info").rename(folder / "site" / "demo-1.1.dist-info"),
            dict.fromkeys(CELLS, packages),
        ),
        (
            "the seed",
            lambda: project.replace("recipes/all.toml", "seed = 1", "seed = 2"),
            {"make": "seed 1 → 2", "use": "make.table"},
        ),
        ("what a step made", lambda: project.write("build/table.csv", "edited"), {"make": "build/table.csv"}),
        ("data", lambda: project.add("a\n2\n"), {"model": "data:flights@1 → @2"}),
    ]
    found = []
    for what, edit, wanted in edits:
        edit()
        found.append(Edited(what, project.run(), wanted))
    return found


def _with_output(source: str) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=1, outputs=[new_output("stream", text="of another day")])


def _source(notebook: nbformat.NotebookNode, form: str) -> None:
    for cell in notebook.cells:
        cell.source = form.format(cell.source)


def _collapse(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata.update(collapsed=True, jupyter={"source_hidden": True})


def _clear(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(execution_count=None, outputs=[])


def _rename_cells(notebook: nbformat.NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
