"""A recipe's run as its records have it: one of its own, and one for each step of which something has become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from ..store import Event, Record, open_store
from .record import EndState, RunRecord, StepRecord, StepState

StepRecords = Mapping[str, Record[StepRecord]]
NONE_YET: StepRecords = MappingProxyType({})


class RecordedRun:
    """One run, `recipe:NAME@N`, and its steps in the order of the recipe.

    record: the run's own. by_step: those of its steps, by name, where they are known; else they are read when somebody
    asks for them first, and are then at least as new as the run's own. skip_unreadable: for what people look at, as in
    `Store.list`: of a step whose record cannot be read nothing is known to have become. Whoever asks for the steps gets
    the errors of a store.
    """

    def __init__(
        self, record: Record[RunRecord], by_step: StepRecords | None = None, *, skip_unreadable: bool = False
    ) -> None:
        self.record = record
        self._skip_unreadable = skip_unreadable
        if by_step is not None:
            self.__dict__["by_step"] = by_step  # where `cached_property` looks

    def __repr__(self) -> str:
        return f"RecordedRun({self.record!r})"

    @property
    def uri(self) -> str:
        return self.record.uri

    @property
    def name(self) -> str:
        """NAME@N."""
        return self.record.name

    @property
    def base(self) -> str:
        """The recipe's name."""
        return self.record.base

    @property
    def version(self) -> int:
        return self.record.version

    @property
    def updated_at(self) -> float:
        """When its own record was written last, in epoch seconds."""
        return self.record.updated_at

    @property
    def body(self) -> RunRecord:
        return self.record.body

    @cached_property
    def by_step(self) -> StepRecords:
        """The records of those steps that have one."""
        if self.body.steps:
            return NONE_YET
        found = open_store().list(StepRecord, about=self.uri, skip_unreadable=self._skip_unreadable)
        return {record.body.name: record for record in found}

    @cached_property
    def steps(self) -> tuple[StepRecord, ...]:
        """All of them; one without a record waits for its turn or, where the run is over, did not get it."""
        if self.body.steps:
            return self.body.steps
        return tuple(self._step(name) for name in self.body.order)

    def step(self, name: str) -> StepRecord | None:
        """The step of that name; None when the recipe had none when it ran."""
        if self.body.steps:
            return next((step for step in self.body.steps if step.name == name), None)
        return self._step(name) if name in self.body.order else None

    @property
    def has_begun(self) -> bool:
        """Whether something has become of a step of it."""
        return any(step.state != "waiting" for step in self.steps)

    @property
    def last_sign_at(self) -> float:
        """When it was last known to go on, for a run that could not write down its end."""
        begun = [step.began_at + (step.seconds or 0.0) for step in self.steps if step.began_at]
        return max([self.body.started_at, *begun])

    def with_steps(self, steps: Iterable[StepRecord]) -> RecordedRun:
        """The same run with these instead of those of their names; nothing is written."""
        now = {step.name: step for step in steps}
        if self.body.steps:
            return self.with_body(replace(self.body, steps=tuple(now.get(one.name, one) for one in self.body.steps)))
        records = {name: self._record(name).of(replace(step, run=self.uri)) for name, step in now.items()}
        return RecordedRun(self.record, {**self.by_step, **records})

    def with_body(self, body: RunRecord) -> RecordedRun:
        """The same run with that instead of what its own record holds; nothing is written."""
        return RecordedRun(self.record.of(body), self.by_step)

    def with_end(self, ended: StepState) -> RecordedRun:
        """The same run with its running steps ended so; what did not begin will not. Nothing is written."""
        ends: Mapping[StepState, StepState] = {"running": ended, "waiting": "not run"}
        changed = (replace(step, state=ends[step.state]) for step in self.steps if step.state in ends)
        return self.with_steps(changed)

    def ended(self, state: EndState, at: float) -> RecordedRun:
        """The same run, over since then, in epoch seconds. Nothing is written."""
        over = self.with_end(state)
        return over.with_body(replace(over.body, state=state, ended_at=at))

    def commit(self, before: RecordedRun, event: Event | None = None) -> RecordedRun:
        """Write what is other than before, in one commit with the event; nothing where nothing is, the event neither.

        Conflict where one of these records was written since they were read.
        """
        changes = self.changes(before)
        return self.as_written(open_store().commit(changes, event)) if changes else self

    def changes(self, before: RecordedRun) -> list[Record[Any]]:
        """The records in which it is other than before."""
        own, there = [self.record] if self.body != before.body else [], before.by_step
        return [*own, *(one for name, one in self.by_step.items() if name not in there or one.body != there[name].body)]

    def as_written(self, written: Sequence[Record[Any]]) -> RecordedRun:
        """The same run once these of its records are written, among others."""
        now = {record.name: record for record in written if record.kind in (RunRecord.kind, StepRecord.kind)}
        steps = {name: now.get(record.name, record) for name, record in self.by_step.items()}
        return RecordedRun(now.get(self.name, self.record), steps)

    def after(self, there: RecordedRun) -> RecordedRun:
        """The same run, to be written over what is there now."""
        now = RecordedRun(there.record.of(self.body), there.by_step)
        return now if self.body.steps else now.with_steps(one.body for one in self.by_step.values())

    def _step(self, name: str) -> StepRecord:
        found = self.by_step.get(name)
        return found.body if found else StepRecord(name=name, state="waiting" if self.body.is_open else "not run")

    def _record(self, name: str) -> Record[StepRecord]:
        return self.by_step.get(name) or Record.new(f"{self.name}#{name}", StepRecord(name=name))
