"""One step of a recipe, alone: so that another scheduler can begin each when it is time for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..errors import NotFound, UsageProblem, did_you_mean
from ..uris import Uri
from . import history, made_things
from .base import Recipe, RecipeStep, is_file
from .record import MadeFile, StepRecord
from .recorded import RecordedRun
from .taken import Taken, place_of


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
    runs = history.runs(recipe.name, history.RECENT)
    for step in wanted.values():
        many = (each for one in step.gathered.values() for each in one.all)
        for source in (*step.inputs.values(), *many):
            there[source] = _standing(recipe, steps, step.name, source, runs)
    return replace(recipe, steps=tuple(step.taking(there, {*wanted}) for step in wanted.values()), alert=None)


def made_last(recipe: str, step: str, output: str, runs: Sequence[RecordedRun] | None = None) -> str | None:
    """What a step made by that name when it last went well, as `StepRecord.makes` has it, where that is there. runs:
    those of the recipe, newest first, where they are known.

    NotFound where another content is there in its place.
    """
    for run, record in _good(recipe, step, runs):
        if output in record.made and made_things.is_there(record.made[output], alive=False):
            return record.made[output]
        for file in record.files:
            if file.name == output and _is_as_made(file, run, recipe, step):
                return file.path
    return None


def standing(recipe: str, step: str, made: str, runs: Sequence[RecordedRun] | None = None) -> str | None:
    """What others go on from: see `made_things.standing`. Of a file of the project its path, where it is there. runs:
    as in `made_last`.

    NotFound where that is not what the step made there when it last went well.
    """
    if not is_file(made):
        return made_things.standing(made)
    for run, record in _good(recipe, step, runs):
        for file in record.files:
            if file.path == made:
                return made if _is_as_made(file, run, recipe, step) else None
    return made if place_of(made).exists() else None  # in a fresh clone, or by another recipe


def _standing(
    recipe: Recipe, steps: Mapping[str, RecipeStep], name: str, source: str, runs: Sequence[RecordedRun]
) -> str:
    before, _, output = source.partition(".")
    made = steps[before].makes[output]
    # Of one thing several combinations make versions: the newest is that of any.
    if is_file(made):
        found = standing(recipe.name, before, made, runs)
    else:
        own = made_last(recipe.name, before, output, runs) if steps[before].of else None
        found = own or made_things.newest(Uri.parse(made))
    if found:
        return found
    raise NotFound(f"{name} takes {source}, and there is no {made}", _makes_it(recipe.name, before))


def _good(recipe: str, step: str, runs: Sequence[RecordedRun] | None) -> Iterator[tuple[str, StepRecord]]:
    """The runs of a recipe in which a step went well, newest first."""
    for run in history.runs(recipe, history.RECENT) if runs is None else runs:
        record = run.step(step)
        if record and record.succeeded:
            yield run.uri, record


def _is_as_made(file: MadeFile, run: str, recipe: str, step: str) -> bool:
    """Whether it is there. NotFound where it is not what that run made."""
    there = Taken.made(file.path)
    if there.files and there.digest != file.digest:
        raise NotFound(f"{file.path} is not what {run} made", _makes_it(recipe, step))
    return bool(there.files)


def _makes_it(recipe: str, step: str) -> str:
    return f"`aiinfra recipe run {recipe} --only {step}` makes it"
