"""Notebooks as pipelines: the files that JupyterLab edits are what runs, and what did not change is not run again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from .. import jobs
from ..config import settings
from ..errors import Failed, NotFound, UsageProblem, did_you_mean
from ..providers import make
from ..show import Card, Listing, LiveFrame, Result, in_notebook, shown
from ..store import Record, open_store
from ..units import show_duration
from ..uris import Uri
from ..verbs import Choices, Params, verb
from . import declaration, plan
from .base import Recipe
from .run import Run

_MARKS = {
    "done": "✓",
    "skipped": "=",
    "failed": "✗",
    "lost": "✗",
    "stopped": "■",
    "running": "▸",
    "waiting": " ",
    "blocked": "·",
    plan.NOT_RUN: "·",
}


@dataclass(frozen=True)
class RecipeRun(Result):
    """One run of a recipe: its steps, how each ended, and what they made.

    archive: the folder of its executed notebooks, empty when it executed none.
    """

    uri: str
    state: str
    title: str
    started_at: float
    duration_s: float | None
    steps: dict[str, dict[str, Any]]
    archive: str
    drawn: bool = field(default=False, repr=False, metadata={"json": False})

    @property
    def outputs(self) -> dict[str, str]:
        """`step.output` → URI of everything made."""
        return {f"{name}.{key}": uri for name, step in self.steps.items() for key, uri in step["outputs"].items()}

    def card(self) -> Card:
        """The steps unless the cell has drawn them already, and where to look on."""
        over = self.state not in ("running", "stopping")
        drawn = Card("") if self.drawn else self.frame()
        notes = [*drawn.notes, *(_where(self) if over else ()), *(_next_looks(self) if over else ())]
        return Card(self._title, self._took, header=drawn.header, rows=drawn.rows, notes=notes)

    def frame(self) -> Card:
        """The steps as they are, for the cell in which they run."""
        rows = [
            (_MARKS[step["state"]], name, step["state"], shown("time_s", step.get("seconds")), _made(step))
            for name, step in self.steps.items()
        ]
        notes = [f"{name}: {_first(step['error'])}" for name, step in self.steps.items() if step.get("error")]
        return Card(self._title, self._took, header=("", "step", "", "time", "made"), rows=rows, notes=notes)

    @property
    def _title(self) -> str:
        return f"{self.uri} · {self.title}"

    @property
    def _took(self) -> str:
        return f"{self.state} in {show_duration(self.duration_s)}" if self.duration_s is not None else self.state


@dataclass(frozen=True)
class RecipeInfo(Result):
    """A recipe as it is declared, with the state of its newest run."""

    uri: str
    title: str
    state: str
    parameters: dict[str, Any]
    steps: tuple[str, ...]
    runs: int


@dataclass(frozen=True)
class Made(Result):
    """Something that a recipe makes. `note` says so when it had to be made first."""

    uri: str
    thing: str
    note: str

    def card(self) -> Card:
        return Card(self.thing, notes=(self.note,) if self.note else ())


@verb("recipe")
def ls() -> Listing:
    """List the project's recipes with the state of their newest run."""
    items = tuple(_info(name) for name in declaration.names())
    return Listing(
        "recipe:recipes", items, ("uri", "title", "state", "runs"), f"put a NAME.toml into {declaration.folder()}"
    )


@verb("recipe")
def show(name: Annotated[str, Choices(declaration.names)]) -> RecipeInfo | RecipeRun:
    """Show a recipe, or one of its runs (NAME@N).

    name: the recipe, or one of its runs
    """
    uri = Uri.parse(name, "recipe")
    return _run_of(_record(uri)) if uri.version else _info(uri.name)


@verb("recipe")
def check(name: Annotated[str, Choices(declaration.names)]) -> RecipeInfo:
    """Check a recipe without running it: its keys, steps, references, notebooks and their parameters.

    name: the recipe
    """
    declaration.read(Uri.parse(name, "recipe").name)
    return _info(Uri.parse(name, "recipe").name)


