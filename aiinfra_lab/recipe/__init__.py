"""Notebooks as pipelines: the files that JupyterLab edits are what runs, and what did not change is not run again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from ..config import settings
from ..errors import Failed, LabError, NotFound, StoppedEarly, Unavailable, UsageProblem
from ..providers import make
from ..resolve import resolve
from ..secrets import redactor
from ..show import Listing, in_notebook
from ..store import open_store
from ..uris import Uri
from ..verbs import KEPT, Choices, Destination, Live, Name, Params, Suggested, verb
from . import alerting, budget, declaration, filling, history, holding, made_things, makers, started, taken
from .base import ENDED_EARLY, FAILED, Recipe, Value, is_file
from .diff import RunDifference, compare_runs
from .exported import ExportedRecipe
from .findings import failure, finding
from .handed import HandedOver
from .history import KIND
from .keys import keys_help
from .noun import NOUN
from .parameters import ComputedParameter, Range, Secret, as_text, controls
from .parts import only_step, standing
from .plan import Planner, build_plan
from .plan_result import RecipePlan, recipe_plan
from .progress import shown_while
from .record import RunRecord
from .results import UNREADABLE, Made, RecipeInfo, RecipeRun, columns, recipe_run
from .run_card import again, held_until, resume_command
from .runner import RecipeRunner
from .schedule import keeping
from .schedule.record import ScheduleRecord
from .step_output import RunOutput, StepOutput, run_output, step_output, written

__all__ = [
    "ExportedRecipe", "Made", "Range", "RecipeInfo", "RecipePlan", "RecipeRun", "RunDifference", "RunOutput", "Secret",
    "StepOutput", "check", "controls", "diff", "export", "get", "inputs", "log", "ls", "outputs", "run", "show",
    "start", "stop",
]  # fmt: skip

inputs, outputs = HandedOver("in"), HandedOver("out")
"""What `in` and `out` of a step name, for its notebook."""

RecipeName = Annotated[Name, Choices(declaration.names)]
RunName = Annotated[Name, Live(KIND)]


def _parameters(typed: Mapping[str, str]) -> Iterator[str]:
    """`name=value` of each parameter: its default, and whatever else it may be where that is a list."""
    name = Uri.parse(typed.get("name", ""), KIND).name
    declared = declaration.find(name)
    for key, value in (filling.given_now(declared) if declared else declaration.parameters(name)).items():
        yield f"{key}={as_text(value)}"
        taker = next(filling.takers(declared, key), None) if declared else None
        yield from (f"{key}={each}" for each in (taker[0].choices if taker else ()))


def _outputs(typed: Mapping[str, str]) -> list[str]:
    return _makes(declaration.read(typed.get("name", "")))


def _steps(typed: Mapping[str, str]) -> list[str]:
    steps = filling.filled_recipe(declaration.read(typed.get("name", "")), {}).steps
    return list(dict.fromkeys(each for step in steps for each in (step.declared_name, step.name)))


def _forms() -> list[str]:
    from .exports import FORMS

    return sorted(FORMS)


@verb("recipe", keys_help)
def ls() -> Listing:
    """List the project's recipes with the state of their newest run.

    Example:
        %recipe ls
    """
    count = Counter(record.base for record in open_store().list(RunRecord, skip_unreadable=True))
    # A schedule is kept, and says its trouble, also while its recipe's file is away.
    names = dict.fromkeys([*declaration.names(), *keeping.kept_names()])
    items = tuple(_as_it_is(name, count[name]) for name in names)
    empty = f"put a NAME.toml into {declaration.folder()}"
    return Listing("recipe:recipes", items, columns(items), empty, title="Recipes")


@verb("recipe")
def show(name: RunName) -> RecipeInfo | RecipeRun:
    """Show a recipe, or one of its runs (NAME@N).

    name: the recipe, or one of its runs

    Example:
        %recipe show flight-delays
    """
    if isinstance(name, str) and "/" in name and re.split("[@/]", name)[0] in declaration.names():
        raise UsageProblem(f"{name!r} is a step", f"`%recipe log {name}` is what it has put out")
    uri = Uri.parse(name, KIND)
    if uri.tag:
        return _run(uri)
    recipe = declaration.read(uri.name)
    return replace(_info(recipe), notes=tuple(budget.notes(recipe)))


@verb("recipe", keys_help)
def check(
    name: RecipeName,
    *,
    param: Annotated[Params, Suggested(_parameters, is_closed=True)] = {},  # noqa: B006  # never changed
    fix: bool = False,
    report: bool = False,
) -> RecipeInfo:
    """Check a recipe without running it: its keys, steps, references and files, and the code of its notebooks.

    Whether they would run where nobody looks: names that nothing defines, secrets, paths of one machine, what is not
    installed, lines that the toolkit refuses. docs/lint.md has every rule, and how a comment silences one.

    name: the recipe
    param: a parameter of the recipe, as a run would be given it
    fix: first make those edits in its notebooks that change nothing of what they do
    report: return what was found in the notebooks instead of raising

    Example:
        %recipe check flight-delays
    """
    from .lint import DerivedParameter, fix_notebook, lint, lint_notebook  # here, since no other verb needs the rules

    declaration.refuse_other(name, "check")
    recipe = Uri.parse(name, KIND).name
    fixed = sum(fix_notebook(path, lint_notebook(path)) for path in declaration.notebooks(recipe)) if fix else 0
    given: dict[str, Value] = {}
    notes: tuple[str, ...] = ()
    try:
        declared = declaration.read(recipe)
        given = filling.given_values(declared, param)
        filled = makers.checked(declared, given)
        alerting.check_destinations(declared)
        notes = (
            *makers.absent(declared, filled),
            *filling.untaken(declared),
            *alerting.unset(declared),
            *budget.notes(declared),
        )
        found = lint(replace(declared, parameters={**declared.parameters, **given}))
    except ComputedParameter as unread:  # what else is wrong in the notebooks is of use all the same
        found = [each for path in declaration.notebooks(recipe) for each in lint_notebook(path)]
        if not report:
            is_named = any(each.code == DerivedParameter.code for each in found)
            raise (failure(recipe, found) if is_named else None) or unread from None
    if not report and (problem := failure(recipe, found)):
        raise problem
    checked = _as_it_is(recipe)
    parameters = {**checked.parameters, **{name: given[name] for name in param if name in given}}
    return replace(checked, parameters=parameters, findings=tuple(map(finding, found)), fixed=fixed, notes=notes)


@verb("recipe", keys_help)
def run(
    name: RecipeName,
    *,
    param: Annotated[Params, KEPT, Suggested(_parameters, is_closed=True)] = {},  # noqa: B006  # never changed
    keep: bool = True,
    force: bool = False,
    report: bool = False,
    dry: bool = False,
    wait: bool = True,
    only: Annotated[str, Suggested(_steps)] | None = None,
    resume: bool = False,
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
    wait: --no-wait leaves it to a process of its own, which goes on when the notebook or the terminal is closed
    only: one step alone, with what the steps before it made last; it is skipped as in a run of all
    resume: go on with the newest run, which failed: at the cell that failed, corrected meanwhile, in its kernel where
        `on_failure = "hold 15m"` of the step holds it, and else with the step

    Example:
        %recipe run flight-delays -p epochs=2
    """
    declaration.refuse_other(name, "run")
    uri = Uri.parse(name, KIND)
    recipe = declaration.read(uri.name)
    if resume and only:
        raise UsageProblem("--resume goes on with all of a run", "leave out --only, or --resume")
    resumed = history.to_resume(uri) if resume else ""
    before = resolve(resumed or uri, RunRecord).body.parameters if uri.tag or resumed else {}
    given = filling.given_values(recipe, {**before, **param})
    recipe = makers.checked(recipe, given)
    recipe = only_step(recipe, only) if only else recipe
    if dry:
        seen = history.observe(history.recent(recipe.name), is_dry=True)
        held = holding.held(recipe.name) if resumed else {}
        planner = Planner(taken.pinned(recipe), [each.record for each in seen], force=force, alive=keep, held=held)
        asked = {"--force": force, f"--only {only}": only, "--no-keep": not keep, "--resume": resume}
        flags = [flag for flag, is_given in asked.items() if is_given]
        going = [each.record.uri for each in seen if each.job]
        return recipe_plan(recipe, given, build_plan(planner, recipe.steps), flags, going)
    runner = RecipeRunner(recipe, given, make("recipe.executor"), keep=keep, force=force, resumes=resumed)
    if not wait:
        return _run(Uri.parse(runner.begin(only=only or "").uri))
    done = shown_while(runner.go, recipe, recipe.title, is_report=report)
    if done.state != "done" and not report:
        repeat = again(done.uri, redactor().clean_value(dict(given)))
        raise _failure(done, f"{repeat[:-1]} --only {only}`" if only else repeat, resume_command(done.uri, done.steps))
    return done


