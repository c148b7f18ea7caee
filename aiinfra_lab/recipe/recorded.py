"""A recipe's run as its records have it: one of its own, and one for each step of which something has become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..store import Event, Record, open_store, patiently
from ..store.base import leave_out, left_out
from ..uris import split_label
from .record import EndState, RunRecord, StepRecord, StepState

StepRecords = Mapping[str, Record[StepRecord]]
NONE_YET: StepRecords = MappingProxyType({})


class ReadSteps(NamedTuple):
    """Of one run: by_step, the records of its steps by their names; unreadable: the names of those whose record cannot
    be read."""

    by_step: StepRecords = NONE_YET
    unreadable: frozenset[str] = frozenset()


def read_steps(name: str | None = None, about: str | None = None, *, skip_unreadable: bool) -> dict[str, ReadSteps]:
    """`NAME@N` → its steps, of all runs of a recipe, or of one run; of all there are without either.

    skip_unreadable: as in `Store.list`
    """
    found: dict[str, dict[str, Record[StepRecord]]] = {}
    unreadable: dict[str, set[str]] = {}
    with left_out() as lacking:
        for record in open_store().list(StepRecord, name=name, about=about, skip_unreadable=skip_unreadable):
            found.setdefault(_run_of(record.name), {})[record.body.name] = record
    for kind, _, label in (each.partition(" ") for each in lacking):
        leave_out(kind, label)
        unreadable.setdefault(_run_of(label), set()).add(split_label(label)[2] or "")
    runs = {*found, *unreadable}
    return {run: ReadSteps(found.get(run, {}), frozenset(unreadable.get(run, ()))) for run in runs}


def _run_of(label: str) -> str:
    name, version, _ = split_label(label)
    return f"{name}@{version}"


class RecordedRun:
    """One run, `recipe:NAME@N`, and its steps in the order of the recipe.

    record: the run's own. read: those of its steps, where they are known; else they are read when somebody asks for
    them first, and are then at least as new as the run's own. Whoever asks gets the errors of a store. skip_unreadable:
    for what people look at, as in `Store.list`. is_patient: wait for a store that is away, as who has begun work does.
    """

    def __init__(
        self,
        record: Record[RunRecord],
        read: ReadSteps | None = None,
        *,
        skip_unreadable: bool = False,
        is_patient: bool = False,
    ) -> None:
        self.record = record
        self.skip_unreadable, self._is_patient = skip_unreadable, is_patient
        if read is not None:
            self.__dict__["read"] = read  # where `cached_property` looks

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
    def read(self) -> ReadSteps:
        """Its steps as they were read."""
        if self.body.steps:
            return ReadSteps()
        once = partial(read_steps, about=self.uri, skip_unreadable=self.skip_unreadable)
        return (patiently(once) if self._is_patient else once()).get(self.name, ReadSteps())

    @property
    def lacks_steps(self) -> bool:
        """Whether some of its steps could not be read; False as long as nobody has asked for them."""
        return "read" in self.__dict__ and bool(self.read.unreadable)

    @property
    def by_step(self) -> StepRecords:
        """The records of those steps that have one, and that can be read."""
        return self.read.by_step

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
        return self._with(self.record, {**self.by_step, **records})

    def with_body(self, body: RunRecord) -> RecordedRun:
        """The same run with that instead of what its own record holds; nothing is written."""
        return self._with(self.record.of(body), self.by_step)

    def with_end(self, ended: StepState, at: float) -> RecordedRun:
        """The same run with its running steps ended so, at that time in epoch seconds; those that wait did not run once
        it is over. Nothing is written."""
        ends: dict[StepState, StepState] = {"running": ended, **({"waiting": "not run"} if self.body.steps else {})}
        changed = (_ended(step, ends[step.state], at) for step in self.steps if step.state in ends)
        return self.with_steps(changed)

    def ended(self, state: EndState, at: float) -> RecordedRun:
        """The same run, over since then, in epoch seconds. Nothing is written."""
        over = self.with_end(state, at)
        return over.with_body(replace(over.body, state=state, ended_at=at))

    def commit(self, before: RecordedRun, event: Event | None = None, *, with_own: bool = False) -> RecordedRun:
        """Write what is other than before, in one commit with the event; nothing where nothing is, the event neither.

        with_own: the run's own record in any case, so that whoever wrote that is noticed. Conflict where one of these
        records was written since they were read.
        """
        changes = self.changes(before)
        if not changes:
            return self
        own = [self.record] if with_own and changes[0] is not self.record else []
        return self.as_written(open_store().commit([*own, *changes], event))

    def changes(self, before: RecordedRun) -> list[Record[Any]]:
        """The records in which it is other than before."""
        own, there = [self.record] if self.body != before.body else [], before.by_step
        return [*own, *(one for name, one in self.by_step.items() if name not in there or one.body != there[name].body)]

    def as_written(self, written: Sequence[Record[Any]]) -> RecordedRun:
        """The same run once these of its records are written, among others."""
        now = {record.name: record for record in written if record.kind in (RunRecord.kind, StepRecord.kind)}
        steps = {name: now.get(record.name, record) for name, record in self.by_step.items()}
        return self._with(now.get(self.name, self.record), steps)

    def after(self, there: RecordedRun) -> RecordedRun:
        """The same run, to be written over what is there now."""
        now = RecordedRun(there.record.of(self.body), there.read, skip_unreadable=self.skip_unreadable)
        return now if self.body.steps else now.with_steps(one.body for one in self.by_step.values())

    def _with(self, record: Record[RunRecord], by_step: StepRecords) -> RecordedRun:
        return RecordedRun(record, self.read._replace(by_step=by_step), skip_unreadable=self.skip_unreadable)

    def _step(self, name: str) -> StepRecord:
        if found := self.by_step.get(name):
            return found.body
        if name in self.read.unreadable:
            return StepRecord(name=name, state="cannot be read")
        return StepRecord(name=name, state="waiting" if self.body.is_open else "not run")

    def _record(self, name: str) -> Record[StepRecord]:
        return self.by_step.get(name) or Record.new(f"{self.name}#{name}", StepRecord(name=name))


def _ended(step: StepRecord, state: StepState, at: float) -> StepRecord:
    seconds = step.seconds if step.began_at is None else max(0.0, at - step.began_at)
    return replace(step, state=state, seconds=seconds)
