"""The parameters of a notebook as controls, for `ipywidgets.interact`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from .schema import DeclaredParameter


class ControlMaker(Protocol):
    """Makes a control for people of a parameter."""

    def control(self, parameter: DeclaredParameter) -> Any:
        """A control that begins at the default. Makes a new one every time; whatever the kind is, there is one."""


def controls(notebook: Path | str) -> Mapping[str, Any]:
    """The parameters of a notebook as ipywidgets: `interact(fn, **recipe.controls("train.ipynb"))`.

    A slider for a range, a date picker for a date, a list to choose from for a Literal. NotFound when there is no such
    notebook, Failed when its parameters cannot be read.
    """
    from ...providers import make
    from ..notebook import read_notebook

    maker: ControlMaker = make("recipe.controls")
    schema = read_notebook(Path(notebook)).schema()
    return {name: maker.control(schema.of(name)) for name in schema}
