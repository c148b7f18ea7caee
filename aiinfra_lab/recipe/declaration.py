"""Reading `recipes/NAME.toml`: every mistake in it is found before a kernel exists."""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..config import settings
from ..errors import Denied, Failed, LabError, NotFound, UsageProblem, did_you_mean
from ..units import read_bytes, read_duration
from ..uris import Uri
from .base import ALERTS, HOLD, NEVER, ON_FAILURE, Recipe, RecipeAlert, RecipeStep, Value, is_file
from .budget import read_budget
from .expectations import read_expectations
from .keys import ALERT_KEYS, MOST_RETRIES, RECIPE_KEYS, STEP_KEYS, STEP_NAME
from .lines import line_of, text_of
from .notebook import HANDED_BY, Notebook, Part, read_notebook
from .parameters import (
    DeclaredParameter,
    Misfit,
    ParameterProblem,
    ParameterSchema,
    as_text,
    is_name,
    kind_like,
    refuse,
    stored,
    takes_path,
)
from .references import (
    RUN_WORDS,
    as_reference,
    filled,
    filled_texts,
    filled_values,
    is_output,
    meanings_of,
    parameter_of,
    source_of,
    words,
)
from .schedule.deciding import RecipeSchedule, RecipeTrigger
from .schedule.declared import KEYS as SCHEDULE_KEYS
from .schedule.declared import meanings_at, read_schedule
from .schedule.triggers import KEYS as TRIGGER_KEYS
from .schedule.triggers import read_trigger
from .step_order import ordered
from .taken import is_path, place_of

T = TypeVar("T")

_STEP_NAME = re.compile(STEP_NAME)


def folder() -> Path:
    """Where the project keeps its recipes."""
    return settings().project / "recipes"


def first(name: str) -> str:
    """How a project without recipes comes to one of that name."""
    example = "`%lab start --from example:flights` writes others to begin with"
    return f"write recipes/{name}.toml, `%recipe check --help` says what is in it; {example}"


def names() -> list[str]:
    """The recipes there are."""
    return sorted(file.stem for file in folder().glob("*.toml"))


def path_of(name: str) -> Path:
    """The file in which that recipe is declared, whether there is one or not."""
    return folder() / f"{name}.toml"


def title(name: str) -> str:
    """What a recipe is called; its name when its file is gone, or cannot be read."""
    found = find(name)
    return found.title if found else name


def find(name: str) -> Recipe | None:
    """The recipe; None when its file is gone, or cannot be read: what has run can be shown whatever became of it."""
    try:
        return read(name)
    except LabError:
        return None


def parameters(name: str) -> dict[str, Value]:
    """The parameters that a recipe's file declares, whatever else is wrong in it; none where it cannot be read."""
    try:
        found = tomllib.loads(text_of(path_of(name))).get("parameters", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
    return {key: stored(value) for key, value in found.items()} if isinstance(found, dict) else {}


def notebooks(name: str) -> list[Path]:
    """The notebooks that a recipe's file names and that are there, whatever else is wrong in it; each once."""
    path = path_of(name)
    try:
        tables = tomllib.loads(text_of(path)).get("steps", {})
        named = [table["notebook"] for table in tables.values()]
        found = [_notebook(path.name, path.parent.parent, text) for text in named]
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, LabError, TypeError, KeyError, AttributeError):
        return []  # `read` names the mistake
    return list(dict.fromkeys(each for each in found if each.is_file()))