@verb("recipe")
def get(
    name: RecipeName, uri: Annotated[Name, Suggested(_outputs)] | None = None, *, into: Destination | None = None
) -> Made | StepOutput:
    """Hand over a thing that a recipe makes, no file; when there is none yet, make a small one first and say so.

    What the steps before have made is taken where it is there: of a model its champion, of all else the newest.

    With this a step's notebook also passes alone: in a pipeline its input is there and nothing happens.

    name: the recipe; or a step of a run of it, NAME@N/STEP, for its executed notebook
    uri: what is wanted, e.g. data:flights or models:delay@3
    into: the file into which that executed notebook is written

    Example:
        %recipe get flight-delays data:flights
    """
    if isinstance(name, str) and "/" in name:
        return _executed(name, uri, into)
    if uri is None or into is not None:
        what = "it is not given what is wanted" if uri is None else "--into is for an executed notebook"
        example = f"%recipe get {Uri.parse(name, KIND).name}"
        raise UsageProblem(what, f"e.g. `{example} data:flights`, or `{example}@1/STEP --into FILE.ipynb`")
    wanted = _thing_of(Uri.parse(name, KIND).name, uri)
    if found := made_things.newest(wanted):
        return Made(found, found, "")
    recipe = declaration.read(Uri.parse(name, KIND).name)
    given = filling.given_values(recipe, recipe.small)
    recipe = makers.checked(recipe, given)
    part = recipe.leading_to(str(wanted.bare))
    # Where there is none yet, what is made now becomes version 1.
    if part is None or wanted.version not in (None, 1):
        things = ", ".join(_makes(recipe))
        makes = f": {things}" if things else f" files: `%recipe run {recipe.name}` writes them"
        raise NotFound(f"there is no {wanted}", f"the recipe {recipe.name} makes{makes}")
    # What several combinations of a matrix make versions of, one version does not stand for.
    made = Counter(each for step in part.steps for each in {*step.makes.values()})
    there = {each: found for step in part.steps for each in step.makes.values()
             if made[each] == 1 and (found := standing(recipe.name, step.name, each))}  # fmt: skip
    part = part.from_what_is_there(there)
    runner = RecipeRunner(part, given, make("recipe.executor"), keep=True, force=False)
    done = shown_while(runner.go, part, f"{recipe.title} (small, up to {wanted})")
    if done.state != "done":
        raise _failure(done, f"`%recipe get {recipe.name} {wanted}`")
    found = made_things.newest(wanted) or str(wanted)
    old = sorted({source for step in part.steps for source in step.data.values()} & {*there.values()})
    small = ", ".join([*(f"of {source}" for source in old), *(f"{key}={value}" for key, value in recipe.small.items())])
    return Made(found, found, f"there was no {wanted}: a small one was made by {done.uri} ({small})")


