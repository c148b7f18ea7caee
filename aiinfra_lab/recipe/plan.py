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
from .inputs import Taken, file_digest
from .record import OpenedFile, Output, RunRecord, StepRecord

# As it stands in a string or behind a magic: it has an ending, and no blanks.
_FILE_NAME = re.compile(r"[\w./~+@-]*\w\.\w+")


def step_key(
    step: RecipeStep,
    values: Mapping[str, Value],
    made_by: Mapping[str, str],
    given: Mapping[str, Taken] = {},
    named: Mapping[str, Taken] | None = None,
) -> str:
    """The digest of everything that decides what a step makes, as far as it is known before it runs.

    made_by: the key of the step that made each input. An input such as an endpoint has no version of its own, so the
    key of its maker stands for its state. given: the files of each source in its `in`. named: see `named_files`; read
    when they are not given. What code reads without naming it is known when it has run: see `earlier`.
    """
    named = named_files(step, values, given.values()) if named is None else named
    parts: dict[str, object] = {
        # Code only: neither a stored output nor a changed sentence between the cells is a reason to run.
        "code": _code(step),
        "values": dict(values),
        "inputs": {name: made_by[source.partition(".")[0]] for name, source in step.inputs.items()},
        "after": {name: made_by[name] for name in step.after},
        "outputs": dict(step.outputs),
        # Another version of either may make another thing of the same code.
        "toolkit": __version__,
        "python": platform.python_version(),
    }
    if step.files:
        parts["given"] = {name: given[source].digest for name, source in step.files.items()}
    if named:
        parts["files"] = {name: taken.digest for name, taken in named.items()}
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def earlier(runs: Iterable[Record[RunRecord]], name: str, key: str, *, alive: bool) -> StepRecord | None:
    """The outcome of the step's newest attempt with that very key when it succeeded and its outputs are still there.

    Every file that it was seen to open must be as it was, too. None otherwise: an attempt that failed, was stopped or
    whose process vanished may have left its work half done, so nothing older stands in for it. Nor does anything for
    what lives (an endpoint) once the step was given something else: every attempt changes the one thing of that name.

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


def state_of(key: str, opened: Iterable[OpenedFile]) -> str:
    """What stands for the state of what a step made, for the steps after it: its key, and what it opened besides."""
    seen = {one.name: one.digest for one in opened}
    return hashlib.sha256(canonical([key, seen]).encode()).hexdigest() if seen else key


def named_files(step: RecipeStep, values: Mapping[str, Value], given: Iterable[Taken] = ()) -> dict[str, Taken]:
    """Each file of the project that a text of a parameter or the code names as the notebook opens it, by that name.

    Without those that are given in `in`.
    """
    texts = {value for value in values.values() if isinstance(value, str)}
    names = texts.union(*map(_FILE_NAME.findall, _code(step)))
    there = {name: path for name in names if _is_ours(path := step.notebook.parent / name)}
    known = {file.resolve() for taken in given for file in taken.files}
    return {name: Taken.of([path]) for name, path in there.items() if path.resolve() not in known}


def why(runs: Iterable[Record[RunRecord]], name: str, inputs: Mapping[str, str]) -> tuple[str, ...]:
    """The files and data that are others than at the step's newest attempt; none where nothing is known of that."""
    last = next((step for run in runs if (step := run.body.step(name)) and step.key), None)
    if last is None:
        return ()
    changed = [source for source, digest in inputs.items() if last.inputs.get(source, digest) != digest]
    return (*changed, *last.changed, *(one.name for one in last.opened if not _is_as_opened(one)))


def _is_as_opened(one: OpenedFile) -> bool:
    path = settings().project / one.name
    return path.is_file() and file_digest(path) == one.digest


def _code(step: RecipeStep) -> list[str]:
    return ["".join(cell["source"]).strip() for cell in cells(step.notebook)]


def _is_ours(path: Path) -> bool:
    where = settings()
    try:
        real = path.resolve()
        return real.is_relative_to(where.project) and not real.is_relative_to(where.home) and real.is_file()
    except (OSError, ValueError):  # a text that cannot be a path
        return False


def _stands(step: StepRecord, *, is_overtaken: bool, alive: bool) -> bool:
    uris = step.made.values()
    if step.changed or not all(map(_is_as_opened, step.opened)):
        return False
    if not step.succeeded or (is_overtaken and any(map(outputs.can_live, uris))):
        return False
    return outputs.are_there(uris, alive=alive)


def _newest(step: RecipeStep, uri: Uri) -> str:
    if (found := outputs.newest(uri)) is None:
        raise Failed(f"{step.name} ran, but made no {uri}", f"correct {step.notebook.name}, or `out` of the step")
    return found