def read(name: str) -> Recipe:
    """The recipe of that name, checked: keys, steps, references, cycles, and the notebooks' own parameters."""
    path = path_of(name)
    if not path.is_file():
        raise NotFound(f"there is no recipe {name!r} in {path.parent}", did_you_mean(name, names(), first(name)))
    try:
        table = tomllib.loads(text_of(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageProblem(f"{path.name} is not valid TOML: {problem}", "correct that line") from None
    except OSError as problem:
        raise Denied(f"{path} cannot be read: {problem.strerror}", "make it readable, or take it away") from None
    _known(path.name, table, RECIPE_KEYS)
    tables = _table(path.name, table.get("steps", {}), "steps", "steps.NAME")
    parameters, small = (_stored(_table(path.name, table.get(key, {}), key)) for key in ("parameters", "small"))
    defaults = meanings_of(parameters)
    steps = {key: _sorted_inputs(_step(path, key, value), tables, defaults) for key, value in tables.items()}
    if not steps:
        raise UsageProblem(f"{path.name} has no steps", "add a [steps.NAME] with a notebook")
    alert = _alert(path.name, table.get("alert"))
    schedule = _schedule(path.name, table.get("schedule"), parameters)
    trigger = _trigger(path.name, table.get("trigger"))
    title = str(table.get("title", name))
    budget_usd = read_budget(path.name, table.get("budget"))
    steps_now = ordered(path.name, steps)
    recipe = Recipe(name, title, path, parameters, steps_now, small, alert, schedule, trigger, budget_usd=budget_usd)
    if problems := list(mistakes(recipe)):
        raise Failed(f"{path.name}: {'; '.join(what for what, _ in problems)}", "; ".join(fix for _, fix in problems))
    return recipe


def mistakes(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(what is wrong, the fix), for everything that names something else."""
    for name in recipe.parameters:
        if not is_name(name):
            what = f"{name!r} cannot be the name of a parameter ({_place(recipe, 'parameters', name)})"
            yield what, "use letters, digits and _, beginning with a letter"
    for name in recipe.small:
        if name not in recipe.parameters:
            yield f"[small] sets {name}, a parameter that the recipe lacks", parameter_fix(recipe, name)
    unknown = [*_mistakes_in_values(recipe), *(each for step in recipe.steps for each in _unknown(recipe, step))]
    yield from unknown
    if unknown:
        return  # what the others look at is what these stand for
    yield from _mistakes_in_schedule(recipe)
    filled = filled_recipe(recipe, {})
    steps = {step.name: step for step in filled.steps}
    yield from _made_twice(filled)
    for step in recipe.steps:
        yield from _mistakes_in(steps[step.name], recipe, steps)
        known = read_notebook(step.notebook).schema()
        for name in step.parameters:
            if name in known:
                yield from _mistakes_in_value(recipe, step, known, name)


def _mistakes_in_values(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The references in the recipe's own parameters to what is not there."""
    for header, values in (("parameters", recipe.parameters), ("small", recipe.small)):
        for name, value in values.items():
            for word in words(value):
                if word not in RUN_WORDS:
                    what = f"[{header}] has no ${{{word}}} ({_place(recipe, header, name)})"
                    yield what, did_you_mean(word, RUN_WORDS)


def _unknown(recipe: Recipe, step: RecipeStep) -> Iterator[tuple[str, str]]:
    """The references of a step to what is not there."""
    known = [f"params.{name}" for name in recipe.parameters]
    for key, values in step.texts.items():
        for name, value in values.items():
            place = _place(recipe, f"steps.{step.name}", name)
            for word in words(value):
                if word not in known:
                    wanted = word.removeprefix("params.")
                    is_named = wanted != word and is_name(wanted)
                    what = f"the recipe has no parameter {wanted}" if is_named else f"`{key}` has no ${{{word}}}"
                    yield f"{step.name}: {what} ({place})", _reference_fix(recipe, name, word, known)


def _reference_fix(recipe: Recipe, name: str, word: str, known: Sequence[str]) -> str:
    if word in RUN_WORDS:
        return f'write day = "${{{word}}}" below [parameters], and ${{params.day}} here'
    if is_output(word):
        return f'write {name} = "${{{word}}}", with nothing else in that text, in `parameters` or in `in`'
    if word.startswith("params."):
        return parameter_fix(recipe, word.removeprefix("params."))
    return did_you_mean(word, [*known, "steps.STEP.out.NAME"])


def _made_twice(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What two `out` name, or what lies in a folder that another names: of which step it is nobody could tell."""
    makers: dict[str, str] = {}
    for step in recipe.steps:
        for name, made in step.makes.items():
            others = [
                other for other in makers if _is_same(made, other) and (other != made or makers[other] != step.name)
            ]
            if others:
                where = "" if others[0] == made else f" in {others[0]}"
                place = _place(recipe, f"steps.{step.name}", name)
                yield (
                    f"{step.name}: {made} is made by {makers[others[0]]} already{where} ({place})",
                    f"call what it makes otherwise, or leave {name} out",
                )
            makers.setdefault(made, step.name)


def _is_same(made: str, other: str) -> bool:
    """Whether they are one thing, or one file lies in the other."""
    if not (is_file(made) and is_file(other)):
        return made == other
    one, two = (Path(os.path.normpath(each)) for each in (made, other))
    return one.is_relative_to(two) or two.is_relative_to(one)


def _mistakes_in(step: RecipeStep, recipe: Recipe, steps: Mapping[str, RecipeStep]) -> Iterator[tuple[str, str]]:
    notebook = read_notebook(step.notebook)
    known = notebook.schema()
    yield from _mistakes_in_code(step, notebook)
    by_name = notebook.mentioned("in")
    lacking = [name for name in (*step.parameters, *step.taken)
               if name not in known and (name in step.parameters or name not in by_name)]  # fmt: skip
    if lacking and not known.parameters:
        yield _without_parameters(step, lacking)
    else:
        for name in lacking:
            at = f" ({_place(recipe, f'steps.{step.name}', name)})" if name in step.parameters else ""
            yield f"{step.name}: {step.notebook.name} has no parameter {name!r}{at}", did_you_mean(name, known)
    if known.is_open:
        yield from ((f"{step.name}: {one.what}", one.fix) for one in known.unknown({**step.parameters, **step.taken}))
    for name, source in step.inputs.items():
        origin, _, output = source.partition(".")
        if output not in steps[origin].makes:
            first = f'write out = {{ {output or "NAME"} = "…" }} below [steps.{origin}]'
            hint = did_you_mean(output, steps[origin].makes, first)
            yield f"{step.name}: {name} takes {source!r}, and {origin} has no such output", hint
    yield from _mistakes_in_taken(step, known)
    for uri in step.outputs.values():
        Uri.parse(uri)
    for path in step.made_files.values():
        place_of(path)


def _mistakes_in_code(step: RecipeStep, notebook: Notebook) -> Iterator[tuple[str, str]]:
    """What the notebook takes by `recipe.inputs` and `recipe.outputs`, and the step has not."""
    parts: tuple[tuple[Part, Mapping[str, str]], ...] = (("in", step.taken), ("out", step.makes))
    for part, names in parts:
        for name in sorted(notebook.mentioned(part) - {*names}):
            takes = f"{step.notebook.name} takes recipe.{HANDED_BY[part]}.{name}"
            what = f"{step.name}: {takes}, and `{part}` has no such name"
            yield what, did_you_mean(name, names, f'write {part} = {{ {name} = "…" }} below [steps.{step.name}]')


def _mistakes_in_value(
    recipe: Recipe, step: RecipeStep, known: ParameterSchema, name: str
) -> Iterator[tuple[str, str]]:
    """What would otherwise be found when the steps before have run: a value that the notebook cannot take."""
    value, now = step.parameters[name], given_now(recipe)
    wanted = parameter_of(value) or ""
    given = [(f"steps.{step.name}", filled(value, meanings_of(now)))]
    if wanted:
        of_small = filled_values(recipe.small, meanings_at(recipe.schedule, time.time()))
        given = [(key, of[wanted]) for key, of in (("parameters", now), ("small", of_small)) if wanted in of]
    for header, each in given:
        try:
            known.of(name).read(each)
        except Misfit as problem:
            place = f"{_place(recipe, header, wanted or name)}; {known.place(name)}"
            found = known.of(name).problem(problem, place, "recipe", wanted or name)
            yield f"{step.name}: {found.what}", found.fix


def _mistakes_in_schedule(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What each of its runs would be missed for: values that the notebooks cannot take."""
    if (schedule := recipe.schedule) is None:
        return
    for name, value in schedule.parameters.items():
        for declared, _ in takers(recipe, name):
            try:
                declared.read(filled(value, meanings_at(schedule, schedule.calendar.next() or 0.0)))
            except Misfit as problem:
                found = declared.problem(problem, _place(recipe, "schedule", name), "recipe", name)
                yield f"[schedule]: {found.what}", found.fix
                break


def _place(recipe: Recipe, header: str, key: str) -> str:
    return f"{recipe.path.name} line {line_of(text_of(recipe.path), header, key)}"


def parameter_fix(recipe: Recipe, name: str) -> str:
    """What helps where a parameter is named that the recipe lacks."""
    return did_you_mean(name, recipe.parameters, f"write `{name} = …` below [parameters] in {recipe.path.name}")


def _without_parameters(step: RecipeStep, lacking: Sequence[str]) -> tuple[str, str]:
    what = f"{step.name}: {step.notebook.name} has no parameters, and is to be given {', '.join(lacking)}"
    lines = " and ".join(f"`{name} = …`" for name in lacking)
    where = "in JupyterLab the gear at the right, Common Tools, Cell Tags"
    return what, f"write {lines} in a cell of it, and tag the cell `parameters` ({where})"


def _mistakes_in_taken(step: RecipeStep, known: ParameterSchema) -> Iterator[tuple[str, str]]:
    for name, source in step.taken.items():
        if name in known and not takes_path(kind := known.of(name).kind):
            takes, for_it = ("files", "the path") if name in step.files else (repr(source), "its URI")
            what = f"{step.name}: {name} takes {takes}, and {step.notebook.name} has it as {kind.name}"
            several = f", or `{name}: list[str] = …` for the files" if name in step.files else ""
            yield what, f"write `{name}: str = …` for {for_it}{several}"
    for source in step.data.values():
        Uri.parse(source, "data")


def filled_recipe(recipe: Recipe, given: Mapping[str, Value]) -> Recipe:
    """The recipe with what stands for `${params.NAME}` in a run with these parameters; one that is filled as it is."""
    if recipe.is_filled:  # what a parameter holds may look like a reference, and is none
        return recipe
    return filled_with(recipe, {**given_now(recipe), **given})


def filled_with(recipe: Recipe, parameters: Mapping[str, Value]) -> Recipe:
    """The same with these parameters and no others: what their texts refer to stays as it is."""
    meanings = meanings_of(parameters)
    return replace(recipe, steps=tuple(_filled(step, meanings) for step in recipe.steps), is_filled=True)


def _filled(step: RecipeStep, meanings: Mapping[str, Value]) -> RecipeStep:
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
    return {**_stored(read), **{name: outputs[source] for name, source in {**step.inputs, **step.data}.items()}}


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
    return values


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
        yield DeclaredParameter(name, kind_like(default), default), _place(recipe, "parameters", name)


def _stored(values: Mapping[str, object]) -> dict[str, Value]:
    return {name: stored(value) for name, value in values.items()}


def _step(path: Path, name: str, table: Any) -> RecipeStep:
    where = f"{path.name} [steps.{name}]"
    if not _STEP_NAME.fullmatch(name):  # the executed notebook is called so
        raise UsageProblem(
            f"{path.name}: {name!r} cannot be the name of a step",
            "use letters, digits, '-' and '_', starting with a letter or digit, at most 63",
        )
    table = _table(path.name, table, f"steps.{name}")
    _known(where, table, STEP_KEYS)
    if not isinstance(table.get("notebook"), str):
        raise UsageProblem(f"{where} names no notebook", 'add notebook = "NAME.ipynb"')
    out = _texts(where, table.get("out", {}), "out", f"steps.{name}.out")
    expect = _table(where, table.get("expect", {}), "expect", f"steps.{name}.expect")
    return RecipeStep(
        name=name,
        notebook=_notebook(where, path.parent.parent, table["notebook"]),
        parameters={
            key: as_reference(value)
            for key, value in _stored(
                _table(where, table.get("parameters", {}), "parameters", f"steps.{name}.parameters")
            ).items()
        },
        inputs=_texts(where, table.get("in", {}), "in", f"steps.{name}.in"),
        outputs={key: text for key, text in out.items() if not is_file(text)},
        made_files={key: text for key, text in out.items() if is_file(text)},
        expect=read_expectations(where, expect, out),
        after=_list(where, table.get("after", [])),
        timeout_s=_read(where, table, "timeout", read_duration),
        retries=_retries(where, table.get("retries", 0)),
        memory_bytes=_read(where, table, "memory", read_bytes),
        **_on_failure(where, table.get("on_failure", "skip")),
        is_cached=_is_cached(where, table),
    )


def _notebook(where: str, project: Path, text: str) -> Path:
    """The file of a notebook, links followed; UsageProblem for what lies outside of the project, or can be no file."""
    fix = 'write notebook = "NAME.ipynb", of a file in the project\'s folder `notebooks`'
    try:
        found = (project / "notebooks" / text).resolve()
        is_folder = found.is_dir()
    except (OSError, ValueError, RuntimeError) as problem:  # too long, or with what no path may hold
        raise UsageProblem(f"{where}: notebook = {text[:80]!r} can be no file: {problem}", fix) from None
    own = (project / text).resolve()
    if not found.exists() and own.is_file() and own.is_relative_to((project / "notebooks").resolve()):
        inside = own.relative_to((project / "notebooks").resolve()).as_posix()
        what = f"{where}: notebook = {text!r} is looked for in the folder `notebooks`"
        raise NotFound(what, f'write notebook = "{inside}"')
    # The folder itself may be a link to where a team keeps its notebooks.
    if not any(found.is_relative_to(place.resolve()) for place in (project, project / "notebooks")):
        raise UsageProblem(f"{where}: notebook = {text!r} lies outside of the project", fix)
    if is_folder:
        raise UsageProblem(f"{where}: notebook = {text!r} is a folder", fix)
    return found


def _sorted_inputs(step: RecipeStep, steps: Mapping[str, object], defaults: Mapping[str, Value]) -> RecipeStep:
    """What stands in `in`, and in `parameters` for what a step made, by what it means.

    A step's name wins over a file's; `./NAME` is always the file. defaults: what references stand for otherwise
    """
    made, files, data = dict[str, str](), dict[str, str](), dict[str, str]()
    plain = dict(step.parameters)
    for name, value in step.parameters.items():
        if source := source_of(value):
            made[name] = source
            del plain[name]
    for name, text in step.inputs.items():
        source = source_of(text) or text
        meant = as_text(filled(source, defaults))
        is_made = meant.partition(".")[0] in steps and "/" not in meant
        where = data if Uri.is_one(meant) else made if is_made or not is_path(meant) else files
        where[name] = source
    return replace(step, parameters=plain, inputs=made, files=files, data=data)


def _texts(where: str, value: Any, key: str, header: str) -> dict[str, str]:
    table = _table(where, value, key, header)
    for name, text in table.items():
        if not isinstance(text, str) or not text:  # an empty path would mean the whole project
            raise UsageProblem(
                f"{where}: {key}.{name} must be a text, and {text!r} was given", f'write {key} = {{ {name} = "…" }}'
            )
    return table


def _list(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageProblem(f"{where}: after must be a list of steps, and {value!r} was given", 'write after = ["step"]')
    return tuple(value)


def _alert(where: str, value: Any) -> RecipeAlert | None:
    if value is None:
        return None
    table = _table(where, value, "alert")
    _known(f"{where} [alert]", table, ALERT_KEYS)
    on, to = table.get("on", list(ALERTS)), table.get("to")
    for name, texts in (("on", on), ("to", to or [])):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UsageProblem(f"{where} [alert]: {name} must be a list of texts", f'write {name} = ["…"]')
    for text in on:
        if text not in ALERTS:
            raise UsageProblem(f"{where} [alert]: nobody can hear of {text!r}", did_you_mean(text, ALERTS))
    return RecipeAlert(tuple(on), None if to is None else tuple(to))


def _schedule(where: str, value: Any, parameters: Mapping[str, Value]) -> RecipeSchedule | None:
    if value is None:
        return None
    table, where = _table(where, value, "schedule"), f"{where} [schedule]"
    _known(where, table, SCHEDULE_KEYS)
    schedule = read_schedule(where, table)
    for name in schedule.parameters:
        if name not in parameters:
            raise UsageProblem(f"{where}: the recipe has no parameter {name!r}", did_you_mean(name, parameters))
    return schedule


def _trigger(where: str, value: Any) -> RecipeTrigger | None:
    if value is None:
        return None
    table, where = _table(where, value, "trigger"), f"{where} [trigger]"
    _known(where, table, TRIGGER_KEYS)
    return read_trigger(where, table)


def _read(where: str, table: Mapping[str, Any], key: str, read: Callable[[object], T]) -> T | None:
    """A value with a unit; None where it is left out. UsageProblem with its place for what is none."""
    if key not in table:
        return None
    try:
        return read(table[key])
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: {key}: {problem.what}", problem.fix) from None


def _on_failure(where: str, value: Any) -> dict[str, Any]:
    """What it says of the others, and for how long the kernel is held."""
    if value in ON_FAILURE:
        return {"on_failure": value}
    word, _, duration = str(value).partition(" ")
    if word == HOLD:
        return {"hold_s": _read(where, {"on_failure": duration.strip()}, "on_failure", read_duration)}
    fix = did_you_mean(str(value), (*ON_FAILURE, f"{HOLD} 15m"))
    raise UsageProblem(f"{where}: on_failure cannot be {value!r}", fix)


def _is_cached(where: str, table: Mapping[str, Any]) -> bool:
    if table.get("cache", NEVER) != NEVER:
        raise UsageProblem(f"{where}: cache cannot be {table['cache']!r}", f'write cache = "{NEVER}", or leave it out')
    return "cache" not in table


def _retries(where: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_RETRIES:
        what = f"{where}: retries must be a whole number from 0 to {MOST_RETRIES}, and {value!r} was given"
        raise UsageProblem(what, "write retries = 2")
    return value


def _known(where: str, table: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    for key in table:
        if key not in keys:
            raise UsageProblem(f"{where} has an unknown key {key!r}", did_you_mean(key, keys))


def _table(where: str, value: Any, key: str, header: str = "") -> dict[str, Any]:
    """header: of the table in the file, where that is not its key alone"""
    if not isinstance(value, dict):
        raise UsageProblem(f"{where}: {key} must be a table", f"write [{header or key}] and what belongs to it below")
    return value
