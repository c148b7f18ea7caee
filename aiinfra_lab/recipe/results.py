"""What recipe's verbs answer with: a run with its steps, a recipe as it is declared, something that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

import msgspec

from ..config import settings
from ..errors import LabError
from ..show import Card, Cell, Dim, Part, Plots, Result, Table, graph, moment, sentence
from ..units import counted, show_usd
from ..uris import Uri
from . import archives, budget
from .at_once import at_once
from .base import ENDED_EARLY, FAILURES, Recipe, RecipeStep, Value
from .filling import filled_recipe
from .findings import Finding, findings_table
from .history import KIND, ObservedRun, usual_s
from .parameters import as_text
from .record import StepRecord, StepState
from .run_card import RunContext, archived, resume_until, run_card
from .schedule.keeping import ScheduleFacts


class RunStep(TypedDict):
    """A step of a run, as Python and JSON have it; see `StepRecord`."""

    state: StepState
    outputs: dict[str, str]
    key: str
    values: dict[str, Any]
    archive: str
    began_at: float | None
    seconds: float | None
    error: str
    cell: int | None
    parts: dict[str, str]
    because: tuple[str, ...]
    changed: tuple[str, ...]
    opened: list[dict[str, Any]]
    opened_more: int
    wrote: tuple[str, ...]
    attempts: int
    held_until: float
    went_on: bool
    archive_sha256: str


UNREADABLE = "cannot be read"
_ALONE = RunContext({}, {}, {})
_MOST_STEPS = 40


@dataclass(frozen=True)
class RecipeRun(Result):
    """One run of a recipe: its steps, how each ended, and what they made.

    archive: the folder of its executed notebooks, empty when it executed none. error: why it failed, where that is no
    step's. budget_usd: what it may cost; spent_usd: what it had cost at its end, of a run with a budget.
    """

    kind = "Recipe run"

    uri: str
    state: str
    title: str
    started_at: float
    duration_s: float | None
    steps: dict[str, RunStep]
    archive: str
    error: str = ""
    budget_usd: float | None = None
    spent_usd: float | None = None
    context: RunContext = field(default=_ALONE, repr=False, compare=False, metadata={"json": False})

    @property
    def outputs(self) -> dict[str, str]:
        """`step.output` → URI of everything made, or the path of a file."""
        return {f"{name}.{key}": uri for name, step in self.steps.items() for key, uri in step["outputs"].items()}

    def card(self) -> Card:
        return run_card(
            self.uri,
            self.state,
            self.title,
            self.started_at,
            self.duration_s,
            self.steps,
            self.context,
            self.archive,
            run_error=self.error,
            budget_usd=self.budget_usd,
            spent_usd=self.spent_usd,
        )


@dataclass(frozen=True)
class RecipeInfo(Result):
    """A recipe as it is declared, with the state of its newest run.

    newest: that run's URI; empty when it never ran. findings: what a check found in its notebooks. fixed: how many more
    it took away. notes: what it says besides, a sentence each. problem, fix: why its file cannot be read, and how to
    correct that; then nothing else is known of it. held_until_at: to when a kernel is held in which the newest run has
    failed, in epoch seconds. budget_usd: what one run may cost.
    """

    kind = "Recipe"

    uri: str
    title: str
    state: str
    parameters: dict[str, Any]
    steps: tuple[str, ...]
    runs: int
    declared: Recipe | None = field(default=None, repr=False, compare=False, metadata={"json": False})
    newest: str = ""
    run: RecipeRun | None = field(default=None, repr=False, compare=False, metadata={"json": False})
    findings: tuple[Finding, ...] = ()
    fixed: int = 0
    schedule: ScheduleFacts | None = None
    problem: str = ""
    fix: str = ""
    notes: tuple[str, ...] = ()
    held_until_at: float | None = None
    budget_usd: float | None = None

    @property
    def runs_by_itself(self) -> str:
        """The state of its schedule; empty where it has none."""
        return self.schedule.state if self.schedule else ""

    @property
    def next_at(self) -> float | None:
        """When its schedule is due next; None while it is not kept."""
        return self.schedule.next_at if self.schedule else None

    @property
    def last_due_at(self) -> float | None:
        """The time of its schedule for which a run was begun last."""
        return self.schedule.last_due if self.schedule else None

    @property
    def missed(self) -> int:
        """How many times of its schedule had no run."""
        return self.schedule.missed_count if self.schedule else 0

    @property
    def trouble(self) -> str:
        """Why its file cannot be read, or its schedule be kept."""
        return self.problem or (self.schedule.problem if self.schedule else "")

    def card(self) -> Card:
        name = Uri.parse(self.uri).name
        if self.problem:
            return Card(
                kind=self.kind,
                uri=self.uri,
                state=self.mark,
                lead=f"{self.problem}.",  # no sentence: it begins with a file's name
                advice=self.fix,
                parts=findings_table(self.findings),
                next=[*([f"Next: `%recipe log {name}`"] if self.runs else []), *_starts(name, self.schedule)],
            )
        broken = self.run.card() if self.run and self.state in (*FAILURES, *ENDED_EARLY, "lost") else None
        shows = [f"`%recipe show {Uri.parse(self.newest).label}`"] if broken else []
        newest = f"the newest of {counted(self.runs, 'run')}" if self.runs > 1 else "its only run" if self.runs else ""
        log = [f"`%recipe log {name}`"] if self.runs else []
        return Card(
            kind=self.kind,
            uri=self.uri,
            state=self.mark,
            when=newest,
            lead=f"**{self.title}**: {counted(len(self.steps), 'step')}.{f' {broken.lead}' if broken else ''}",
            advice=broken.advice if broken else "",
            facts=[
                *_scheduled(self.schedule, self.declared),
                *([("budget", show_usd(self.budget_usd))] if self.budget_usd is not None else []),
                *((key, str(value)) for key, value in self.parameters.items()),
            ],
            parts=[*(_declared(self.declared) if self.declared else ()), *findings_table(self.findings)],
            notes=[*([f"{counted(self.fixed, 'finding')} fixed in its notebooks."] if self.fixed else []), *self.notes],
            next=[*self._next(name), *_starts(name, self.schedule), *shows, *log],
        )

    def _next(self, name: str) -> list[str]:
        """What may be done by the state of its newest run: the next one ends a kernel that is held."""
        if self.state in ("running", "stopping"):
            label = Uri.parse(self.newest).label
            stop = [f"`%recipe stop {label}` stops it"] if self.state == "running" else []
            return [f"Next: `%recipe show {label}` says how far it is", *stop]
        if self.held_until_at:
            return [f"Next: correct the notebook; {resume_until(self.newest, self.held_until_at)}"]
        return [f"Next: `%recipe run {name}`"]


def columns(recipes: Sequence[RecipeInfo]) -> tuple[str, ...]:
    """What a list of them shows: of schedules, kernels that are held and trouble only what some of them have."""
    found = ["uri", "title", "state", "runs"]
    found += ["runs_by_itself", "next_at", "last_due_at"] if any(each.schedule for each in recipes) else []
    more = ("held_until_at", "missed", "trouble")
    return (*found, *(name for name in more if any(getattr(each, name) for each in recipes)))


@dataclass(frozen=True)
class Made(Result):
    """Something that a recipe makes. `note` says so when it had to be made first."""

    kind = "Recipe output"

    uri: str
    thing: str
    note: str

    def card(self) -> Card:
        uri = Uri.parse(self.thing)
        lead = sentence(self.note) if self.note else "**It is there already**: nothing was run."
        return Card(kind=self.kind, uri=self.thing, lead=lead, next=[f"Next: `%{uri.noun} show {uri.label}`"])


@at_once()
def recipe_run(run: ObservedRun, title: str, declared: Recipe | None = None) -> RecipeRun:
    """A run as a verb hands it over. declared: the recipe as it is now, which knows what each step comes after."""
    record, body = run.record, run.record.body
    took = max(0.0, body.ended_at - body.started_at) if body.ended_at is not None else None
    steps = {step.name: _run_step(step) for step in record.steps}
    folder = settings().home / KIND / record.name
    executed = any(archived(step) == folder for step in steps.values())
    needs = _needs(declared, body.parameters) if declared else {}
    usual = usual_s(record, record.base) if declared else {}
    due = f"its schedule, due {_at(body.due_at, declared)}" if body.due_at is not None else ""
    from ..cost.prices import machine_usd_per_hour  # here, since it loads a table of prices that a run does not need

    spent = None if body.is_open or body.budget_usd is None else budget.spent_usd(body)
    # Where it is known what the run has cost, its steps have cost a part of that, whatever the price is now.
    usd_per_hour = spent / took * 3600 if spent is not None and took else machine_usd_per_hour()
    context = RunContext(needs, usual, body.parameters, body.cause or due, usd_per_hour)
    return RecipeRun(
        uri=record.uri,
        state=run.state,
        title=title,
        started_at=body.started_at,
        duration_s=took,
        steps=steps,
        archive=str(folder) if executed else "",
        error=body.error,
        budget_usd=body.budget_usd,
        spent_usd=spent,
        context=context,
    )


def _needs(recipe: Recipe, given: Mapping[str, Value]) -> dict[str, Sequence[str]]:
    """Step → those that it comes after, in a run with these parameters; nothing where it would have none now."""
    try:
        return {step.name: step.depends_on for step in filled_recipe(recipe, given).steps}
    except LabError:  # its file was edited since
        return {}


def _run_step(step: StepRecord) -> RunStep:
    fields = msgspec.to_builtins(step)
    del fields["name"], fields["run"], fields["files"]
    archive = str(archives.path_of(step.archive)) if step.archive else ""
    return cast(RunStep, {**fields, "outputs": step.makes, "archive": archive})


def _starts(name: str, schedule: ScheduleFacts | None) -> list[str]:
    if schedule is None:
        return []
    return [
        f"`%recipe stop {name}` pauses its schedule" if schedule.state == "scheduled" else f"`%recipe start {name}`"
    ]


def _at(at: float, recipe: Recipe | None) -> str:
    """A time of a recipe's schedule, by the clocks of its zone."""
    if recipe is None or recipe.schedule is None:
        return moment(at)
    return f"{recipe.schedule.calendar.local(at):%Y-%m-%d %H:%M %Z}"