@verb("recipe", keys_help)
def start(name: RecipeName, *, since: str | None = None) -> RecipeInfo:
    """Keep a recipe's [schedule]: from now on it runs at its times, until `recipe stop` pauses that.

    It is kept by the workspace's supervisor, also when no notebook is open; infra/systemd has it start with the
    machine. Of the times that pass while the machine is off, `catch_up` in [schedule] says which run later.

    name: the recipe
    since: a day that is over, as 2026-04-01: all times since then run first, one after the other

    Example:
        %recipe start flight-delays
    """
    recipe = declaration.read(Uri.parse(name, KIND).name)
    keeping.start(recipe, since)
    return _info(recipe)


@verb("recipe")
def stop(name: RunName) -> RecipeRun | RecipeInfo:
    """Stop a running recipe: the cell that runs is interrupted, and no further step begins. One that is over stays so.

    Of a recipe whose schedule is kept that is paused too; of one of its runs, NAME@N, nothing else is. What was to end
    with a run (--no-keep) whose process vanished is ended now, and so is a kernel that is held after a failure.

    name: the recipe, or one of its runs

    Example:
        %recipe stop flight-delays
    """
    uri = Uri.parse(name, KIND)
    is_paused = not uri.tag and keeping.pause(uri.name)
    # The recipe's name alone means the run that goes on, which need not be the newest by the time it is shown.
    if going := history.going(str(uri)):
        NOUN.stop(going[0].subject)
        uri = Uri.parse(going[0].subject)
    else:
        history.observe(history.runs(uri.name, history.RECENT))  # one that vanished is over
        history.complete_held(uri.name)
        holding.end_all(uri.name)
        _end_leftovers(uri)
    never_ran = not uri.tag and history.newest(uri.name) is None
    # Its file may have been edited since it was scheduled, or be gone.
    if (is_paused and not uri.tag) or (never_ran and open_store().get(ScheduleRecord, uri.name)):
        return _as_it_is(uri.name)
    if never_ran and uri.name in declaration.names():
        raise NotFound(f"{uri} is not scheduled, and nothing of it has run yet", NOUN.first(uri.name))
    return _run(uri)