@verb("recipe")
def run(
    name: Annotated[str, Choices(declaration.names)],
    *,
    param: Params = {},  # noqa: B006  # never changed
    keep: bool = True,
    force: bool = False,
    report: bool = False,
) -> RecipeRun:
    """Run a recipe; steps that did not change are skipped, and a failed step stops those that need it.

    name: the recipe
    param: a parameter of the recipe
    keep: leave running what the recipe started, such as an endpoint; otherwise end it when the run ends
    force: run every step, changed or not
    report: return a run that failed instead of raising
    """
    recipe = declaration.read(Uri.parse(name, "recipe").name)
    for key in param:
        if key not in recipe.parameters:
            raise UsageProblem(f"recipe {recipe.name} has no parameter {key!r}", did_you_mean(key, recipe.parameters))
    executor = make("recipe.executor")
    going = Run(recipe, _typed(recipe.parameters, param), executor, keep=keep, force=force)
    body = going.go(_progress(going, recipe.title))
    done = _as_run(going.uri, recipe.title, body, going.folder)
    if body["state"] != "done" and not report:
        given = "".join(f" -p {shlex.quote(f'{key}={value}')}" for key, value in param.items())
        raise _failure(done, f"`%recipe run {recipe.name}{given}`")
    return replace(done, drawn=in_notebook())


@verb("recipe")
def get(name: Annotated[str, Choices(declaration.names)], uri: str) -> Made:
    """Hand over something that a recipe makes; when there is none yet, make a small one first and say so.

    With this a step's notebook also passes alone: in a pipeline its input is there and nothing happens.

    name: the recipe
    uri: what is wanted, e.g. data:flights or models:delay@3
    """
    wanted = Uri.parse(uri)
    if found := plan.newest(open_store(), wanted):
        return Made(found, found, "")
    recipe = declaration.read(Uri.parse(name, "recipe").name)
    part = recipe.leading_to(f"{wanted.noun}:{wanted.name}")
    if part is None or wanted.version not in (None, 1):
        raise NotFound(f"there is no {wanted}", f"the recipe {recipe.name} makes: {', '.join(_makes(recipe))}")
    executor = make("recipe.executor")
    going = Run(part, dict(recipe.small), executor, keep=True, force=False)
    body = going.go(_progress(going, f"{recipe.title} (small, up to {wanted})"))
    if body["state"] != "done":
        raise _failure(_as_run(going.uri, recipe.title, body, going.folder), f"`%recipe get {recipe.name} {wanted}`")
    made = plan.newest(open_store(), wanted) or str(wanted)
    small = ", ".join(f"{key}={value}" for key, value in recipe.small.items())
    return Made(made, made, f"there was no {wanted}: a small one was made by {going.uri} ({small})")


@verb("recipe")
def stop(name: Annotated[str, Choices(declaration.names)]) -> RecipeRun:
    """Stop a running recipe: the cell that runs is interrupted, and no further step begins. One that is over stays so.

    name: the recipe, or one of its runs
    """
    uri = Uri.parse(name, "recipe")
    if going := jobs.ls(str(uri), live=True):
        jobs.cancel(going[0].id)
        uri = Uri.parse(going[0].subject)
    return _run_of(_record(uri))


@verb("recipe")
def log(name: Annotated[str, Choices(declaration.names)]) -> Listing:
    """List a recipe's runs, newest first.

    name: the recipe
    """
    uri = Uri.parse(name, "recipe")
    items = tuple(_run_of(record) for record in plan.runs(open_store(), uri.name))
    if not items and uri.name not in declaration.names():
        raise _unknown(Uri("recipe", uri.name))
    return Listing(f"{uri}", items, ("uri", "state", "started_at", "duration_s"), "it has not run yet")


def _progress(going: Run, title: str) -> Any:
    frame: list[LiveFrame] = []
    told: dict[str, str] = {}

    def show(body: dict[str, Any]) -> None:
        if in_notebook():
            card = _as_run(going.uri, title, body, going.folder).frame()
            frame[0].close(card) if frame else frame.append(LiveFrame(card))
            return
        for name, step in plan.in_order(body).items():
            if step["state"] not in ("waiting", told.get(name)):
                told[name] = step["state"]
                time = f" {show_duration(step['seconds'])}" if step.get("seconds") else ""
                sys.stderr.write(f"{_MARKS[step['state']]} {name} {step['state']}{time}\n")

    return show


