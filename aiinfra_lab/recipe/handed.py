"""`recipe.inputs.NAME` and `recipe.outputs.NAME`: what `in` and `out` of a step name, for its notebook.

A notebook that is opened by hand gets what the last good run made, so that it runs alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..config import settings
from ..errors import NotFound, UsageProblem, did_you_mean, nearest
from .base import is_file
from .by_hand import OpenedStep, as_run_last, steps_of, taken
from .notebook import HANDED_BY, Part
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


class NoSuchName(NotFound, AttributeError):
    """`in`, or `out`, has no such name; for `hasattr`, and for `getattr` with a default, that is all."""


class HandedOver:
    """The names of `in`, or of `out`, as attributes.

    A thing is its URI, in `inputs` with the version of this run; a file or folder its path, a glob a list of paths, and
    what all combinations of a step made a list. The folder of an output is made. In a notebook that is opened by hand
    all is that of the last good run; called with `"RECIPE/STEP"` it is that step's there, where several have the name,
    and in a run its own step's all the same. NotFound where no step has it, or nothing was made yet.
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
            raise NoSuchName(what, did_you_mean(name, found, f'write {self._part} = {{ {name} = "…" }}'))
        return self._value(found[name])

    def __dir__(self) -> list[str]:
        found = self._in_run()
        return sorted(found if found is not None else self._names(self._steps()))

    def __repr__(self) -> str:
        return f"recipe.{HANDED_BY[self._part]}: {', '.join(dir(self)) or 'nothing'}"

    def _in_run(self) -> dict[str, str | list[str]] | None:
        text = os.environ.get(HANDED_OVER, "")
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

    def _steps(self) -> list[OpenedStep]:
        """Those that this notebook may be."""
        if not self._step:
            return steps_of(_own_notebook())
        one = as_run_last(self._step)
        return [one] if one else []

    def _names(self, steps: Iterable[OpenedStep]) -> set[str]:
        return {name for one in steps for name in (one.step.taken if self._part == "in" else one.step.makes)}

    def _by_hand(self, name: str) -> str | list[str]:
        steps = self._steps()
        if self._step and not steps:
            known = [one.label for one in steps_of("")]
            raise NotFound(f"there is no step {self._step}", did_you_mean(self._step, known, "write a recipe"))
        having = self._having(name, steps)
        if not having:
            raise self._unknown(name, steps)
        if len(having) > 1:
            what = f"{name} is in `{self._part}` of {', '.join(one.label for one in having)}"
            raise UsageProblem(what, f"say which: {self._example(having[0], name)}")
        one = as_run_last(having[0].label) or having[0]
        return taken(one, name) if self._part == "in" else one.step.makes[name]

    def _having(self, name: str, steps: Iterable[OpenedStep]) -> list[OpenedStep]:
        return [one for one in steps if name in self._names([one])]

    def _unknown(self, name: str, steps: Sequence[OpenedStep]) -> NoSuchName:
        own = _own_notebook()
        what = f"no step {f'with {own}' if own else 'of a recipe'} has {name} in its `{self._part}`"
        if self._step:
            what = f"`{self._part}` of {self._step} has no {name}"
        elif own and not steps:
            what = f"no recipe has a step with {own}"
        known, others = self._names(steps), self._having(name, steps_of(""))
        if others and not nearest(name, known):
            return NoSuchName(what, f"{self._example(others[0], name)} is that of {others[0].label}")
        return NoSuchName(what, did_you_mean(name, known, f'write {self._part} = {{ {name} = "…" }} below [steps.…]'))

    def _example(self, one: OpenedStep, name: str) -> str:
        return f'`recipe.{HANDED_BY[self._part]}("{one.label}").{name}`'


def _own_notebook() -> str:
    """The name of its file; empty where that is not known, as outside of JupyterLab."""
    return Path(os.environ.get(_NOTEBOOK, "")).name
