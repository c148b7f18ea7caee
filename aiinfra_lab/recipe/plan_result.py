"""What would run if a recipe ran now, and why, as a verb hands it over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ..secrets import redactor
from ..show import Card, Cell, Dim, Number, Part, Plots, Result, StateMark, Table, graph, mark_of
from ..units import counted, show_duration, show_usd
from ..uris import Uri
from .base import Recipe, Value
from .budget import notes
from .history import KIND, usual_s
from .plan import Action, PlannedStep
from .run_card import again, few_reasons


class PlanStep(TypedDict):
    """A step of a plan, as Python and JSON have it; see `PlannedStep`. key: empty where an input is not known yet."""

    action: Action
    because: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class RecipePlan(Result):
    """What would run if the recipe ran now. Nothing was run, and nothing was written.

    usual_s: step → how long it mostly takes, in seconds. budget_usd: what the run may cost. notes: what should be known
    besides, a sentence each. needs: step → the steps that it comes after. flags: what it was asked with besides the
    parameters.
    """

    kind = "Recipe plan"

    uri: str
    title: str
    parameters: dict[str, Value]
    steps: dict[str, PlanStep]
    usual_s: dict[str, float]
    budget_usd: float | None = None
    notes: tuple[str, ...] = ()
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False, metadata={"json": False})
    flags: tuple[str, ...] = field(default=(), repr=False, metadata={"json": False})

    def card(self) -> Card:
        return Card(
            kind=self.kind,
            uri=self.uri,
            when="nothing was run",
            lead=self._lead(),
            facts=[
                ("recipe", self.title),
                *((name, str(value)) for name, value in self.parameters.items()),
                *([("budget", show_usd(self.budget_usd))] if self.budget_usd is not None else []),
            ],
            parts=[*self._picture(), self._table()],
            notes=self.notes,
            next=[f"Next: {' '.join([again(self.uri, self.parameters)[:-1], *self.flags])}`"],
        )

    def _lead(self) -> str:
        count = Counter(step["action"] for step in self.steps.values())
        if count["fail"]:
            fails = f"**{counted(count['fail'], 'step')} would fail**: what is there is not what is expected now."
            others = counted(count["run"], "other") if count["run"] else "Nothing"
            may = f", and {count['wait']} may" if count["wait"] else ""
            return f"{fails} {others} would run{may}."
        if count["skip"] == len(self.steps):
            return f"**Nothing changed**: {counted(len(self.steps), 'step')} would be skipped."
        would = f"**{count['run']} of {counted(len(self.steps), 'step')} would run.**"
        may = f" {counted(count['wait'], 'step')} may: that depends on what those make." if count["wait"] else ""
        return f"{would}{may}{self._time()}"

    def _time(self) -> str:
        """How long it takes at most; nothing unless each step that may run has run before."""
        names = [name for name, step in self.steps.items() if step["action"] in ("run", "wait")]
        if not all(name in self.usual_s for name in names):
            return ""
        return f" That takes at most about {show_duration(sum(self.usual_s[name] for name in names))}."

    def _picture(self) -> list[Part]:
        edges = [(before, name) for name in self.steps for before in self.needs.get(name, ())]
        if not edges:
            return []
        nodes = [
            graph.Node(name, name, _ACTIONS[step["action"]], _MARKS.get(step["action"]))
            for name, step in self.steps.items()
        ]
        alt = ", ".join(f"{name} would {_ACTIONS[step['action']]}" for name, step in self.steps.items())
        return [Plots([graph.draw(nodes, edges, alt=alt)])]

    def _table(self) -> Table:
        rows: list[tuple[Cell, ...]] = [
            (
                name,
                _ACTIONS[step["action"]],
                show_duration(self.usual_s[name]) if name in self.usual_s else Dim("–"),
                few_reasons(step["because"]) or "same code, parameters and inputs",
            )
            for name, step in self.steps.items()
        ]
        return Table(("step", "would", Number("usual"), "why"), rows, most=_MOST_STEPS)


_ACTIONS: dict[Action, str] = {
    "run": "run", "skip": "be skipped", "wait": "perhaps run", "fail": "fail", "block": "be blocked",
}  # fmt: skip
_MARKS: dict[Action, StateMark] = {"skip": mark_of("skipped"), "fail": mark_of("failed"), "block": mark_of("blocked")}
_MOST_STEPS = 60


def recipe_plan(
    recipe: Recipe,
    given: Mapping[str, Value],
    planned: Mapping[str, PlannedStep],
    flags: Sequence[str] = (),
    going: Sequence[str] = (),
) -> RecipePlan:
    """A plan as a verb hands it over. going: the URIs of its runs that go on."""
    steps = {name: PlanStep(action=one.action, because=one.because, key=_key(one)) for name, one in planned.items()}
    took = usual_s(None, recipe.name)
    return RecipePlan(
        str(Uri(KIND, recipe.name)),
        recipe.title,
        redactor().clean_value(dict(given)),
        steps,
        {name: took[name] for name in steps if name in took},
        recipe.budget_usd,
        (*(f"{uri} is running: what it gets done of this by its end is skipped." for uri in going), *notes(recipe)),
        {step.name: step.depends_on for step in recipe.steps},
        tuple(flags),
    )


def _key(planned: PlannedStep) -> str:
    return "" if planned.action in ("wait", "block") else planned.prepared.key
