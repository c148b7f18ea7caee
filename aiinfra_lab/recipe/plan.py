"""Deciding what runs: a step whose notebook, parameters, inputs and toolkit did not change is not run again."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import __version__
from ..config import settings
from ..errors import Failed
from ..store import Record, canonical
from ..uris import Uri
from . import outputs
from .base import RecipeStep, Value
from .declaration import cells
from .record import Output, RunRecord, StepRecord

# As it stands in a string or behind a magic: it has an ending, and no blanks.
_FILE_NAME = re.compile(r"[\w./~+@-]*\w\.\w+")


def step_key(step: RecipeStep, values: Mapping[str, Value], made_by: Mapping[str, str]) -> str:
    """The digest of everything that decides what a step makes.

    made_by: the key of the step that made each input. An input such as an endpoint has no version of its own, so the
    key of its maker stands for its state. Of files, those of the project count that a text of a parameter or the code
    names as the notebook opens them; what code reads without naming it so is not seen.
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
    if files := _named_files(step.notebook, code, values):
        parts["files"] = files
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


def file_digest(path: Path) -> str:
    """The SHA-256 of the file as it is."""
    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named_files(notebook: Path, code: Iterable[str], values: Mapping[str, Value]) -> dict[str, str]:
    """Name → digest of each file of the project that is named, and is there."""
    texts = {value for value in values.values() if isinstance(value, str)}
    names = texts.union(*map(_FILE_NAME.findall, code))
    return {name: file_digest(path) for name in names if _is_ours(path := notebook.parent / name)}


def _is_ours(path: Path) -> bool:
    where = settings()
    try:
        real = path.resolve()
        return real.is_relative_to(where.project) and not real.is_relative_to(where.home) and real.is_file()
    except (OSError, ValueError):  # a text that cannot be a path
        return False


def _stands(step: StepRecord, *, is_overtaken: bool, alive: bool) -> bool:
    uris = step.made.values()
    if not step.succeeded or (is_overtaken and any(map(outputs.can_live, uris))):
        return False
    return outputs.are_there(uris, alive=alive)


def _newest(step: RecipeStep, uri: Uri) -> str:
    if (found := outputs.newest(uri)) is None:
        raise Failed(f"{step.name} ran, but made no {uri}", f"correct {step.notebook.name}, or `out` of the step")
    return found
