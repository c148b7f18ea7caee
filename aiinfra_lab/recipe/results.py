"""What recipe's verbs answer with: a run with its steps, a recipe as it is declared, something that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec

from ..config import settings
from ..show import Card, Result, plain_card, shown
from ..units import show_duration
from ..uris import Uri
from .history import KIND, ObservedRun
from .record import StepRecord, StepState

_MOST_NAMES = 5
MARKS: dict[StepState, str] = {
    "done": "✓",
    "skipped": "=",
    "failed": "✗",
    "lost": "✗",
    "stopped": "■",
    "running": "▸",
    "waiting": " ",
    "blocked": "·",
    "not run": "·",
}


class RunStep(TypedDict):
    """A step of a run, as Python and JSON have it; see `StepRecord`."""

    state: StepState
    outputs: dict[str, str]
    key: str
    values: dict[str, Any]
    archive: str
    began_at: float | None
    seconds: float | None
    error: str
    cell: int | None
    inputs: dict[str, str]
    because: tuple[str, ...]
    changed: tuple[str, ...]
    opened: list[dict[str, Any]]
    opened_more: int


@dataclass(frozen=True)
class RecipeRun(Result):
    """One run of a recipe: its steps, how each ended, and what they made.

    archive: the folder of its executed notebooks, empty when it executed none.
    """

    uri: str
    state: str
    title: str
    started_at: float
    duration_s: float | None
    steps: dict[str, RunStep]
    archive: str
    is_drawn: bool = field(default=False, repr=False, metadata={"json": False})

    @property
    def outputs(self) -> dict[str, str]:
        """`step.output` → URI of everything made."""
        return {f"{name}.{key}": uri for name, step in self.steps.items() for key, uri in step["outputs"].items()}

    def card(self) -> Card:
        """The steps unless the cell has drawn them already, and where to look on."""
        # While it runs the frame alone is shown, again and again: where to look comes once, at the end.
        is_over = self.state not in ("running", "stopping")
        frame = Card(kind="", uri="") if self.is_drawn else self.frame()
        notes = [*frame.notes, *(_archives(self) if is_over else ()), *(_next_looks(self) if is_over else ())]
        return replace(plain_card(self._title, self._took, notes=notes), parts=frame.parts)

    def frame(self) -> Card:
        """The steps as they are, for the cell in which they run."""
        rows = [
            (MARKS[step["state"]], name, step["state"], shown("time_s", step["seconds"]), _made(step))
            for name, step in self.steps.items()
        ]
        notes = [f"{name}: {_first_line(step['error'])}" for name, step in self.steps.items() if step["error"]]
        notes += [note for name, step in self.steps.items() for note in _of_files(name, step)]
        return plain_card(self._title, self._took, header=("", "step", "", "time", "made"), rows=rows, notes=notes)

    @property
    def _title(self) -> str:
        return f"{self.uri} · {self.title}"

    @property
    def _took(self) -> str:
        return f"{self.state} in {show_duration(self.duration_s)}" if self.duration_s is not None else self.state


@dataclass(frozen=True)
class RecipeInfo(Result):
    """A recipe as it is declared, with the state of its newest run."""

    uri: str
    title: str
    state: str
    parameters: dict[str, Any]
    steps: tuple[str, ...]
    runs: int


@dataclass(frozen=True)
class Made(Result):
    """Something that a recipe makes. `note` says so when it had to be made first."""

    uri: str
    thing: str
    note: str

    def card(self) -> Card:
        return plain_card(self.thing, notes=(self.note,) if self.note else ())


def recipe_run(run: ObservedRun, title: str) -> RecipeRun:
    """A run as a verb hands it over."""
    record, body = run.record, run.record.body
    took = max(0.0, body.ended_at - body.started_at) if body.ended_at is not None else None
    steps = {step.name: _run_step(step) for step in body.steps}
    folder = settings().home / KIND / record.name
    executed = any(_archive_folder(step) == folder for step in steps.values())
    return RecipeRun(record.uri, run.state, title, body.started_at, took, steps, str(folder) if executed else "")


def _run_step(step: StepRecord) -> RunStep:
    fields = msgspec.to_builtins(step)
    del fields["name"]
    return cast(RunStep, {**fields, "outputs": step.made})


def _archive_folder(step: RunStep) -> Path | None:
    """The folder of the run that executed the step's notebook: an earlier one's for a step that was skipped."""
    return Path(step["archive"]).parent if step["archive"] else None


def _of_files(name: str, step: RunStep) -> Iterator[str]:
    """What a step's files had to do with it, in sentences."""
    if step["because"]:
        yield f"{name} ran since {_few(step['because'])} changed"
    if step["changed"]:
        yield f"{name}: {_few(step['changed'])} changed while it ran, so it runs again next time"
    if step["state"] == "skipped":
        return  # that is told of the run that ran it
    # A module is code, which nobody declares; that it changed is seen all the same.
    files = [one for one in step["opened"] if not one["name"].endswith(".py")]
    if by_step := [one["name"] for one in files if one["by_step"]]:
        yield f"{name} opened {_few(by_step, step['opened_more'])}, which `in` does not name"
    if meanwhile := [one["name"] for one in files if not one["by_step"]]:
        yield f"while {name} ran, {_few(meanwhile)} was opened, which `in` does not name"


def _few(names: Sequence[str], more: int = 0) -> str:
    left = max(0, len(names) - _MOST_NAMES) + more
    return ", ".join(names[:_MOST_NAMES]) + (f" and {left} more" if left else "")


def _archives(run: RecipeRun) -> list[str]:
    if run.archive:
        return [f"executed notebooks: {run.archive}"]
    folders = dict.fromkeys(filter(None, map(_archive_folder, run.steps.values())))
    return [f"skipped as in {Uri.parse(folder.name, KIND)}; executed notebooks: {folder}" for folder in folders]


def _made(step: RunStep) -> str:
    return " ".join(step["outputs"].values())


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0][:200]


def _next_looks(run: RecipeRun) -> list[str]:
    uris = [Uri.parse(uri) for uri in list(run.outputs.values())[-3:]]
    looks = [f"`%{uri.noun} show {uri.label}`" for uri in uris]
    return [f"where to look next: {', '.join(looks)}, `%lab log {uris[-1]}`"] if uris else []
