"""A recipe as a run has it: with what its references stand for, and a step for each combination of a matrix."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..errors import did_you_mean
from .base import Recipe, RecipeStep, Value
from .lines import place_in
from .matrix import combinations, expanded, meanings_in, mentions
from .notebook import read_notebook
from .parameters import DeclaredParameter, Misfit, ParameterProblem, kind_like, refuse, stored
from .references import filled, filled_texts, filled_values, meanings_of, parameter_of, parameters_in, words
from .schedule.declared import meanings_at


def filled_recipe(recipe: Recipe, given: Mapping[str, Value]) -> Recipe:
    """The recipe with what stands for `${params.NAME}` in a run with these parameters, and a step for each combination
    of a matrix; one that is filled as it is. UsageProblem as in `matrix.expanded`."""
    if recipe.is_filled:  # what a parameter holds may look like a reference, and is none
        return recipe
    return filled_with(recipe, {**given_now(recipe), **given})


def filled_with(recipe: Recipe, parameters: Mapping[str, Value]) -> Recipe:
    """The same with these parameters and no others: what their texts refer to stays as it is."""
    meanings = meanings_of(parameters)
    steps = tuple(_filled(step, meanings) for step in expanded(recipe.steps, meanings))
    return replace(recipe, steps=steps, is_filled=True)


def _filled(step: RecipeStep, meanings: Mapping[str, Value]) -> RecipeStep:
    meanings = {**meanings, **meanings_in(step.combination)}
    return replace(
        step,
        parameters=filled_values(step.parameters, meanings),
        files=filled_texts(step.files, meanings),
        data=filled_texts(step.data, meanings),
        outputs=filled_texts(step.outputs, meanings),
        made_files=filled_texts(step.made_files, meanings),
    )


def resolve(step: RecipeStep, outputs: Mapping[str, str]) -> dict[str, Value]:
    """The values that a step's notebook is run with but for files: its parameters and what the sources made.

    step: of a filled recipe. outputs: `step.output` or `data:NAME` → the URI that it means in this run
    """
    read = read_notebook(step.notebook).schema().read(step.parameters)
    return {
        **{name: stored(value) for name, value in read.items()},
        **{name: outputs[source] for name, source in {**step.inputs, **step.data}.items()},
    }


def given_now(recipe: Recipe, at: float | None = None) -> dict[str, Value]:
    """The parameters' defaults as they are then, in epoch seconds, or now: `${run.date}` is a day."""
    return filled_values(recipe.parameters, meanings_at(recipe.schedule, time.time() if at is None else at))


def given_values(recipe: Recipe, given: Mapping[str, object], *, at: float | None = None) -> dict[str, Value]:
    """The given parameters as the notebooks take them that get them, and those whose default says when it runs.

    at: that time, in epoch seconds; now where it is left out. UsageProblem with everything that is wrong.
    """
    dated = {name: value for name, value in given_now(recipe, at).items() if any(words(recipe.parameters[name]))}
    given = {**dated, **given}
    values: dict[str, Value] = {}
    problems: list[ParameterProblem] = []
    for name in given:
        if name not in recipe.parameters:
            what = f"recipe {recipe.name} has no parameter {name!r}"
            problems.append(ParameterProblem(f"{what} ({recipe.path.name})", parameter_fix(recipe, name)))
            continue
        value = given[name]
        for declared, place in takers(recipe, name):
            try:
                value = stored(declared.read(value))
            except Misfit as problem:
                problems.append(declared.problem(problem, place, name=name))
                break
        values[name] = stored(value)
    refuse(problems)
    _refuse_in_matrices(recipe, values)
    return values


def _refuse_in_matrices(recipe: Recipe, given: Mapping[str, Value]) -> None:
    """UsageProblem for the values in given lists that the notebooks cannot take, once for each combination."""
    meanings = meanings_of({**given_now(recipe), **given})
    problems = []
    for step in recipe.steps:
        lists = {name: wanted for name, value in step.matrix.items() if (wanted := parameter_of(value)) in given}
        schema = read_notebook(step.notebook).schema()
        for name, value in step.parameters.items():
            for own in mentions(value) & {*lists}:
                for each in combinations(step, meanings):
                    try:
                        schema.of(name).read(filled(value, {**meanings, **meanings_in(each)}))
                    except Misfit as problem:
                        problems.append(schema.of(name).problem(problem, schema.place(name), name=lists[own] or own))
                        break
    refuse(problems)


def takers(recipe: Recipe, name: str) -> Iterator[tuple[DeclaredParameter, str]]:
    """The parameters of notebooks that get this one of the recipe, each with its place; where none of them says of
    which type it is, its default in the recipe does."""
    are_typed = False
    for step in recipe.steps:
        schema = read_notebook(step.notebook).schema()
        for own, value in step.parameters.items():
            if parameter_of(value) == name:
                are_typed = are_typed or not schema.of(own).is_untyped
                yield schema.of(own), schema.place(own)
    if not are_typed:
        default = recipe.parameters[name]
        yield DeclaredParameter(name, kind_like(default), default), place_in(recipe, "parameters", name)


def untaken(recipe: Recipe) -> Iterator[str]:
    """The parameters of a recipe that is not filled which change nothing, since no step names them; a sentence each."""
    used = {name for step in recipe.steps for name in parameters_in(step.texts)}
    for name in recipe.parameters:
        if name in used or (name == "budget" and recipe.budget_usd is None):  # of which `budget.notes` knows more
            continue
        reference = f'{name} = "${{params.{name}}}"'
        schemas = ((step, read_notebook(step.notebook).schema()) for step in recipe.steps)
        meant = [
            step.name for step, schema in schemas if name in schema and name not in {**step.parameters, **step.taken}
        ]
        way = f"take it out, or write {reference} into `parameters` of the step that is meant"
        if meant:
            way = f"{meant[0]} takes it with {reference} in `parameters` below [steps.{meant[0]}]"
        yield f"No step takes the parameter {name}, which changes nothing so: {way}."


def parameter_fix(recipe: Recipe, name: str) -> str:
    """What helps where a parameter is named that the recipe lacks."""
    return did_you_mean(name, recipe.parameters, f"write `{name} = …` below [parameters] in {recipe.path.name}")
