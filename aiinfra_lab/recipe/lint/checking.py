"""All rules over a notebook, or over those of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..base import Recipe, RecipeStep, Value
from ..filling import given_now
from ..history import RECENT, runs
from ..lines import line_of, text_of
from ..matrix import usual_meanings
from ..references import filled, meanings_of, parameter_of
from .base import Diagnostic, LintRule
from .rules import RULES
from .subject import GivenValue, LintSubject


def lint(recipe: Recipe) -> list[Diagnostic]:
    """What the rules find in the notebooks of a recipe, with the values that it gives them; each thing once."""
    text = text_of(recipe.path)
    wrote = _wrote(recipe)
    subjects = (
        LintSubject.of(step.notebook, step, tuple(_given(recipe, step, text)), wrote.get(step.name, ()))
        for step in recipe.steps
    )
    return list(dict.fromkeys(each for subject in subjects for each in _lint(subject)))


def lint_notebook(path: Path) -> list[Diagnostic]:
    """What the rules find in a notebook alone, from its first cell to its last."""
    return list(_lint(LintSubject.of(path)))


def _lint(subject: LintSubject) -> list[Diagnostic]:
    found = [each for rule in RULES for each in _found(rule, subject) if not _is_ignored(subject, each)]
    return sorted(found, key=lambda each: (each.cell, each.line, each.code))


def _found(rule: LintRule, subject: LintSubject) -> list[Diagnostic]:
    try:
        return list(rule.check(subject))
    except RecursionError:  # code that a program wrote: a sum of thousands runs, and cannot be walked through
        return []


def _is_ignored(subject: LintSubject, found: Diagnostic) -> bool:
    return found.cell > 0 and subject.cells[found.cell - 1].is_ignored(found.code, found.line)


def _wrote(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Step → the files that it wrote when it was executed last, as far as `out` did not name them."""
    found: dict[str, tuple[str, ...]] = {}
    names = {step.name for step in recipe.steps}
    for run in runs(recipe.name, RECENT):
        if names <= found.keys():
            break
        for step in run.steps:
            if step.attempts:
                found.setdefault(step.name, step.wrote)
    return found


def _given(recipe: Recipe, step: RecipeStep, text: str) -> Iterator[Mapping[str, GivenValue]]:
    """The values of a step's parameters as the recipe gives them, and as it gives them where an input is made first."""
    now = given_now(recipe)
    one = usual_meanings(step, meanings_of(now))
    for of_recipe, header in ((now, "parameters"), ({**now, **recipe.small}, "small")):
        found: dict[str, GivenValue] = {}
        for name, value in step.parameters.items():
            wanted = parameter_of(value)
            if wanted is None:
                given = filled(value, {**meanings_of(of_recipe), **one})
                found[name] = GivenValue(given, recipe.path, line_of(text, f"steps.{step.name}", name))
            elif wanted in of_recipe:
                found[name] = _of_recipe(recipe, of_recipe, wanted, text, header)
        yield found


def _of_recipe(recipe: Recipe, values: Mapping[str, Value], name: str, text: str, header: str) -> GivenValue:
    is_small = header == "small" and name in recipe.small
    return GivenValue(values[name], recipe.path, line_of(text, "small" if is_small else "parameters", name))
