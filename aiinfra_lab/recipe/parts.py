"""One step of a recipe, alone: so that another scheduler can begin each when it is time for it."""

from __future__ import annotations

from dataclasses import replace

from ..errors import NotFound, UsageProblem, did_you_mean
from ..uris import Uri
from . import made_things
from .base import Recipe, is_file


def only_step(recipe: Recipe, name: str) -> Recipe:
    """The recipe with that step alone; what it takes of steps before is what they made last.

    UsageProblem when there is no such step; NotFound when something that it takes was not made yet. Nobody hears of its
    runs: that a part succeeds does not say that the whole runs again.
    """
    steps = {step.name: step for step in recipe.steps}
    if name not in steps:
        raise UsageProblem(f"recipe {recipe.name} has no step {name!r}", did_you_mean(name, steps))
    there: dict[str, str] = {}
    for source in steps[name].inputs.values():
        before, _, output = source.partition(".")
        made = steps[before].makes[output]
        found = made_things.standing(made) if is_file(made) else made_things.newest(Uri.parse(made))
        if found is None:
            fix = f"`aiinfra recipe run {recipe.name} --only {before}` makes it"
            raise NotFound(f"{name} takes {source}, and there is no {made}", fix)
        there[source] = found
    return replace(recipe, steps=(steps[name].taking(there, {name}),), alert=None)
