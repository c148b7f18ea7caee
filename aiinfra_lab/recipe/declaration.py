"""Reading `recipes/NAME.toml`: every mistake in it is found before a kernel exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

from ..config import settings
from ..errors import Denied, Failed, LabError, NotFound, UsageProblem, did_you_mean, nearest
from ..units import read_bytes, read_duration
from ..uris import Uri, split_label
from .base import ALERTS, HOLD, NEVER, ON_FAILURE, Recipe, RecipeAlert, RecipeStep, Value, is_file
from .budget import read_budget
from .expectations import read_expectations
from .keys import ALERT_KEYS, MOST_RETRIES, RECIPE_KEYS, STEP_KEYS, STEP_NAME
from .lines import text_of
from .matrix import mentions, read_matrix, refuse_given, usual_meanings
from .mistakes import mistakes
from .parameters import as_text, stored
from .references import as_reference, filled, meanings_of, source_of, words
from .schedule.deciding import RecipeSchedule, RecipeTrigger
from .schedule.declared import KEYS as SCHEDULE_KEYS
from .schedule.declared import read_schedule
from .schedule.triggers import KEYS as TRIGGER_KEYS
from .schedule.triggers import read_trigger
from .spelling import refuse_misspelt
from .step_order import ordered
from .taken import is_path

T = TypeVar("T")

# What TOML takes for a key of the table above it, or of none, belongs there.
_TABLES: Mapping[str, Mapping[str, str]] = {
    "above the tables": RECIPE_KEYS,
    "below [alert]": ALERT_KEYS,
    "below [schedule]": SCHEDULE_KEYS,
    "below [steps.NAME]": STEP_KEYS,
    "below [trigger]": TRIGGER_KEYS,
}
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


def refuse_other(name: object, verb: str) -> None:
    """UsageProblem where a step, a notebook or a file is named in place of a recipe, with the command for it."""
    if not isinstance(name, str) or name in names():
        return
    path, (label, _, step) = PurePath(name), name.partition("/")
    bare = split_label(label)[0]
    if path.suffix == ".ipynb":
        uses = ((recipe, step) for recipe in map(find, names()) if recipe for step in recipe.steps)
        found = next(((recipe.name, step.name) for recipe, step in uses if step.notebook.name == path.name), None)
        if not found:
            raise UsageProblem(f"{name!r} is a notebook, and no recipe has it as a step", _first_step(path, verb))
        raise UsageProblem(f"{name!r} is a notebook, a step of the recipe {found[0]}", _meant(verb, *found))
    if path.suffix == ".toml" and path.stem in names():
        raise UsageProblem(f"{name!r} is the file of a recipe, which is named without", _meant(verb, path.stem))
    if step and bare in names():
        raise UsageProblem(f"{name!r} is a step of a recipe", _meant(verb, bare, step))


def _meant(verb: str, recipe: str, step: str = "") -> str:
    return f"`%recipe run {recipe} --only {step}`" if step and verb == "run" else f"`%recipe {verb} {recipe}`"


def _first_step(path: PurePath, verb: str) -> str:
    """How a notebook becomes the step of a recipe."""
    called = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "mine"
    file = path.as_posix().removeprefix("./").removeprefix("notebooks/")
    return f'write [steps.{called}] and notebook = "{file}" into recipes/{called}.toml, then `%recipe {verb} {called}`'


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
    except UnicodeDecodeError as problem:
        raise UsageProblem(f"{path.name} is not UTF-8: {problem}", "store it with the encoding UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageProblem(f"{path.name} is not valid TOML: {problem}", _toml_fix(str(problem))) from None
    except OSError as problem:
        raise Denied(f"{path} cannot be read: {problem.strerror}", "make it readable, or take it away") from None
    _known(path.name, table, RECIPE_KEYS)
    refuse_misspelt(path, table)
    tables = _table(path.name, table.get("steps", {}), "steps", "steps.NAME")
    parameters, small = (_stored(_table(path.name, table.get(key, {}), key)) for key in ("parameters", "small"))
    defaults = meanings_of(parameters)
    read_steps = (_step(path, key, value) for key, value in tables.items())
    steps = {
        step.name: _sorted_inputs(step, tables, {**defaults, **usual_meanings(step, defaults)}) for step in read_steps
    }
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


def _toml_fix(problem: str) -> str:
    is_inline = problem.startswith(("Unclosed inline table", "Invalid initial character for a key"))
    more = (
        ": `in = { … }` stands on one line, with no comma behind its last; or write [steps.NAME.in] and a line for each"
    )
    return f"correct that line{more if is_inline else ''}"


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
    matrix = read_matrix(where, table.get("matrix", {}))
    parameters = _table(where, table.get("parameters", {}), "parameters", f"steps.{name}.parameters")
    taken = _texts(where, table.get("in", {}), "in", f"steps.{name}.in")
    refuse_given(where, matrix, {"parameters": parameters, "in": taken})
    expect = _table(where, table.get("expect", {}), "expect", f"steps.{name}.expect")
    return RecipeStep(
        name=name,
        notebook=_notebook(where, path.parent.parent, table["notebook"]),
        parameters={
            **{key: f"${{matrix.{key}}}" for key in matrix if key not in mentions([parameters, taken])},
            **{key: as_reference(value) for key, value in _stored(parameters).items()},
        },
        inputs=taken,
        outputs={key: text for key, text in out.items() if not is_file(text)},
        made_files={key: text for key, text in out.items() if is_file(text)},
        expect=read_expectations(where, expect, out),
        after=_list(where, table.get("after", [])),
        timeout_s=_read(where, table, "timeout", read_duration),
        retries=_retries(where, table.get("retries", 0)),
        memory_bytes=_read(where, table, "memory", read_bytes),
        **_on_failure(where, table.get("on_failure", "skip")),
        is_cached=_is_cached(where, table),
        matrix=matrix,
        on=_on(where, table.get("on", "")),
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
        # A reference to what is not there is no step's name either: `mistakes` names it.
        is_files = is_path(meant) or any(words(meant))
        where = data if Uri.is_one(meant) else made if is_made or not is_files else files
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
            one = texts if isinstance(texts, str) and texts else "…"
            raise UsageProblem(f"{where} [alert]: {name} must be a list of texts", f'write {name} = ["{one}"]')
    for text in on:
        if text not in ALERTS:
            raise UsageProblem(f"{where} [alert]: nobody can hear of {text!r}", did_you_mean(text, ALERTS))
    return RecipeAlert(tuple(on), None if to is None else tuple(to))


def _schedule(where: str, value: Any, parameters: Mapping[str, Value]) -> RecipeSchedule | None:
    if value is None:
        return None
    table, file_name, where = _table(where, value, "schedule"), where, f"{where} [schedule]"
    _known(where, table, SCHEDULE_KEYS)
    schedule = read_schedule(where, table)
    for name in schedule.parameters:
        if name not in parameters:
            first = f"write `{name} = …` below [parameters] in {file_name}"
            raise UsageProblem(f"{where}: the recipe has no parameter {name!r}", did_you_mean(name, parameters, first))
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
    fix = did_you_mean(str(value), (*ON_FAILURE, f"{HOLD} 15m"))
    if word == HOLD:
        try:
            return {"hold_s": read_duration(duration.strip())}
        except UsageProblem:
            fix = f'write on_failure = "{HOLD} 15m"'
    raise UsageProblem(f"{where}: on_failure cannot be {value!r}", fix)


def _on(where: str, value: Any) -> str:
    if not isinstance(value, str) or (Uri.is_one(value) and not Uri.is_one(value, "gpu")):
        what = f"{where}: on must be a session, a pool or an executor, and {value!r} was given"
        raise UsageProblem(
            what, 'write on = "gpu:NAME"; `%gpu start NAME` starts a session, `%gpu start NAME --max 4` a pool'
        )
    return value


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
            near = nearest(key, keys)
            homes = [header for header, own in _TABLES.items() if key in own and not near]
            fix = f"write {key} {homes[0]}" if len(homes) == 1 else did_you_mean(key, keys)
            raise UsageProblem(f"{where} has an unknown key {key!r}", fix)


def _table(where: str, value: Any, key: str, header: str = "") -> dict[str, Any]:
    """header: of the table in the file, where that is not its key alone"""
    if not isinstance(value, dict):
        raise UsageProblem(f"{where}: {key} must be a table", f"write [{header or key}] and what belongs to it below")
    return value
