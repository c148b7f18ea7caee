"""Deciding what runs: a step whose notebook, parameters, inputs and toolkit did not change is not run again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import __version__
from ..errors import Failed
from ..store import Record, canonical
from ..uris import Uri
from . import outputs
from .base import RecipeStep, Value
from .declaration import cells
from .record import Output, RunRecord, StepRecord


def step_key(step: RecipeStep, values: Mapping[str, Value], made_by: Mapping[str, str]) -> str:
    """The digest of everything that decides what a step makes.

    made_by: the key of the step that made each input. An input such as an endpoint has no version of its own, so the
    key of its maker stands for its state.
    """
    # Code only: neither a stored output nor a changed sentence between the cells is a reason to run.
    code = ["".join(cell["source"]).strip() for cell in cells(step.notebook)]
    parts = {
        "code": code,
        "values": dict(values),
        "inputs": {name: made_by[source.partition(".")[0]] for name, source in step.inputs.items()},
        "after": {name: made_by[name] for name in step.after},
        "outputs": dict(step.outputs),
        # Another version of either may make another thing of the same code.
        "toolkit": __version__,
        "python": platform.python_version(),
    }
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def earlier(runs: Iterable[Record[RunRecord]], name: str, key: str, *, alive: bool) -> StepRecord | None:
    """The outcome of the step's newest attempt with that very key when it succeeded and its outputs are still there.

    None otherwise: an attempt that failed, was stopped or whose process vanished may have left its work half done, so
    nothing older stands in for it. Nor does anything for what lives (an endpoint) once the step was given something
    else: every attempt changes the one thing of that name.

    runs: the recipe's, newest first. alive: whether an output that lives must be living to count.
    """
    is_overtaken = False
    for record in runs:
        step = record.body.step(name)
        if step is None or not step.key:  # it never began
            continue
        if step.key == key:
            return step if _stands(step, is_overtaken=is_overtaken, alive=alive) else None
        is_overtaken = True
    return None


def made(step: RecipeStep) -> tuple[Output, ...]:
    """The step's outputs with the version that is newest now. Failed when one of them does not exist."""
    return tuple(Output(name, _newest(step, Uri.parse(uri))) for name, uri in step.outputs.items())


def notebook_digest(notebook: Path) -> str:
    """The SHA-256 of the file as it is."""
    return hashlib.sha256(notebook.read_bytes()).hexdigest()


def _stands(step: StepRecord, *, is_overtaken: bool, alive: bool) -> bool:
    uris = step.made.values()
    if not step.succeeded or (is_overtaken and any(map(outputs.can_live, uris))):
        return False
    return outputs.are_there(uris, alive=alive)


def _newest(step: RecipeStep, uri: Uri) -> str:
    if (found := outputs.newest(uri)) is None:
        raise Failed(f"{step.name} ran, but made no {uri}", f"correct {step.notebook.name}, or `out` of the step")
    return found