@verb("recipe")
def diff(run: RunName, other: RunName) -> RunDifference:
    """Compare two runs by meaning: parameters, why steps differ, metrics of what they made, and outputs of cells.

    What differs each time does not count: times, addresses, process numbers, progress bars, the pieces of a stream.

    run: the earlier run, NAME@N; a recipe's name is its newest
    other: the later one

    Example:
        %recipe diff flight-delays@1 flight-delays@2
    """
    one, two = (history.completed(history.recorded_run(Uri.parse(each, KIND))) for each in (run, other))
    return compare_runs(one, two)


@verb("recipe")
def log(name: RunName) -> Listing | RunOutput | StepOutput:
    """List a recipe's runs, newest first; or show what a run has put out: NAME@N, or NAME@N/STEP for one step.

    name: the recipe; NAME@N for the output of that run, with /STEP of that step, of the newest run or of NAME@N

    Example:
        %recipe log flight-delays
    """
    if isinstance(name, str) and "/" in name:
        label, _, step = name.partition("/")
        return step_output(label, step)
    asked = Uri.parse(name, KIND)
    if asked.version is not None or asked.alias is not None:  # of which runs have none: that is refused
        return run_output(asked)
    uri = asked.bare
    runs = history.observe(history.all_runs(uri.name))
    if not runs and uri.name not in declaration.names():
        resolve(uri, RunRecord)  # says that there is none, and which there are
    title = declaration.title(uri.name)
    items = tuple(recipe_run(run, title) for run in runs)
    header = ("uri", "state", "started_at", "duration_s")
    return Listing(str(uri), items, header, "it has not run yet", title="Runs", of=str(uri))


@verb("recipe")
def export(
    name: RecipeName,
    *,
    to: Annotated[str, Choices(_forms)],
    cron: str | None = None,
    tz: str = "UTC",
    image: str = "",
    param: Annotated[Params, Suggested(_parameters, is_closed=True)] = {},  # noqa: B006  # never changed
    into: Destination | None = None,
    check: bool = False,
    force: bool = False,
) -> ExportedRecipe:
    """Write a recipe for another scheduler: the same recipe, whose commands are `aiinfra recipe run`.

    Files that nobody edited are written anew; nothing else is overwritten without --force.

    name: the recipe
    to: the scheduler
    cron: when it is to run, e.g. "0 3 * * *"; the recipe's own [schedule] where it is left out
    tz: the time zone of --cron
    image: of a container with the project, for schedulers that run one; `--to container` writes what it is built from
    param: a parameter of the recipe, for each run
    into: the folder for the files, the project's own as they are meant; without, the main one is shown
    check: write nothing, and fail where a file in --into, or else in the project, is not what the recipe gives now
    force: overwrite files that were edited by hand

    Example:
        %recipe export flight-delays --to github --into .
    """
    from .exports.exporting import ExportRequest

    recipe = declaration.read(Uri.parse(name, KIND).name)
    makers.checked(recipe, filling.given_values(recipe, param))  # for its errors
    request = ExportRequest(recipe, to, cron, tz, image, {key: str(value) for key, value in param.items()})
    done = request.render()
    where = Path(into) if into else settings().project if check else None
    if check and where:
        request.compare(done, where)
    elif where:
        request.write(done, where, force=force)
    return request.result(done, where)


