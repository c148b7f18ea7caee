"""Deciding what runs, and saying why: a step whose code, parameters, inputs and environment did not change is skipped.

Nothing is written here, so that a plan is the same whether a run follows it or somebody only looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from ..config import settings
from ..errors import UsageProblem
from ..store import canonical_digest
from ..uris import Uri
from . import made_things
from .at_once import at_once
from .base import NEVER, RecipeStep
from .cache_key import Parts, changed_packages, changes
from .expectations import unmet
from .made_files import Leftovers, made_no
from .prepared import Prepared, Sources, content_digest
from .record import NO_FILE, OpenedFile, Output, StepRecord
from .recorded import RecordedRun
from .taken import Taken, looked_at

Action = Literal["run", "skip", "wait", "fail", "block"]
Runs = Sequence[RecordedRun]


# The parts of a key that a process has read once, and does not read again.
_TAKEN = ("in", "type", "module", "file", "packages", "python", "accelerator")
_HAD = {"failed": "failed", "timeout": "timed out", "oom": "run out of memory"}


@dataclass(frozen=True)
class PlannedStep:
    """What is to become of a step. wait: that is known when steps before it have run, which may make what they made.

    fail: it could be skipped, but what it made is not what is expected of it now. block: it does not begin, for another
    one fails. because: why it is not skipped, a few words each. found: the attempt that stands for it as it is.
    """

    name: str
    action: Action
    because: tuple[str, ...]
    prepared: Prepared
    found: StepRecord | None = None


class Planner:
    """Plans the steps of one run of a recipe, each when it is known what became of those before it.

    pinned: `data:NAME` → the version of this run. runs: those before, newest first. force: run every step. alive:
    whether an output that lives, such as an endpoint, must be living for its step to be skipped. held: the steps that
    go on in a kernel that was held, each with the folder for that. given_up: those of them that do not, once they are
    planned: what that kernel has read is another one now.
    """

    def __init__(
        self,
        pinned: Mapping[str, str],
        runs: Runs,
        *,
        force: bool = False,
        alive: bool = True,
        held: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self._runs, self._force, self._alive, self.held = runs, force, alive, dict(held)
        self.given_up: dict[str, Path] = {}
        self.uris = dict(pinned)
        self._states: dict[str, str] = {}
        self._unknown: set[str] = set()

    @looked_at("a file")
    def plan(self, step: RecipeStep) -> PlannedStep:
        """Decide about a step whose `depends_on` have been given to `take` or `leave_open`. LabError when a file that
        it takes is not there any more, or cannot be read."""
        prepared = Prepared.of(step, Sources(self.uris, self._states))
        waits_for = [name for name in step.depends_on if name in self._unknown]
        attempts = _Attempts(self._runs, step.name)
        if step.name in self.held and not (stale := _stale(prepared, attempts)):
            return PlannedStep(step.name, "run", ("it goes on in the kernel that was held",), prepared)
        if step.name in self.held:
            self.given_up[step.name] = self.held.pop(step.name)
            because = tuple(f"{each}: the kernel that was held has it as it was" for each in stale)
            return PlannedStep(step.name, "run", because, prepared)
        if self._force:
            return PlannedStep(step.name, "run", ("it was asked for by --force",), prepared)
        if not step.is_cached:
            return PlannedStep(step.name, "run", (f"its cache is {NEVER}",), prepared)
        if not waits_for:
            found, because = _decided(step, prepared, attempts, alive=self._alive)
            if found is None:
                return PlannedStep(step.name, "run", because, prepared)
            now, problem = prepared.again(found.parts), unmet(step.expect, found.made)
            return PlannedStep(step.name, "fail" if problem else "skip", (problem,) if problem else (), now, found)
        if because := _whatever_comes(step, prepared, attempts, waits_for):
            return PlannedStep(step.name, "run", because, prepared)
        return PlannedStep(step.name, "wait", tuple(f"{name} runs" for name in waits_for), prepared)

    def leftovers(self, step: RecipeStep) -> Leftovers:
        """What may be left of what it made before."""
        attempts = _Attempts(self._runs, step.name) if step.made_files else ()
        made = {file.digest for attempt in attempts for file in attempt.step.files}
        return Leftovers(tuple(step.made_files.values()), made)

    def take(self, name: str, key: str, ended: StepRecord) -> None:
        """What a step made, now or before, for those that come after it."""
        self._unknown.discard(name)
        self.uris.update({f"{name}.{output}": made for output, made in ended.makes.items()})
        self._states[name] = _state_of(key, ended.opened)

    def leave_open(self, step: RecipeStep) -> None:
        """What this step makes is not known, for it is to run."""
        self._unknown.add(step.name)
        self.uris.update({f"{step.name}.{name}": made for name, made in step.makes.items()})
        self._states[step.name] = ""


@at_once()
def build_plan(planner: Planner, steps: Iterable[RecipeStep]) -> dict[str, PlannedStep]:
    """What would become of each step if the recipe ran now."""
    planned: dict[str, PlannedStep] = {}
    by_name = {step.name: step for step in steps}
    for step in by_name.values():
        one = planner.plan(step)
        if blocked := _blocked(step, planned, by_name):
            one = replace(one, action="block", because=(blocked,), found=None)
        planned[step.name] = one
        if one.found is None:
            planner.leave_open(step)
            if not blocked:
                _revive(step, planned, by_name)
        else:
            planner.take(step.name, one.prepared.key, one.found)
    return planned


def needs_revival(found: StepRecord) -> bool:
    """Whether something that a skipped step started does not live any more, which a step that runs may need."""
    return not made_things.are_there(found.made.values(), alive=True)


def made(step: RecipeStep, runs: Collection[str]) -> tuple[Output, ...]:
    """The step's outputs with the version that it made in those runs; see `made_by`. Failed when it made none."""
    found = {name: made_things.made_by(Uri.parse(uri), runs, step.name) for name, uri in step.outputs.items()}
    if missing := [step.outputs[name] for name, uri in found.items() if uri is None]:
        raise made_no(step, missing[0])
    return tuple(Output(name, uri) for name, uri in found.items() if uri is not None)


