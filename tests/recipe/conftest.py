"""A project with tiny notebooks, written by the test that uses them."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

Write = Callable[..., Path]

# A step that makes something of a word, and one that uses it; the notebooks are make.ipynb and use.ipynb.
TWO = """
[parameters]
word = "hello"
[steps.make]
notebook = "make.ipynb"
parameters = { word = "${params.word}" }
out = { made = "data:made" }
[steps.use]
notebook = "use.ipynb"
in = { made = "make.made" }
"""


@pytest.fixture
def notebook(workspace: Path) -> Write:
    """`notebook("a", "x: int = 1", "print(x)")`: the first cell is the parameters cell."""

    def write(name: str, parameters: str, *cells: str) -> Path:
        path = workspace / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(new_notebook(cells=[first, *map(new_code_cell, cells)], metadata=metadata), path)
        return path

    return write


@pytest.fixture
def recipe(workspace: Path) -> Write:
    """`recipe("r", TOML)` writes recipes/r.toml."""

    def write(name: str, text: str) -> Path:
        path = workspace / "recipes" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write