def _scheduled(schedule: ScheduleFacts | None, recipe: Recipe | None) -> list[tuple[str, str]]:
    """When it runs by itself."""
    if schedule is None:
        return []
    more = f", next {_at(schedule.next_at, recipe)}" if schedule.next_at is not None else ""
    found = [("schedule", f"{schedule.words}: {schedule.state}{more}")]
    if schedule.last_due is not None:
        found.append(("last due", ", ".join(filter(None, [_at(schedule.last_due, recipe), schedule.run]))))
    if schedule.missed_count:
        found.append(("missed", f"{counted(schedule.missed_count, 'run')}, last {_at(schedule.missed[-1], recipe)}"))
    if schedule.problem:
        found.append(("trouble", f"{schedule.problem}; {schedule.fix}"))
    return found


def _declared(recipe: Recipe) -> list[Part]:
    """The steps as boxes, and what each takes and makes."""
    edges = [(before, step.name) for step in recipe.steps for before in step.depends_on]
    nodes = [graph.Node(step.name, step.name, step.notebook.name) for step in recipe.steps]
    alt = ", ".join(f"{step.name} after {' and '.join(step.depends_on)}" if step.depends_on else step.name
                    for step in recipe.steps)  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (
            step.name,
            step.notebook.name,
            ", ".join(_takes(step)) or Dim("–"),
            ", ".join(step.makes.values()) or Dim("–"),
        )
        for step in recipe.steps
    ]
    picture: list[Part] = [Plots([graph.draw(nodes, edges, alt=alt)])] if edges else []
    return [*picture, Table(("step", "notebook", "takes", "makes"), rows, most=_MOST_STEPS)]


def _takes(step: RecipeStep) -> list[str]:
    on = [f"on {step.on}"] if step.on else []
    return [*step.taken.values(), *on, *(f"each {name} of {as_text(value)}" for name, value in step.matrix.items())]
