"""What is wrong in a recipe's file although it can be read: names of what is not there, values that nobody can take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..errors import did_you_mean, nearest
from ..uris import Uri
from .base import Recipe, RecipeStep
from .filling import filled_recipe, given_now, parameter_fix, takers
from .lines import place_in
from .makers import mistakes_in_made
from .matrix import combinations, meanings_in
from .mentions import assigned, mentioned
from .notebook import HANDED_BY, Notebook, Part, nearest_notebook, read_notebook
from .parameters import Misfit, ParameterSchema, is_name, takes_many, takes_path
from .references import RUN_WORDS, filled, filled_values, is_output, meanings_of, parameter_of, words
from .schedule.declared import meanings_at


def mistakes(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(what is wrong, the fix), for everything that names something else."""
    for name in recipe.parameters:
        if not is_name(name):
            what = f"{name!r} cannot be the name of a parameter ({place_in(recipe, 'parameters', name)})"
            yield what, "use letters, digits and _, beginning with a letter"
    for name in recipe.small:
        if name not in recipe.parameters:
            yield f"[small] sets {name}, a parameter that the recipe lacks", parameter_fix(recipe, name)
    unknown = [*_mistakes_in_values(recipe), *(each for step in recipe.steps for each in _unknown(recipe, step))]
    lacking = list(_lacking_notebooks(recipe))
    yield from [*unknown, *lacking]
    if unknown or lacking:
        return  # what the others look at is what these stand for
    yield from _mistakes_in_schedule(recipe)
    filled = filled_recipe(recipe, {})
    steps = {step.name: step for step in filled.steps}
    yield from mistakes_in_made(filled)
    # Of those of a matrix the first: what is wrong in its notebook is so for all.
    firsts = {step.declared_name: step for step in reversed(filled.steps)}
    for step in recipe.steps:
        yield from _mistakes_in(firsts[step.name], recipe, steps)
        known = read_notebook(step.notebook).schema()
        for name in step.parameters:
            if name in known:
                yield from _mistakes_in_value(recipe, step, known, name)