class _Attempt(NamedTuple):
    """A time that a step ran, or was skipped, before. run: the URI of that run."""

    run: str
    step: StepRecord


class _Attempts:
    """Those of a step, newest first; not the runs in which it never began. The steps of a run are read when somebody
    comes to it: mostly the newest says all."""

    def __init__(self, runs: Runs, name: str) -> None:
        self._runs, self._name = runs, name

    def __iter__(self) -> Iterator[_Attempt]:
        for run in self._runs:
            if (step := run.step(self._name)) and step.key:
                yield _Attempt(run.uri, step)

    @property
    def last(self) -> StepRecord | None:
        """The newest; None where it never ran."""
        return next((attempt.step for attempt in self), None)


def _decided(
    step: RecipeStep, prepared: Prepared, attempts: _Attempts, *, alive: bool
) -> tuple[StepRecord | None, tuple[str, ...]]:
    """The attempt that this step can be skipped for; else None, and why not.

    It is the newest with that very key: one that failed, was stopped or whose process vanished may have left its work
    half done, so nothing older stands in for it.
    """
    for at, attempt in enumerate(attempts):
        if attempt.step.key == prepared.again(attempt.step.parts).key:
            obstacles = tuple(_obstacles(attempt, is_overtaken=at > 0, alive=alive))
            return (None, obstacles) if obstacles else (attempt.step, ())
    return None, _differences(step, prepared, attempts)


def _obstacles(attempt: _Attempt, *, is_overtaken: bool, alive: bool) -> Iterator[str]:
    """Why an attempt with the same key does not stand for the step as it is now."""
    run, step = attempt
    if not step.succeeded:
        became = "runs" if step.state == "running" else f"had {_HAD.get(step.state, f'been {step.state}')}"
        yield f"it {became} in {run}"
        return
    if step.went_on:
        yield f"in {run} it went on in a kernel that was held"
    yield from (f"{name} changed while it ran" for name in step.changed)
    yield from _changed_since(step)
    for file in step.files:
        if (digest := Taken.made(file.path).digest) != file.digest:
            yield f"{file.path} is {'not what it made' if digest else 'not there'} any more"
    # For what lives nothing stands once the step was given something else: every attempt changes the one thing.
    if is_overtaken and any(map(made_things.can_live, step.made.values())):
        yield "it has run with something else since"
    yield from (
        f"{uri} is not there any more" for uri in step.made.values() if not made_things.is_there(uri, alive=alive)
    )


def _stale(prepared: Prepared, attempts: _Attempts) -> tuple[str, ...]:
    """What a kernel that was held has taken and that is another one now, but for code and parameters: cells that are
    edited run again in it."""
    last = attempts.last
    if last is None:
        return ()
    now = prepared.again(last.parts).parts
    # What an edited cell imports or names for the first time the kernel has not taken yet.
    both = [label for label in now if label in last.parts and label.partition(" ")[0] in _TAKEN]
    old, new = ({label: parts[label] for label in both} for parts in (last.parts, now))
    inputs = {name: f"{name} changed" for name in prepared.sources}
    found = changes(old, new, inputs, lambda digest: changed_packages(digest, prepared.environment.packages))
    return (*found, *_changed_since(last))


