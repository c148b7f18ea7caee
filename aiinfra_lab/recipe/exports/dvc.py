"""A recipe as a dvc.yaml: a stage for each step, so that `dvc repro` skips what did not change, and `dvc dag` shows it.

What a step makes lies in the workspace; what DVC sees of it are small files with its URI.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ..base import Recipe, RecipeStep
from ..made_things import can_live
from ..references import words
from .base import ExportFacts, ExportTraits, RecipeFiles, without_glob
from .stages import is_chain
from .written import sealed, slug, yaml_text

TRAITS = ExportTraits(is_split=True)
_CLOCK_NOTE = "${run.date} and ${run.time} are those of when each of its stages begins"


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The file; it lies in a folder of its own, since DVC writes its lock file beside it."""
    name = slug(recipe.name)
    folder = f"dvc/{name}"
    stages = {slug(step.name): _stage(recipe, step, facts, folder) for step in recipe.steps}
    main = f"{folder}/dvc.yaml"
    clock = [_CLOCK_NOTE] if any(_is_dated(recipe, facts, step) for step in recipe.steps) else []
    option = "" if is_chain(recipe.steps) else "-k "
    ignored = sealed(recipe, facts, "What git is not to keep of", "/made\n")
    return RecipeFiles(
        {main: sealed(recipe, facts, "For DVC", yaml_text({"stages": stages})), f"{folder}/.gitignore": ignored},
        main,
        f"`dvc repro {option}{main}`, in the project's folder; `dvc init` first where there is no DVC yet",
        ("what an endpoint does is not in a file: `dvc repro --force` starts one again that was stopped", *clock),
    )


def _stage(recipe: Recipe, step: RecipeStep, facts: ExportFacts, folder: str) -> dict[str, Any]:
    made = list(_made(step, folder))
    commands = [facts.shell(recipe, step), f"mkdir -p {folder}/made"]
    for uri, path in made:
        get = shlex.join(["aiinfra", "recipe", "get", recipe.name, uri, "--json"]) if uri else "date +%s"
        commands.append(f"{get} > {path}")
    toml = facts.in_project(recipe.path)
    deps = [
        facts.in_project(step.notebook),
        *facts.modules.get(step.name, ()),
        *map(without_glob, step.files.values()),
    ]
    deps += [path for before in _seen(recipe, step) for _, path in _made(before, folder)]
    return {
        "wdir": "../..",
        "cmd": list(map(_literal, commands)),
        "deps": list(map(_literal, dict.fromkeys(deps))),
        "params": [
            {
                _literal(toml): [
                    f"steps.{step.declared_name}",
                    *(f"parameters.{name}" for name in facts.uses.get(step.name, ())),
                ]
            }
        ],
        # Small and of no use to others: neither DVC's cache nor git has to keep them.
        "outs": [{path: {"cache": False}} for _, path in made],
        # Data of the workspace is in no file that DVC could look at, nor is the day; the recipe itself skips what did
        # not change.
        **({"always_changed": True} if step.data or _is_dated(recipe, facts, step) else {}),
    }


def _is_dated(recipe: Recipe, facts: ExportFacts, step: RecipeStep) -> bool:
    names = [name for name in facts.uses.get(step.name, ()) if name not in facts.given]
    return any(any(words(recipe.parameters[name])) for name in names)


def _made(step: RecipeStep, folder: str) -> Iterator[tuple[str, str]]:
    """(URI, the file that stands for it); of a step that makes nothing one that says when it ran."""
    if not step.outputs:
        yield "", f"{folder}/made/{slug(step.name)}"
    for name, uri in step.outputs.items():
        yield uri, f"{folder}/made/{slug(step.name)}.{slug(name)}.json"


def _seen(recipe: Recipe, step: RecipeStep) -> list[RecipeStep]:
    """The steps whose files a stage depends on: those before it, and behind one without versions those before that,
    since the URI of what lives stays the same."""
    steps = {each.name: each for each in recipe.steps}
    found: dict[str, RecipeStep] = {}
    left = list(step.depends_on)
    while left:
        before = steps[left.pop(0)]
        if before.name not in found:
            found[before.name] = before
            if any(map(can_live, before.outputs.values())):
                left.extend(before.depends_on)
    return [each for each in recipe.steps if each.name in found]


def _literal(text: str) -> str:
    """A text in which nothing is a template of DVC's."""
    return text.replace("${", "\\${")
