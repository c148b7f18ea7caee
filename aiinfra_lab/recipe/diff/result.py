"""Two runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...show import Card, Cell, Dim, Part, Quote, Result, Table
from ...units import counted, plain
from ...uris import Uri
from .. import archives, made_things
from ..cache_key import changes
from ..record import StepRecord
from ..recorded import RecordedRun
from .cells import CellDifference, differing_cells

_MOST_CELLS = 12


@dataclass(frozen=True)
class StepDifference:
    """A step that differs. states: of both runs; a dash where one has no such step. reasons: what of it was other, a
    few words each. metrics: of what it made, `name before → after`. cells: of its executed notebook.
    """

    name: str
    states: tuple[str, str]
    reasons: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[CellDifference, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether it means the same in both."""
        same = self.states[0] == self.states[1] or {*self.states} == {"done", "skipped"}
        return same and not (self.reasons or self.metrics or self.cells)


@dataclass(frozen=True)
class RunDifference(Result):
    """What differs between two runs of recipes. parameters: `name before → after`. unread: executed notebooks that are
    gone or cannot be read, so that nothing is known of their cells.
    """

    kind = "Difference"

    run: str
    other: str
    states: tuple[str, str]
    parameters: tuple[str, ...]
    steps: tuple[StepDifference, ...]
    unread: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether both mean the same, as far as their notebooks are there."""
        return not (self.parameters or self.steps) and self.states[0] == self.states[1]

    def card(self) -> Card:
        """What differs, the steps first."""
        rows: list[tuple[Cell, ...]] = [("all", Dim("parameter"), each) for each in self.parameters]
        for step in self.steps:
            state = " → ".join(dict.fromkeys(step.states))
            what = "; ".join((*step.reasons, *step.metrics)) or Dim("–")
            rows.append((step.name, state, what))
        shown = [(step.name, cell) for step in self.steps for cell in step.cells]
        quotes: list[Part] = [Quote("\n".join(cell.lines), label=f"{name}, cell {cell.number}: {_WORDS[cell.change]}")
                              for name, cell in shown[:_MOST_CELLS]]  # fmt: skip
        more = f"{counted(len(shown) - _MOST_CELLS, 'cell')} more differ." if len(shown) > _MOST_CELLS else ""
        gone = f"Not read, since they are gone: {', '.join(self.unread)}." if self.unread else ""
        lead = (
            f"**{self.run} and {self.other} mean the same**: what differs is what differs each time."
            if self.is_same
            else f"**{counted(len(self.steps), 'step')} of {self.run} and {self.other} differ**."
            if self.steps
            else f"**{self.run} and {self.other} differ**, and none of their steps does."
        )
        return Card(
            kind=self.kind,
            uri=self.other,
            lead=lead,
            parts=[Table(("step", "state", "what differs"), rows), *quotes],
            notes=[note for note in (more, gone) if note],
        )


_WORDS = {"added": "it is new", "removed": "it is gone", "code": "its code differs", "outputs": "its outputs differ"}


def compare_runs(one: RecordedRun, two: RecordedRun) -> RunDifference:
    """What differs between them, of one recipe or of two, from the first to the second."""
    unread: list[str] = []
    names = dict.fromkeys([step.name for run in (one, two) for step in run.steps])
    found = [_step(name, one, two, unread) for name in names]
    return RunDifference(
        one.uri,
        two.uri,
        (one.body.state, two.body.state),
        tuple(_changed(one.body.parameters, two.body.parameters)),
        tuple(step for step in found if not step.is_nothing),
        tuple(unread),
    )


def _step(name: str, one: RecordedRun, two: RecordedRun, unread: list[str]) -> StepDifference:
    before, after = one.step(name), two.step(name)
    if before is None or after is None:
        states = (before.state if before else "–", after.state if after else "–")
        return StepDifference(name, states, ("only one of them has it",), (), ())
    # The packages of an environment are kept by their digest; which differ is for the plan to say.
    reasons = changes(before.parts, after.parts, _inputs(before, after), lambda _digest: ()) if before.parts else []
    metrics = [each for output in after.outputs for each in _metrics(before.made.get(output.name), output.uri)]
    cells = _cells(before, after, one, two, unread) if before.archive != after.archive else []
    return StepDifference(name, (before.state, after.state), tuple(reasons), tuple(metrics), tuple(cells))


def _inputs(before: StepRecord, after: StepRecord) -> dict[str, str]:
    both = {**before.values, **after.values}
    return {name: f"{before.values.get(name, '–')} → {after.values.get(name, '–')}"
            if before.values.get(name) != after.values.get(name) else f"what {name} names changed"
            for name in both}  # fmt: skip


def _metrics(made_before: str | None, made_after: str) -> list[str]:
    if made_before is None or made_before == made_after:
        return []
    old, new = made_things.metrics(made_before), made_things.metrics(made_after)
    both = {name: [plain(each[name]) if name in each else "–" for each in (old, new)] for name in {**new, **old}}
    return [f"{name} {before} → {after}" for name, (before, after) in both.items() if before != after]


def _cells(
    before: StepRecord, after: StepRecord, one: RecordedRun, two: RecordedRun, unread: list[str]
) -> list[CellDifference]:
    both = [_read(step.archive, unread) for step in (before, after) if step.archive]
    if len(both) < 2 or both[0] is None or both[1] is None:
        return []
    own = tuple(_own(run, step) for run, step in ((one, before), (two, after)))
    return differing_cells(both[0], both[1], (own[0], own[1]))


def _own(run: RecordedRun, step: StepRecord) -> dict[str, str]:
    """What a run calls itself and what it made, with its number."""
    named = [run.uri, *step.made.values()]
    return {uri: f"{Uri.parse(uri).noun}:{Uri.parse(uri).name}@(this)" for uri in named if Uri.parse(uri).tag} | {
        run.name: f"{run.base}@(this)"
    }


def _read(archive: str, unread: list[str]) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(archives.path_of(archive).read_text("utf-8"))
        return found if isinstance(found.get("cells"), list) else None
    except (OSError, ValueError, AttributeError):
        unread.append(archive)
        return None


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*old, *new])
    return [f"{name} {old.get(name, '–')} → {new.get(name, '–')}" for name in names if old.get(name) != new.get(name)]