def _executed(name: str, uri: Name | None, into: Destination | None) -> StepOutput:
    label, _, step = name.partition("/")
    if into is None or uri is not None:
        raise UsageProblem(f"{name} is an executed notebook", f"`%recipe get {name} --into FILE.ipynb`")
    return written(label, step, Path(into))


def _failure(done: RecipeRun, again: str, at_the_cell: str = "") -> Failed:
    """The error for a run that did not come to its end; `again` is the command that goes on with it, and at_the_cell
    that which does so at the cell that failed, where its kernel is held.

    In a notebook the run's card stands above it, and says what a step's error was.
    """
    ended = [(name, step) for name, step in done.steps.items() if step["state"] == done.state]
    if done.state in ENDED_EARLY:
        where = f" at {ended[0][0]}" if ended else ""
        return StoppedEarly(
            f"{done.uri} was {done.state}{where}", f"{again} goes on from there: unchanged steps are skipped"
        )
    if done.error:
        error, _, fix = done.error.partition("\n  fix: ")
        return Failed(f"{done.uri}: {error}", f"{fix}, then {again}: what succeeded is skipped")
    name, step = ended[0]
    error, _, fix = step["error"].partition("\n  fix: ")  # one of ours brings its own
    cell = f" in cell {step['cell']}" if step["cell"] is not None else ""
    what = f"{done.uri}: step {name} {FAILED.get(done.state, done.state)}{cell}" + (
        f": {error}" if error and not in_notebook() else ""
    )
    # A step whose files vanished on the way has none.
    archive = step["archive"] or done.archive
    # One without a key is refused for what it has made before.
    refused = step["archive"] and not step["key"]
    way = "correct `expect`, or the notebook, which did not run" if refused else "correct the notebook"
    if limit := re.search(r"as (`\w+`) of the step says", error):
        way = f"{way}, or raise {limit[1]} of the step"
    do = fix or (f"see {archive}; {way}" if archive else "")
    if at_the_cell:
        return Failed(what, f"{do}, then {at_the_cell}")
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


def _thing_of(name: str, text: Name) -> Uri:
    """What is wanted of that recipe. UsageProblem for a file, and for what `out` calls a thing instead of its URI."""
    if isinstance(text, str) and not Uri.is_one(text) and name in declaration.names():
        for step in filling.filled_recipe(declaration.read(name), {}).steps:
            for output, made in step.makes.items():
                if text in (made, output, f"{step.name}.{output}"):
                    is_path = is_file(made)
                    what = f"{made} is a file, and `get` hands over things" if is_path else f"{text} is called {made}"
                    fix = f"`%recipe run {name}` writes it; then open it" if is_path else f"`%recipe get {name} {made}`"
                    raise UsageProblem(what, fix)
    return Uri.parse(text)


def _info(recipe: Recipe, runs: int | None = None) -> RecipeInfo:
    """A recipe. runs: how many it has, for a list, which needs no more of its newest run than the state."""
    name = recipe.name
    newest = history.newest(name)
    run = recipe_run(newest, recipe.title, recipe) if newest and runs is None else None
    steps = tuple(f"{step.name} ({step.notebook.name})" for step in recipe.steps)
    count = history.count(name) if runs is None else runs
    to_hold = {step.name: step.held_until for step in newest.record.steps} if newest else {}
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
        schedule=keeping.facts(recipe),
        held_until_at=held_until(newest.record.uri, to_hold) or None if newest else None,
        budget_usd=recipe.budget_usd,
    )


def _as_it_is(name: str, runs: int | None = None) -> RecipeInfo:
    """The same of a recipe whose file may be broken or gone: then why it cannot be read."""
    try:
        recipe = declaration.read(name)
    except LabError as problem:
        count = history.count(name) if runs is None else runs
        uri, kept = str(Uri(KIND, name)), keeping.kept(name)
        return RecipeInfo(uri, name, UNREADABLE, {}, (), count, schedule=kept, problem=problem.what, fix=problem.fix)
    return _info(recipe, runs)


def _run(uri: Uri) -> RecipeRun:
    """The run that a URI means; without a version the newest."""
    (observed,) = history.observe([history.looked_at(resolve(uri, RunRecord))])
    observed = replace(observed, record=history.completed(observed.record))
    declared = declaration.find(uri.name)
    return recipe_run(observed, declared.title if declared else uri.name, declared)