def _differences(
    step: RecipeStep, prepared: Prepared, attempts: _Attempts, left_out: Container[str] = ()
) -> tuple[str, ...]:
    """What is other than at the newest attempt, but for these parts."""
    last = attempts.last
    if last is None:
        return ("first time",)
    if not last.parts:
        return ("an earlier version of the toolkit ran it last",)
    inputs = _input_changes(step, prepared, last)
    old, new = _without(last.parts, left_out), _without(prepared.again(last.parts).parts, left_out)
    found = changes(old, new, inputs, lambda digest: changed_packages(digest, prepared.environment.packages))
    return tuple(dict.fromkeys([*found, *_changed_since(last)]))  # a file may be named by the code and opened besides


def _whatever_comes(
    step: RecipeStep, prepared: Prepared, attempts: _Attempts, waits_for: Sequence[str]
) -> tuple[str, ...]:
    """Why a step runs whatever those steps make; nothing where that decides."""
    if attempts.last is None:
        return ("first time",)
    inputs = [f"in {name}" for name, source in step.inputs.items() if source.partition(".")[0] in waits_for]
    inputs += [f"in {name}" for name, each in step.gathered.items() if not set(waits_for).isdisjoint(each.steps)]
    open_ = {*inputs, *(f"after {name}" for name in waits_for)}
    # An older attempt than the newest may come to stand for it, when all that is known is as it was then.
    for attempt in attempts:
        parts = attempt.step.parts
        if _without(parts, open_) == _without(prepared.again(parts).parts, open_):
            return ()
    return _differences(step, prepared, attempts, open_)


def _without(parts: Parts, labels: Container[str]) -> dict[str, str]:
    return {label: value for label, value in parts.items() if label not in labels}


def _input_changes(step: RecipeStep, prepared: Prepared, last: StepRecord) -> dict[str, str]:
    """How each input is told of that is another one than at that attempt, by its parameter."""
    return {
        name: _from_to(last.values.get(name), prepared.values.get(name)) or f"{source} changed"
        for name, source in step.taken.items()
    }


def _from_to(old: object, new: object) -> str:
    """`data:flights@1 → @2` of two versions of one thing, else nothing."""
    if old != new and Uri.is_one(old) and Uri.is_one(new):
        # A text may begin with a noun and a colon and be none all the same.
        with contextlib.suppress(UsageProblem):
            one, two = Uri.parse(str(old)), Uri.parse(str(new))
            if one.bare == two.bare and one.version and two.version and not two.part:
                return f"{old} → @{two.version}"
    return ""


def _changed_since(step: StepRecord) -> list[str]:
    return [f"{one.name} changed" for one in step.opened if not _is_as_opened(one)]


def _is_as_opened(one: OpenedFile) -> bool:
    path = settings().project / one.name
    with contextlib.suppress(OSError):  # not ours to read any more
        return not path.exists() if one.digest == NO_FILE else path.is_file() and content_digest(path) == one.digest
    return False


def _blocked(step: RecipeStep, planned: Mapping[str, PlannedStep], steps: Mapping[str, RecipeStep]) -> str:
    """Why it does not begin, since one before it does not succeed; empty when it may."""
    if bad := [name for name in step.depends_on if planned[name].action in ("fail", "block")]:
        return f"{', '.join(bad)} would not succeed"
    failing = [name for name, one in planned.items() if one.action == "fail" and steps[name].on_failure == "stop"]
    return f"{failing[0]} would fail, and its on_failure is stop" if failing else ""


def _revive(step: RecipeStep, planned: dict[str, PlannedStep], steps: Mapping[str, RecipeStep]) -> None:
    """A step that runs needs what those before it started to live; one that may run may need it."""
    is_sure = planned[step.name].action == "run"
    for name in step.depends_on:
        before = planned[name]
        if before.found is not None and needs_revival(before.found):
            because = (f"{step.name} {'needs' if is_sure else 'may need'} what it starts",)
            found = None if is_sure else before.found  # another step may be sure to need it
            planned[name] = replace(before, action="run" if is_sure else "wait", because=because, found=found)
            _revive(steps[name], planned, steps)


def _state_of(key: str, opened: Iterable[OpenedFile]) -> str:
    """What stands for the state of what a step made: its key, and what it opened besides."""
    seen = {one.name: one.digest for one in opened}
    return canonical_digest([key, seen]) if seen else key
