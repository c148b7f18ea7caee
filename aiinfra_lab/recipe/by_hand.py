"""The step that a notebook is when it is opened by hand, as it was in the last run in which that went well."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from ..errors import LabError, NotFound
from ..resolve import resolve_any
from ..uris import Uri
from . import declaration, filling, history, made_things
from .base import Recipe, RecipeStep, Value, is_file
from .parts import standing
from .recorded import RecordedRun


class OpenedStep(NamedTuple):
    """A step as a recipe's file has it, or with what stands for its references.

    parameters: of the run that it is as in. runs: that one and those before it, newest first; all where there is none.
    """

    recipe: Recipe
    step: RecipeStep
    parameters: Mapping[str, Value] = {}
    runs: Sequence[RecordedRun] = ()

    @property
    def label(self) -> str:
        """How a notebook names it."""
        return f"{self.recipe.name}/{self.step.name}"


def steps_of(notebook: str) -> list[OpenedStep]:
    """Those of the notebook of that name; where it is empty all."""
    recipes = filter(None, map(declaration.find, declaration.names()))
    found = (OpenedStep(recipe, step) for recipe in recipes for step in recipe.steps)
    return [one for one in found if notebook in ("", one.step.notebook.name)]


def as_run_last(label: str) -> OpenedStep | None:
    """The step of that name, or of a combination of its matrix, as in the newest run in which it went well, or all
    that it takes of other steps; with the defaults where there is none. None: no recipe has it."""
    name, _, step = label.partition("/")
    recipe = declaration.find(name)
    if recipe is None:
        return None
    runs = history.runs(recipe.name, history.RECENT)
    for at, run in enumerate(runs):
        with contextlib.suppress(LabError):  # the recipe may have changed, and no longer take what that was given
            for one in _filled(recipe, step, run.body.parameters, runs[at:]):
                if _went_well(one.step, run):
                    return one
    return next(iter(_filled(recipe, step, {}, runs)), None)


def taken(one: OpenedStep, name: str) -> str | list[str]:
    """What a step takes by that name: of data the newest version, of a step before what it made in those runs."""
    step = one.step
    if name in step.files:
        return step.files[name]
    if name in step.data:
        return resolve_any(step.data[name]).uri
    if name in step.gathered:
        return [_made_before(one, source) for source in step.gathered[name].all]
    return _made_before(one, step.inputs[name])


def _filled(recipe: Recipe, name: str, given: Mapping[str, Value], runs: Sequence[RecordedRun]) -> list[OpenedStep]:
    filled = filling.filled_recipe(recipe, given)
    steps = [step for step in filled.steps if name in (step.name, step.declared_name)]
    return [OpenedStep(filled, step, given, runs) for step in steps]


def _went_well(step: RecipeStep, run: RecordedRun) -> bool:
    good = {one.name for one in run.steps if one.succeeded}
    sources = chain(step.inputs.values(), *(each.all for each in step.gathered.values()))
    before = {source.partition(".")[0] for source in sources}
    return step.name in good or (before != set() and before <= good)


def _made_before(one: OpenedStep, source: str) -> str:
    before, _, output = source.partition(".")
    made = next(each for each in one.recipe.steps if each.name == before).makes[output]
    # A path says itself of which parameters it is, and a version of a thing does not.
    if is_file(made):
        if found := standing(one.recipe.name, before, made):
            return found
    else:
        ended = filter(None, (run.step(before) for run in one.runs))
        recorded = [each.made[output] for each in ended if each.succeeded and output in each.made]
        if found := next(filter(_is_there, recorded), None) or made_things.newest(Uri.parse(made)):
            return found
    param = f", param={dict(one.parameters)}" if one.parameters else ""
    again = f'`recipe.run("{one.recipe.name}"{param}, only="{before}")` makes it'
    small = f'`recipe.get("{one.recipe.name}", "{made}")` makes a small one'
    raise NotFound(f"{before} has not made {made} yet", again if is_file(made) else small)


def _is_there(uri: str) -> bool:
    return made_things.is_there(uri, alive=False)
