"""What a job asks for: a notebook or a recipe, and values as they were typed into a form."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from ...config import Settings, inside, named_place, settings
from ...errors import LabError, UsageProblem
from ...verbs import Typed
from .. import declaration, filling
from ..base import Value
from ..engine.injected import inject
from ..notebook import read_notebook
from ..parameters import ParameterSchema, stored

_TAG = "recipe:"
_IN_FILE = ".toml"


def recipe_of(filename: str, tags: Sequence[str] | None) -> str:
    """The recipe that a job runs: its tag names it, or it was made of the recipe's file; empty for a notebook."""
    named = {tag.removeprefix(_TAG).strip() for tag in tags or () if tag.startswith(_TAG)}
    if filename.endswith(_IN_FILE):
        named.add(filename.removesuffix(_IN_FILE))
    if "" in named:
        raise UsageProblem(f"the tag `{_TAG}` names no recipe", f"write `{_TAG}NAME`, or leave the tag out")
    if len(named) > 1:
        raise UsageProblem(f"a job runs one recipe, and this one names {', '.join(sorted(named))}", "leave one tag")
    return named.pop() if named else ""


@contextlib.contextmanager
def project_of(folder: Path) -> Iterator[Settings | None]:
    """While this lasts, the settings are those of the workspace that AIINFRA_WORKSPACE names, or in which the folder
    lies; None without one."""
    with contextlib.nullcontext() if named_place() else inside(folder):
        try:
            found = settings()
        except LabError:
            found = None
        yield found


def check(path: Path, folder: Path, tags: Sequence[str] | None, parameters: Mapping[str, str] | None) -> None:
    """LabError when a job of that notebook, or recipe's file, could not run: all that is found without a kernel.

    folder: where it lies, or lay when a copy of it was made
    """
    with project_of(folder):
        name = recipe_of(path.name, tags)
        if not name:
            values = notebook_values(path, parameters)
            inject(nbformat.read(path, as_version=4), values, path)  # type: ignore[no-untyped-call]
            return
        recipe = declaration.read(name)
        if path.suffix == _IN_FILE and (folder / path.name).resolve() != recipe.path.resolve():
            raise UsageProblem(
                f"{folder / path.name} is no recipe of the project", f"its recipes are in {recipe.path.parent}"
            )
        filling.given_values(recipe, recipe_values(parameters))


def in_form(problem: LabError) -> str:
    """A problem as it is shown beside a form: that has no `-p`, and its server would double the % of a magic."""
    return re.sub(r"-p (?=[\w.]+=)", "", str(problem).replace("%recipe", "aiinfra recipe"))


def recipe_values(parameters: Mapping[str, str] | None) -> dict[str, Typed]:
    """The values for a recipe, whose declaration knows what they are."""
    return {name: _unquoted(text) for name, text in (parameters or {}).items()}


def notebook_values(path: Path, parameters: Mapping[str, str] | None) -> dict[str, Value]:
    """The values that a notebook gets, as its parameters cell declares them; UsageProblem with all that is wrong.

    What nothing declares is a number, a list or the like where it reads so as Python, which is what jupyter-scheduler
    itself takes it for; else a text.
    """
    schema = read_notebook(path).schema()
    given = {name: _typed(schema, name, text) for name, text in (parameters or {}).items()}
    return {name: stored(value) for name, value in (schema.read(given) if schema.cell else given).items()}


def _typed(schema: ParameterSchema, name: str, text: str) -> Any:
    return _literal(text) if schema.of(name).is_untyped else _unquoted(text)


def _unquoted(text: str) -> Typed:
    """A text may stand in quotes, as jupyter-scheduler's users write it."""
    literal = _literal(text)
    return Typed(literal if isinstance(literal, str) else text)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
