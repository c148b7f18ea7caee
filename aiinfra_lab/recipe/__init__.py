"""Notebooks as pipelines: the files that JupyterLab edits are what runs, and what did not change is not run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated

from .. import jobs
from ..errors import Failed, NotFound, StoppedEarly, Unavailable
from ..providers import make
from ..resolve import resolve
from ..show import Listing, in_notebook
from ..store import open_store
from ..uris import Uri
from ..verbs import KEPT, Choices, Live, Name, Params, Suggested, verb
from . import declaration, history, inputs, outputs, started
from .base import FAILED, Recipe
from .findings import failure, finding
from .history import KIND
from .noun import NOUN
from .parameters import Range, Secret, as_text, controls
from .plan import Planner, build_plan
from .plan_result import RecipePlan, recipe_plan
from .progress import shown_while
from .record import RunRecord
from .results import Made, RecipeInfo, RecipeRun, recipe_run
from .run_card import again
from .runner import RecipeRunner

__all__ = ["Made", "Range", "RecipeInfo", "RecipePlan", "RecipeRun", "Secret", "check", "controls", "get", "log", "ls",
           "run", "show", "stop"]  # fmt: skip

RecipeName = Annotated[Name, Choices(declaration.names)]
RunName = Annotated[Name, Live(KIND)]


def _parameters(typed: Mapping[str, str]) -> Iterator[str]:
    """`name=value` of each parameter: its default, and whatever else it may be where that is a list."""
    name = Uri.parse(typed.get("name", ""), KIND).name
    declared = declaration.find(name)
    for key, value in declaration.parameters(name).items():
        yield f"{key}={as_text(value)}"
        taker = next(declaration.takers(declared, key), None) if declared else None
        yield from (f"{key}={each}" for each in (taker[0].choices if taker else ()))


def _outputs(typed: Mapping[str, str]) -> list[str]:
    return _makes(declaration.read(typed.get("name", "")))


@verb("recipe", declaration.keys_help)
def ls() -> Listing:
    """List the project's recipes with the state of their newest run.

    Example:
        %recipe ls
    """
    count = Counter(record.base for record in open_store().list(RunRecord, skip_unreadable=True))
    items = tuple(_info(name, count[name]) for name in declaration.names())
    empty = f"put a NAME.toml into {declaration.folder()}"
    return Listing("recipe:recipes", items, ("uri", "title", "state", "runs"), empty, title="Recipes")


@verb("recipe")
def show(name: RunName) -> RecipeInfo | RecipeRun:
    """Show a recipe, or one of its runs (NAME@N).

    name: the recipe, or one of its runs

    Example:
        %recipe show flight-delays
    """
    uri = Uri.parse(name, KIND)
    return _run(uri) if uri.tag else _info(uri.name)


@verb("recipe", declaration.keys_help)
def check(name: RecipeName, *, fix: bool = False, report: bool = False) -> RecipeInfo:
    """Check a recipe without running it: its keys, steps, references and files, and the code of its notebooks.

    Whether they would run where nobody looks: names that nothing defines, secrets, paths of one machine, what is not
    installed, lines that the toolkit refuses. docs/lint.md has every rule, and how a comment silences one.

    name: the recipe
    fix: first make those edits in its notebooks that change nothing of what they do
    report: return what was found in the notebooks instead of raising

    Example:
        %recipe check flight-delays
    """
    from .lint import fix_notebook, lint, lint_notebook  # here, since no other verb needs the rules

    recipe = Uri.parse(name, KIND).name
    fixed = sum(fix_notebook(path, lint_notebook(path)) for path in declaration.notebooks(recipe)) if fix else 0
    declared = declaration.read(recipe)
    inputs.pinned(declared)
    found = lint(declared)
    if not report and (problem := failure(recipe, found)):
        raise problem
    return replace(_info(recipe), findings=tuple(map(finding, found)), fixed=fixed)


@verb("recipe", declaration.keys_help)
def run(
    name: RecipeName,
    *,
    param: Annotated[Params, KEPT, Suggested(_parameters)] = {},  # noqa: B006  # never changed
    keep: bool = True,
    force: bool = False,
    report: bool = False,
    dry: bool = False,
) -> RecipeRun | RecipePlan:
    """Run a recipe; steps that did not change are skipped, and a failed step stops those that need it.

    A step changes with its notebook's code, its parameters, the content of what its `in` names (a step's output, files
    of the project or data), the modules of the project that it imports, the files that it was seen to open, the
    packages that are installed, and the accelerator. Comments, layout and texts between the cells do not count, and a
    step before it that made the same again is no reason either. Of one recipe one run goes on at a time.

    name: the recipe; or one of its runs (NAME@N), for its parameters once more
    param: a parameter of the recipe
    keep: leave running the sessions and endpoints that the recipe started, however the run ends; --no-keep ends them
    force: run every step, changed or not
    report: return a run that failed instead of raising
    dry: say what would run, and why, and run nothing

    Example:
        %recipe run flight-delays -p epochs=2
    """
    uri = Uri.parse(name, KIND)
    recipe = declaration.read(uri.name)
    before = resolve(uri, RunRecord).body.parameters if uri.tag else {}
    given = declaration.given_values(recipe, {**before, **param})
    if dry:
        recent = history.runs(recipe.name, history.RECENT)
        planner = Planner(recipe, given, inputs.pinned(recipe), recent, force=force, alive=keep)
        return recipe_plan(recipe, given, build_plan(planner, recipe.steps))
    runner = RecipeRunner(recipe, given, make("recipe.executor"), keep=keep, force=force)
    done = shown_while(runner.go, recipe, recipe.title, is_report=report)
    if done.state != "done" and not report:
        raise _failure(done, again(done.uri, given))
    return done


@verb("recipe")
def get(name: RecipeName, uri: Annotated[Name, Suggested(_outputs)]) -> Made:
    """Hand over something that a recipe makes; when there is none yet, make a small one first and say so.

    What the steps before have made is taken where it is there: of a model its champion, of all else the newest.

    With this a step's notebook also passes alone: in a pipeline its input is there and nothing happens.

    name: the recipe
    uri: what is wanted, e.g. data:flights or models:delay@3

    Example:
        %recipe get flight-delays data:flights
    """
    wanted = Uri.parse(uri)
    if found := outputs.newest(wanted):
        return Made(found, found, "")
    recipe = declaration.read(Uri.parse(name, KIND).name)
    part = recipe.leading_to(str(wanted.bare))
    # Where there is none yet, what is made now becomes version 1.
    if part is None or wanted.version not in (None, 1):
        raise NotFound(f"there is no {wanted}", f"the recipe {recipe.name} makes: {', '.join(_makes(recipe))}")
    made = {uri for step in part.steps for uri in step.outputs.values()}
    there = {uri: found for uri in made if (found := outputs.standing(uri))}
    part = part.from_what_is_there(there)
    runner = RecipeRunner(part, dict(recipe.small), make("recipe.executor"), keep=True, force=False)
    done = shown_while(runner.go, part, f"{recipe.title} (small, up to {wanted})")
    if done.state != "done":
        raise _failure(done, f"`%recipe get {recipe.name} {wanted}`")
    found = outputs.newest(wanted) or str(wanted)
    taken = sorted({source for step in part.steps for source in step.data.values()} & {*there.values()})
    small = ", ".join(
        [*(f"of {source}" for source in taken), *(f"{key}={value}" for key, value in recipe.small.items())]
    )
    return Made(found, found, f"there was no {wanted}: a small one was made by {done.uri} ({small})")


@verb("recipe")
def stop(name: RunName) -> RecipeRun:
    """Stop a running recipe: the cell that runs is interrupted, and no further step begins. One that is over stays so.

    What was to end with a run (--no-keep) whose process vanished is ended now.

    name: the recipe, or one of its runs

    Example:
        %recipe stop flight-delays
    """
    uri = Uri.parse(name, KIND)
    # The recipe's name alone means the run that goes on, which need not be the newest by the time it is shown.
    if going := jobs.ls(str(uri), live=True):
        NOUN.stop(going[0].subject)
        uri = Uri.parse(going[0].subject)
    else:
        _end_leftovers(uri)
    return _run(uri)


@verb("recipe")
def log(name: RecipeName) -> Listing:
    """List a recipe's runs, newest first.

    name: the recipe

    Example:
        %recipe log flight-delays
    """
    uri = Uri.parse(name, KIND).bare
    runs = history.observe(history.runs(uri.name))
    if not runs and uri.name not in declaration.names():
        resolve(uri, RunRecord)  # says that there is none, and which there are
    title = declaration.title(uri.name)
    items = tuple(recipe_run(run, title) for run in runs)
    header = ("uri", "state", "started_at", "duration_s")
    return Listing(str(uri), items, header, "it has not run yet", title="Runs", of=str(uri))


def _failure(done: RecipeRun, again: str) -> Failed:
    """The error for a run that did not come to its end; `again` is the command that goes on with it.

    In a notebook the run's card stands above it, and says what a step's error was.
    """
    ended = [(name, step) for name, step in done.steps.items() if step["state"] == done.state]
    if done.state == "stopped":
        where = f" at {ended[0][0]}" if ended else ""
        return StoppedEarly(
            f"{done.uri} was stopped{where}", f"{again} goes on from there: unchanged steps are skipped"
        )
    name, step = ended[0]
    error, _, fix = step["error"].partition("\n  fix: ")  # one of ours brings its own
    cell = f" in cell {step['cell']}" if step["cell"] is not None else ""
    what = f"{done.uri}: step {name} {FAILED.get(done.state, done.state)}{cell}" + (
        f": {error}" if error and not in_notebook() else ""
    )
    # A step whose files vanished on the way has none.
    archive = step["archive"] or done.archive
    do = "; ".join(filter(None, (fix, f"see {archive}" if archive else "", "correct the notebook" if archive else "")))
    return Failed(what, f"{do}, then {again}: what succeeded is skipped")


def _end_leftovers(uri: Uri) -> None:
    """End what these runs were to end before they vanished. Unavailable when something of it lives on."""
    left = [run.record.uri for run in history.observe(history.runs(uri.name)) if run.record.body.may_leave_things]
    mine = [run for run in left if Uri.covers(str(uri), run)]
    if mine and (still_live := started.end(*mine)):
        stops = ", ".join(f"`%{each.noun} stop {each.label}`" for each in map(Uri.parse, still_live))
        raise Unavailable(f"{', '.join(still_live)} cannot be ended", f"{stops} says why")


def _makes(recipe: Recipe) -> list[str]:
    return [uri for step in recipe.steps for uri in step.outputs.values()]


def _info(name: str, runs: int | None = None) -> RecipeInfo:
    """A recipe. runs: how many it has, for a list, which needs no more of its newest run than the state."""
    recipe = declaration.read(name)
    newest = history.newest(name)
    run = recipe_run(newest, recipe.title, recipe) if newest and runs is None else None
    steps = tuple(f"{step.name} ({step.notebook.name})" for step in recipe.steps)
    count = history.count(name) if runs is None else runs
    return RecipeInfo(
        uri=str(Uri(KIND, name)),
        title=recipe.title,
        state=history.state_of(newest),
        parameters=dict(recipe.parameters),
        steps=steps,
        runs=count,
        declared=recipe,
        newest=newest.record.uri if newest else "",
        run=run,
    )


def _run(uri: Uri) -> RecipeRun:
    """The run that a URI means; without a version the newest."""
    (observed,) = history.observe([resolve(uri, RunRecord)])
    declared = declaration.find(uri.name)
    return recipe_run(observed, declared.title if declared else uri.name, declared)
