"""One step of a recipe, alone: so that another scheduler can begin each when it is time for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import NotFound, UsageProblem, did_you_mean
from ..uris import Uri
from . import history, made_things
from .base import Recipe, RecipeStep, is_file
from .taken import place_of


def only_step(recipe: Recipe, name: str) -> Recipe:
    """The recipe with that step alone, of one with a matrix all its combinations; what it takes of steps before is what
    they made last.

    UsageProblem when there is no such step; NotFound when something that it takes was not made yet. Nobody hears of its
    runs: that a part succeeds does not say that the whole runs again.
    """
    steps = {step.name: step for step in recipe.steps}
    wanted = {step.name: step for step in recipe.steps if name in (step.name, step.of)}
    if not wanted:
        known = {each for step in recipe.steps for each in (step.declared_name, step.name)}
        raise UsageProblem(f"recipe {recipe.name} has no step {name!r}", did_you_mean(name, known))
    there: dict[str, str] = {}
    for step in wanted.values():
        many = (each for one in step.gathered.values() for each in one.all)
        for source in (*step.inputs.values(), *many):
            there[source] = _standing(recipe, steps, step.name, source)
    return replace(recipe, steps=tuple(step.taking(there, {*wanted}) for step in wanted.values()), alert=None)


def made_last(recipe: str, step: str, output: str) -> str | None:
    """What a step made by that name when it last went well, as `StepRecord.makes` has it, where that is there."""
    for run in history.runs(recipe, history.RECENT):
        record = run.body.step(step)
        if record and record.succeeded and output in record.makes and is_there(record.makes[output]):
            return record.makes[output]
    return None


def _standing(recipe: Recipe, steps: Mapping[str, RecipeStep], name: str, source: str) -> str:
    before, _, output = source.partition(".")
    made = steps[before].makes[output]
    # Of one thing several combinations make versions: the newest is that of any.
    own = made_last(recipe.name, before, output) if steps[before].of else None
    if found := own or (made_things.standing(made) if is_file(made) else made_things.newest(Uri.parse(made))):
        return found
    fix = f"`aiinfra recipe run {recipe.name} --only {before}` makes it"
    raise NotFound(f"{name} takes {source}, and there is no {made}", fix)


def is_there(made: str) -> bool:
    """Whether the thing, or the file or folder, was not removed."""
    return place_of(made).exists() if is_file(made) else made_things.is_there(made, alive=False)
