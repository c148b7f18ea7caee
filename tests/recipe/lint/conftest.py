"""Notebooks of a few cells, and what the lint finds in them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_lab.recipe.lint import Diagnostic, lint_notebook

Found = Callable[..., list[Diagnostic]]
Places = Callable[..., list[tuple[int, int]]]


def code_cell(
    source: str, *, tags: tuple[str, ...] = (), count: int | None = None, output: str = ""
) -> dict[str, object]:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    return {
        "cell_type": "code",
        "execution_count": count,
        "id": f"c{abs(hash(source)) % 10**7}",
        "metadata": {"tags": [*tags]} if tags else {},
        "outputs": outputs,
        "source": source.splitlines(keepends=True),
    }


def write_notebook(
    path: Path, *cells: str | dict[str, object], language: str = "python", indent: int | None = 1
) -> Path:
    """Each cell a text of code, or a cell as it is."""
    whole = {
        "cells": [code_cell(cell) if isinstance(cell, str) else cell for cell in cells],
        "metadata": {"kernelspec": {"display_name": "P", "language": language, "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=indent) + "\n")
    return path


@pytest.fixture
def found(workspace: Path) -> Found:
    """`found("LAB101", "print(x)", …)`: what that rule finds in a notebook of these cells."""

    def find(code: str, *cells: str | dict[str, object], **more: object) -> list[Diagnostic]:
        path = write_notebook(workspace / "notebooks" / "n.ipynb", *cells, **more)
        return [each for each in lint_notebook(path) if each.code == code]

    return find


@pytest.fixture
def places(found: Found) -> Places:
    """The same as (cell, line)."""
    return lambda *words, **more: [(each.cell, each.line) for each in found(*words, **more)]
