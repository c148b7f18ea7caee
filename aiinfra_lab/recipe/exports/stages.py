"""The six steps of an MLOps pipeline, found in a recipe by what its steps make.

Code commit (a check of the recipe), automated training, validation tests and registry update (whoever makes `models:`),
canary deployment (`deploy:`), monitoring (all that comes after), and rollback where that fails.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ...uris import Uri
from ..base import Recipe, RecipeStep
from .base import ExportFacts, seconds_of

# Of those steps that nothing limits, together.
_USUAL_S = 6 * 3600.0
_READ = 'import json, sys; it = json.load(sys.stdin); print(it["canary"] or it["champion"] or "")'


@dataclass(frozen=True)
class Stage:
    """Steps of a recipe that run one after the other in one job."""

    name: str
    title: str
    steps: tuple[RecipeStep, ...]

    @property
    def minutes(self) -> int:
        """How long it may take."""
        limits = [seconds_of(step) for step in self.steps]
        seconds = sum(each for each in limits if each is not None) + (_USUAL_S if None in limits else 300)
        return max(1, round(seconds / 60 + 0.5))


def stages(recipe: Recipe) -> list[Stage]:
    """Those that have steps, in their order."""
    nouns = [{Uri.parse(uri).noun for uri in step.outputs.values()} for step in recipe.steps]
    deploys = [at for at, made in enumerate(nouns) if "deploy" in made]
    first_deploy, after_deploy = (deploys[0], deploys[-1] + 1) if deploys else (len(nouns), len(nouns))
    registers = next((at for at, made in enumerate(nouns[:first_deploy]) if "models" in made), first_deploy)
    bounds = (
        ("train", "Automated training", 0, registers),
        ("register", "Validation tests, registry update", registers, first_deploy),
        ("canary", "Canary deployment", first_deploy, after_deploy),
        ("monitor", "Monitoring", after_deploy, len(nouns)),
    )
    return [Stage(name, title, recipe.steps[low:high]) for name, title, low, high in bounds if low < high]


@dataclass(frozen=True)
class StepStart:
    """What a step waits for among those before it. needs: they succeeded. stops: they did not fail, since nothing runs
    behind their failure. is_plain: all of them succeeded comes to the same."""

    needs: tuple[str, ...]
    stops: tuple[str, ...]
    is_plain: bool


def starts(steps: Sequence[RecipeStep]) -> dict[str, StepStart]:
    """That of each of some steps, which are in the order in which they run."""
    behind: dict[str, set[str]] = {}
    found: dict[str, StepStart] = {}
    for at, step in enumerate(steps):
        needs = tuple(name for name in step.depends_on if name in behind)
        behind[step.name] = set(needs).union(*(behind[name] for name in needs))
        stops = [each.name for each in steps[:at] if each.on_failure == "stop" and each.name not in behind[step.name]]
        is_plain = behind[step.name].issuperset(each.name for each in steps[:at] if each.name not in stops)
        found[step.name] = StepStart(needs, tuple(stops), is_plain)
    return found


def is_chain(steps: Sequence[RecipeStep]) -> bool:
    """Whether nothing runs behind a failure."""
    return all(start.is_plain for start in starts(steps).values())


def stage_notes(recipe: Recipe) -> list[str]:
    """Where jobs differ from a run of the recipe."""
    note = "a stage begins where all of the one before succeeded, also for steps that need nothing of what failed there"
    return [] if len(stages(recipe)) == 1 or is_chain(recipe.steps) else [note]


def endpoints(recipe: Recipe) -> list[str]:
    """The names of the endpoints that it deploys to."""
    made = [Uri.parse(uri) for step in recipe.steps for uri in step.outputs.values()]
    return list(dict.fromkeys(uri.name for uri in made if uri.noun == "deploy"))


def has_outside_data(recipe: Recipe, facts: ExportFacts) -> bool:
    """Whether it takes data that a workspace or a machine keeps, so that it cannot be checked elsewhere."""
    return bool(facts.outside) or any(step.data for step in recipe.steps)


def newest_served(endpoint: str) -> str:
    """A shell word: the version that an endpoint was given last; empty where it serves none."""
    return (
        f'"$(aiinfra deploy show {shlex.quote(endpoint)} --json 2>/dev/null | python -c {shlex.quote(_READ)} || true)"'
    )


def variable(moment: str, number: int) -> str:
    """The variable with what an endpoint was given last, before or after the canary stage."""
    return f"{moment}_{number}"


def rollback_lines(recipe: Recipe) -> list[str]:
    """Shell lines: roll back each endpoint where what the canary stage brought still serves.

    Its own rule may have rolled it back already: then one more would take the champion away.
    """
    return [
        f'if [ -n "${variable("SERVED", at)}" ] && [ "${variable("SERVED", at)}" != "${variable("BEFORE", at)}" ] '
        f'&& [ {newest_served(name)} = "${variable("SERVED", at)}" ]; '
        f"then aiinfra deploy rollback {shlex.quote(name)}; fi"
        for at, name in enumerate(endpoints(recipe))
    ]
