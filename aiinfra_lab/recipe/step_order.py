"""The order in which the steps of a recipe run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from ..config import settings
from ..errors import UsageProblem, did_you_mean, nearest
from .base import RecipeStep
from .references import source_of


def ordered(where: str, steps: Mapping[str, RecipeStep]) -> tuple[RecipeStep, ...]:
    """Each step behind those that it needs, else as written. UsageProblem for a circle, and for one that is missing."""
    for step in steps.values():
        for name, source in step.inputs.items():
            if source.partition(".")[0] not in steps:
                what = f"{where}: {step.name} takes {source!r}, and there is neither such a step nor such a file"
                raise UsageProblem(what, _meant(step.name, name, source, steps))
        for needed in step.depends_on:
            if needed not in steps:
                raise UsageProblem(
                    f"{where}: {step.name} depends on {needed!r}, and there is no such step",
                    did_you_mean(needed, steps),
                )
    try:
        TopologicalSorter({name: step.depends_on for name, step in steps.items()}).prepare()
    except CycleError as problem:
        circle = " → ".join(problem.args[1])
        raise UsageProblem(
            f"{where}: the steps wait for each other: {circle}", "take one of these steps out of `in` or `after`"
        ) from None
    order: list[RecipeStep] = []
    while len(order) < len(steps):
        # The first as written whose needs are met: what does not depend on each other keeps its order.
        done = {step.name for step in order}
        order.append(
            next(step for step in steps.values() if step.name not in done and done.issuperset(step.depends_on))
        )
    return tuple(order)


def _meant(taker: str, name: str, source: str, steps: Mapping[str, RecipeStep]) -> str:
    """What may be meant by what is neither a step's output nor a file; taker: the step that takes it."""
    if output := source_of(f"${{{source}}}"):
        return f'write {name} = "{output}"'
    if thing := re.fullmatch(r"[^:]*:(.*)", source):
        return f'write {name} = "data:{thing[1]}", or the path of a file'
    there = [each.name for each in itertools.islice(settings().project.iterdir(), 1000)]
    if near := nearest(source, there):
        return f"did you mean the file {near}?"
    near = nearest(source.partition(".")[0], {*steps} - {taker})
    if near and (made := [f"{near}.{output}" for output in steps[near].makes]):
        return did_you_mean(source, made)
    if near:
        return f"did you mean {near}?"
    return f"steps that are known: {', '.join(sorted(steps)[:12])}; a file is to be put into the project"