def _failure(done: RecipeRun, again: str) -> Failed:
    """What to tell about a run that did not come to its end; `again` is the command that goes on with it."""
    ended = [(name, step) for name, step in done.steps.items() if step["state"] == done.state]
    if done.state == "stopped":
        where = f" at {ended[0][0]}" if ended else ""
        return Failed(f"{done.uri} was stopped{where}", f"{again} goes on from there: unchanged steps are skipped")
    name, step = ended[0]
    error, _, fix = step.get("error", "").partition("\n  fix: ")  # one of ours brings its own
    what = f"{done.uri}: {name} {step['state']}" + (f": {error}" if error else "")
    look = f"see {step.get('archive', done.archive)}; mend the notebook"
    return Failed(what, f"{f'{fix}; ' if fix else ''}{look}, then {again}: what succeeded is skipped")


def _typed(defaults: Any, given: Mapping[str, object]) -> dict[str, Any]:
    return {key: declaration.typed(key, type(defaults[key]).__name__, value) for key, value in given.items()}


def _makes(recipe: Recipe) -> list[str]:
    return [uri for step in recipe.steps for uri in step.outputs.values()]


def _info(name: str) -> RecipeInfo:
    recipe = declaration.read(name)
    runs = plan.runs(open_store(), name)
    state = plan.state(runs[0] if runs else None)
    steps = tuple(f"{step.name} ({step.notebook.name})" for step in recipe.steps)
    return RecipeInfo(f"recipe:{name}", recipe.title, state, dict(recipe.parameters), steps, len(runs))


def _record(uri: Uri) -> Record:
    """The run that a URI means; without a version the newest. NotFound says what there is."""
    store = open_store()
    found = store.get(plan.KIND, uri.label) if uri.version else next(iter(plan.runs(store, uri.name)), None)
    if found is None:
        raise _unknown(uri)
    return found


def _unknown(uri: Uri) -> NotFound:
    known = declaration.names()
    if uri.version:
        return NotFound(f"there is no {uri}", f"list its runs with `%recipe log {uri.name}`")
    if uri.name in known:
        return NotFound(f"{uri} never ran", f"run it: `%recipe run {uri.name}`")
    return NotFound(f"there is no recipe {uri.name}", did_you_mean(uri.name, known, declaration.FIRST))


def _run_of(record: Record) -> RecipeRun:
    name = record.name.partition("@")[0]
    title = declaration.read(name).title if name in declaration.names() else name
    return _as_run(f"recipe:{record.name}", title, plan.observed(record), settings().home / "recipe" / record.name)


def _as_run(uri: str, title: str, body: dict[str, Any], folder: Path) -> RecipeRun:
    took = body["ended_at"] - body["started_at"] if body.get("ended_at") else None
    steps = plan.in_order(body)
    executed = any(_archived_in(step) == folder for step in steps.values())
    return RecipeRun(uri, body["state"], title, body["started_at"], took, steps, str(folder) if executed else "")


def _archived_in(step: dict[str, Any]) -> Path | None:
    """The folder of the run that executed the step's notebook: an earlier one's for a step that was skipped."""
    return Path(step["archive"]).parent if step.get("archive") else None


def _where(run: RecipeRun) -> list[str]:
    if run.archive:
        return [f"executed notebooks: {run.archive}"]
    folders = dict.fromkeys(filter(None, map(_archived_in, run.steps.values())))
    return [f"skipped as in recipe:{place.name}; executed notebooks: {place}" for place in folders]


def _made(step: dict[str, Any]) -> str:
    return " ".join(step["outputs"].values())


def _first(error: str) -> str:
    return error.strip().partition("\n")[0][:200]


def _next_looks(done: RecipeRun) -> list[str]:
    made = list(done.outputs.values())
    looks = [f"`%{uri.partition(':')[0]} show {uri.partition(':')[2]}`" for uri in made[-3:]]
    return [f"where to look next: {', '.join(looks)}, `%lab log {made[-1]}`"] if made else []
