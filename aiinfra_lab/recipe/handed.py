"""`recipe.inputs.NAME` and `recipe.outputs.NAME`: what `in` and `out` of a step name, for its notebook.

A notebook that is opened by hand gets what the last good run made, so that it runs alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..config import settings
from ..errors import NotFound, UsageProblem, did_you_mean
from ..resolve import resolve_any
from ..uris import Uri
from . import declaration, filling, made_things
from .base import Recipe, RecipeStep, is_file
from .notebook import HANDED_BY, Part
from .parts import made_last
from .taken import files_of, is_glob, place_of

HANDED_OVER = "AIINFRA_STEP"
"""The variable of a step's kernel with what its `in` and `out` name."""

Handed = str | Path | list[Path] | list[str | Path]
# What JupyterLab says to a kernel: the file of its notebook.
_NOTEBOOK = "JPY_SESSION_NAME"


def handed_over(taken: Mapping[str, str | list[str]], makes: Mapping[str, str]) -> str:
    """The value of `HANDED_OVER`. taken: name in `in` → a URI, a path or glob of the project, or a list of what several
    made. makes: as `out`."""
    return json.dumps({"in": dict(taken), "out": dict(makes)})


class HandedOver:
    """The names of `in`, or of `out`, as attributes.

    A thing is its URI, in `inputs` with the version of this run; a file or folder its path, a glob a list of paths, and
    what all combinations of a step made a list. The folder of an output is made. In a notebook that is opened by hand,
    called with `"RECIPE/STEP"` it is that step's, where several have the name. NotFound where no step has it, or
    nothing was made yet.
    """

    def __init__(self, part: Part, step: str = "") -> None:
        self._part, self._step = part, step

    def __call__(self, step: str) -> HandedOver:
        return HandedOver(self._part, step)

    def __getattr__(self, name: str) -> Handed:
        if name.startswith("_"):
            raise AttributeError(name)
        found = self._in_run()
        if found is None:
            return self._value(self._by_hand(name))
        if name not in found:
            what = f"`{self._part}` of this step has no {name}"
            raise NotFound(what, did_you_mean(name, found, f'write {self._part} = {{ {name} = "…" }}'))
        return self._value(found[name])

    def __dir__(self) -> list[str]:
        found = self._in_run()
        return sorted(found if found is not None else {name for each in self._steps() for name in self._names(each)})

    def __repr__(self) -> str:
        return f"recipe.{HANDED_BY[self._part]}: {', '.join(dir(self)) or 'nothing'}"

    def _in_run(self) -> dict[str, str | list[str]] | None:
        text = "" if self._step else os.environ.get(HANDED_OVER, "")
        return json.loads(text)[self._part] if text else None

    def _value(self, text: str | list[str]) -> Handed:
        if isinstance(text, list):
            return [settings().project / each if is_file(each) else each for each in text]
        if not is_file(text):
            return text
        if self._part == "out":
            path = place_of(text)
            path.parent.mkdir(parents=True, exist_ok=True)
            return path
        return files_of(text) if is_glob(text) else settings().project / text

    def _by_hand(self, name: str) -> str | list[str]:
        steps = [*self._steps()]
        found = [each for each in steps if name in self._names(each)]
        if not found:
            known = {one for each in steps for one in self._names(each)}
            what = f"no step of a recipe has {name} in its `{self._part}`"
            raise NotFound(what, did_you_mean(name, known, f'write {self._part} = {{ {name} = "…" }} below [steps.…]'))
        if len(found) > 1:
            example = f'recipe.{HANDED_BY[self._part]}("{found[0].label}").{name}'
            what = f"{name} is in `{self._part}` of {', '.join(each.label for each in found)}"
            raise UsageProblem(what, f"say which: `{example}`")
        (one,) = found
        return one.step.makes[name] if self._part == "out" else _taken(one, name)

    def _names(self, one: _DeclaredStep) -> Mapping[str, str]:
        return one.step.taken if self._part == "in" else one.step.makes

    def _steps(self) -> Iterator[_DeclaredStep]:
        """Those that this notebook may be."""
        own = Path(os.environ.get(_NOTEBOOK, "")).name
        for name in declaration.names():
            declared = declaration.find(name)
            if declared is None:
                continue
            recipe = filling.filled_recipe(declared, {})
            # Of those of a matrix the first, as long as nobody names another.
            firsts = {step.declared_name: step for step in reversed(recipe.steps)}
            for step in recipe.steps if self._step else reversed(firsts.values()):
                one = _DeclaredStep(recipe, step)
                is_named = self._step in (one.label, f"{recipe.name}/{step.declared_name}")
                if is_named or (not self._step and own in ("", step.notebook.name)):
                    yield one


class _DeclaredStep(NamedTuple):
    recipe: Recipe
    step: RecipeStep

    @property
    def label(self) -> str:
        return f"{self.recipe.name}/{self.step.name}"


def _taken(one: _DeclaredStep, name: str) -> str | list[str]:
    """What a step takes by that name, as things are now: of a step before, what it made when it last went well."""
    step = one.step
    if name in step.files:
        return step.files[name]
    if name in step.data:
        return resolve_any(step.data[name]).uri
    if name in step.gathered:
        return [_made_before(one, source) for source in step.gathered[name].all]
    return _made_before(one, step.inputs[name])


def _made_before(one: _DeclaredStep, source: str) -> str:
    before, _, output = source.partition(".")
    if found := made_last(one.recipe.name, before, output):
        return found
    made = next(each for each in one.recipe.steps if each.name == before).makes[output]
    if is_file(made):
        raise NotFound(f"{before} has not made {made} yet", f"`%recipe run {one.recipe.name} --only {before}` makes it")
    if found := made_things.newest(Uri.parse(made)):
        return found
    raise NotFound(f"{before} has not made {made} yet", f"`%recipe get {one.recipe.name} {made}` makes a small one")