def _lacking_notebooks(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for step in recipe.steps:
        path = step.notebook
        if not path.exists():
            project = recipe.path.parent.parent.resolve()
            shown = path.relative_to(project) if path.is_relative_to(project) else path
            place = place_in(recipe, f"steps.{step.name}", "notebook")
            fix = nearest_notebook(path) or "correct `notebook = …` in the recipe"
            yield f"{step.name}: there is no notebook {shown} ({place})", fix


def _mistakes_in_values(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The references in the recipe's own parameters to what is not there."""
    for header, values in (("parameters", recipe.parameters), ("small", recipe.small)):
        for name, value in values.items():
            for word in words(value):
                if word not in RUN_WORDS:
                    what = f"[{header}] has no ${{{word}}} ({place_in(recipe, header, name)})"
                    yield what, did_you_mean(word, RUN_WORDS)


def _unknown(recipe: Recipe, step: RecipeStep) -> Iterator[tuple[str, str]]:
    """The references of a step to what is not there."""
    params = [f"params.{name}" for name in recipe.parameters]
    for key, values in step.texts.items():
        known = params if key == "matrix" else [*params, *(f"matrix.{name}" for name in step.matrix)]
        for name, value in values.items():
            place = place_in(recipe, f"steps.{step.name}", name)
            for word in words(value):
                if word not in known:
                    wanted = word.removeprefix("params.")
                    is_named = wanted != word and is_name(wanted)
                    what = f"the recipe has no parameter {wanted}" if is_named else f"`{key}` has no ${{{word}}}"
                    if word.startswith("matrix.") and key != "matrix":
                        what = (
                            f"its matrix has no {word.removeprefix('matrix.')}" if step.matrix else "it has no matrix"
                        )
                    yield f"{step.name}: {what} ({place})", _reference_fix(recipe, step, name, word, known)


def _reference_fix(recipe: Recipe, step: RecipeStep, name: str, word: str, known: Sequence[str]) -> str:
    if of_run := nearest(word, RUN_WORDS):
        own = name if is_name(name) else "day"
        return f'write {own} = "${{{of_run}}}" below [parameters], and ${{params.{own}}} here'
    if is_output(word):
        return f'write {name} = "${{{word}}}", with nothing else in that text, in `parameters` or in `in`'
    if word.startswith("params."):
        return parameter_fix(recipe, word.removeprefix("params."))
    if word.startswith("matrix.") and not step.matrix:
        return f"write matrix = {{ {word.removeprefix('matrix.')} = [VALUE, …] }} below [steps.{step.name}]"
    if f"params.{word}" in known:
        return f"did you mean params.{word}?"
    made = [f"steps.{each.name}.out.{name}" for each in recipe.steps if each is not step for name in each.makes]
    return did_you_mean(word, [*known, *(made or ["steps.STEP.out.NAME"])])


def _mistakes_in(step: RecipeStep, recipe: Recipe, steps: Mapping[str, RecipeStep]) -> Iterator[tuple[str, str]]:
    notebook = read_notebook(step.notebook)
    known = notebook.schema()
    yield from _mistakes_in_code(step, notebook)
    # What `in` names need not be a parameter: a module may take it, or nobody, where it is an input all the same.
    free = {*known} - {*step.parameters, *step.taken}
    taken = [name for name in step.taken if name not in known and name not in mentioned(notebook, "in")]
    meant = [name for name in taken if name in assigned(notebook) or (len(name) > 2 and nearest(name, free))]
    lacking = [name for name in (*step.parameters, *meant) if name not in known]
    if lacking and not known.parameters:
        yield _without_parameters(step, lacking)
    else:
        for name in lacking:
            at = f" ({place_in(recipe, f'steps.{step.declared_name}', name)})" if name in step.parameters else ""
            what = f"{step.declared_name}: {step.notebook.name} has no parameter {name!r}{at}"
            yield what, did_you_mean(name, known)
    if known.is_open:
        yield from ((f"{step.name}: {one.what}", one.fix) for one in known.unknown({**step.parameters, **step.taken}))
    several = {name: each.all[0] for name, each in step.gathered.items()}
    for name, source in {**step.inputs, **several}.items():
        origin, _, output = source.partition(".")
        if output not in steps[origin].makes:
            file_name = steps[origin].declared_name
            makes = steps[origin].makes
            first = f'write out = {{ {output or "NAME"} = "…" }} below [steps.{file_name}]'
            if output or not makes:
                what = f"{step.name}: {name} takes {f'{file_name}.{output}'!r}, and {file_name} has no such output"
                yield what, did_you_mean(output, makes, first)
            else:
                each = " or ".join(f'{name} = "{file_name}.{made}"' for made in makes)
                yield f"{step.name}: {name} takes the step {file_name!r}, and not what it makes", f"write {each}"
    yield from _mistakes_in_taken(step, known)


def _mistakes_in_code(step: RecipeStep, notebook: Notebook) -> Iterator[tuple[str, str]]:
    """What the notebook takes by `recipe.inputs` and `recipe.outputs`, and the step has not."""
    parts: tuple[tuple[Part, Mapping[str, str]], ...] = (("in", step.taken), ("out", step.makes))
    for part, names in parts:
        for name in sorted(mentioned(notebook, part) - {*names}):
            takes = f"{step.notebook.name} takes recipe.{HANDED_BY[part]}.{name}"
            what = f"{step.name}: {takes}, and `{part}` has no such name"
            below = f"below [steps.{step.declared_name}]"
            known = [each for each in names if is_name(each)]
            yield what, did_you_mean(name, known, f'write {part} = {{ {name} = "…" }} {below}')


def _mistakes_in_value(
    recipe: Recipe, step: RecipeStep, known: ParameterSchema, name: str
) -> Iterator[tuple[str, str]]:
    """What would otherwise be found when the steps before have run: a value that the notebook cannot take."""
    value, now = step.parameters[name], given_now(recipe)
    wanted = parameter_of(value) or ""
    meanings = meanings_of(now)
    each_time = ({**meanings, **meanings_in(each)} for each in combinations(step, meanings))
    given = [(f"steps.{step.name}", filled(value, each)) for each in each_time]
    if wanted:
        of_small = filled_values(recipe.small, meanings_at(recipe.schedule, time.time()))
        given = [(key, of[wanted]) for key, of in (("parameters", now), ("small", of_small)) if wanted in of]
    for header, each in given:
        try:
            known.of(name).read(each)
        except Misfit as problem:
            place = f"{place_in(recipe, header, wanted or name)}; {known.place(name)}"
            found = known.of(name).problem(problem, place, "recipe", wanted or name)
            yield f"{step.name}: {found.what}", found.fix
            break  # what one value of a matrix is not, the others may not be either


def _mistakes_in_schedule(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What each of its runs would be missed for: values that the notebooks cannot take."""
    if (schedule := recipe.schedule) is None:
        return
    for name, value in schedule.parameters.items():
        for declared, _ in takers(recipe, name):
            try:
                declared.read(filled(value, meanings_at(schedule, schedule.calendar.next() or 0.0)))
            except Misfit as problem:
                found = declared.problem(problem, place_in(recipe, "schedule", name), "recipe", name)
                yield f"[schedule]: {found.what}", found.fix
                break


def _without_parameters(step: RecipeStep, lacking: Sequence[str]) -> tuple[str, str]:
    what = f"{step.name}: {step.notebook.name} has no parameters, and is to be given {', '.join(lacking)}"
    lines = " and ".join(f"`{name} = …`" for name in lacking)
    where = "in JupyterLab the gear at the right, Common Tools, Cell Tags"
    return what, f"write {lines} in a cell of it, and tag the cell `parameters` ({where})"


def _mistakes_in_taken(step: RecipeStep, known: ParameterSchema) -> Iterator[tuple[str, str]]:
    for name, source in step.taken.items():
        if name not in known:
            continue
        kind = known.of(name).kind
        if name not in step.gathered and not takes_path(kind):
            takes, for_it = ("files", "the path") if name in step.files else (repr(source), "its URI")
            what = f"{step.name}: {name} takes {takes}, and {step.notebook.name} has it as {kind.name}"
            several = f", or `{name}: list[str] = …` for the files" if name in step.files else ""
            yield what, f"write `{name}: str = …` for {for_it}{several}"
        if name in step.gathered and not takes_many(kind):
            has = f"{step.notebook.name} has it as {kind.name}"
            what = f"{step.declared_name}: {name} takes {source} of several combinations, and {has}"
            yield what, f"write `{name}: list[str] = []`"
    for source in step.data.values():
        Uri.parse(source, "data")
