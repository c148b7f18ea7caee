"""What a recipe is made of, and the contract of whatever runs one of its steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ..rules import Rule
from .schedule.deciding import RecipeSchedule, RecipeTrigger

Value = str | int | float | bool | None | list[Any] | dict[str, Any]
"""A parameter's value in the form that JSON has too; what type it has in the end the notebook declares."""

Failure = Literal["failed", "timeout", "killed", "oom"]
OutcomeState = Literal["done", "stopped"] | Failure
FAILURES: tuple[Failure, ...] = ("failed", "timeout", "killed", "oom")
"""How a step ends that did not succeed and that nobody stopped: a cell raised, its time was over, its process was
killed, it took more memory than it may."""
FAILED: Mapping[str, str] = {
    "failed": "failed", "timeout": "timed out", "killed": "was killed", "oom": "ran out of memory",
}  # fmt: skip
"""What a step did that ended so, in a sentence about it."""
ENDED_EARLY = ("stopped", "interrupted")
"""How what somebody wanted to end has ended."""
OnFailure = Literal["skip", "stop"]
ON_FAILURE: tuple[OnFailure, ...] = ("skip", "stop")
"""What becomes of the others where a step fails: those that need it are skipped, or no further step begins."""
HOLD = "hold"
"""Followed by a duration: those that need it are skipped, and its kernel is held so long for somebody to go on."""
NEVER = "never"
"""What `cache` of a step says where it runs each time."""
OVER_BUDGET: Literal["over budget"] = "over budget"
ALERTS = ("failed", "recovered", "late", OVER_BUDGET)
"""Of what a recipe's runs can have people hear."""


def is_file(made: str) -> bool:
    """Whether it is a path of the project that `out` of a step names, instead of the URI of a thing."""
    return ":" not in made


@dataclass(frozen=True)
class Gathered:
    """What an input is taken from that takes the same output of several combinations of a step, as a list.

    source: as the recipe's file names it. all: the `step.output` of each. there: those of them that are taken as they
    are, since their steps do not run → the URI, or the path in the project, that stands for it.
    """

    source: str
    all: tuple[str, ...]
    there: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[str, ...]:
        """Those that must have run."""
        return tuple(each.partition(".")[0] for each in self.all if each not in self.there)

    def made(self, uris: Mapping[str, str]) -> list[str]:
        """The URI or path of each. uris: `step.output` → that of those that run."""
        return [self.there.get(each) or uris[each] for each in self.all]

    def taking(self, there: Mapping[str, str], steps: Collection[str]) -> Gathered:
        """The same where only those steps run."""
        gone = [each for each in self.all if each.partition(".")[0] not in steps]
        return replace(self, there={**self.there, **{each: there[each] for each in gone if each not in self.there}})


@dataclass(frozen=True)
class RecipeStep:
    """One notebook of a recipe.

    parameters: what the notebook is given as it is. inputs: its parameter → the `step.output` it is taken from.
    outputs: name → URI without version of what the notebook makes. made_files: name → the path, in the project, of a
    file or folder that it writes. after: steps that must have run before. files: its parameter → a path, folder or glob
    of the project. data: its parameter → `data:NAME` or `data:NAME@N`. timeout_s: how long one attempt may take.
    retries: how often it is executed again after a failure. memory_bytes: what its processes may take together.
    on_failure: see `ON_FAILURE`. hold_s: for how long its kernel is held when a cell fails. is_cached: whether it is
    skipped where nothing changed. expect: output → what its metrics must satisfy. on: where it is executed: `gpu:NAME`
    of a session or pool, or another executor; empty for that of the workspace.

    matrix: name → the values of which each combination is a step of its own in a run, or the parameter that holds them.
    Of such a step there: of: its name in the recipe's file. combination: its values. gathered: its parameter → what all
    combinations of a step before it made.
    """

    name: str
    notebook: Path
    parameters: Mapping[str, Value] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    made_files: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    retries: int = 0
    memory_bytes: int | None = None
    on_failure: OnFailure = "skip"
    hold_s: float = 0.0
    is_cached: bool = True
    expect: Mapping[str, Rule] = field(default_factory=dict)
    on: str = ""
    matrix: Mapping[str, Value] = field(default_factory=dict)
    of: str = ""
    combination: Mapping[str, Value] = field(default_factory=dict)
    gathered: Mapping[str, Gathered] = field(default_factory=dict)

    @property
    def declared_name(self) -> str:
        """What it is called in the recipe's file."""
        return self.of or self.name

    @property
    def taken(self) -> dict[str, str]:
        """All that stands in its `in`: parameter → where it is taken from."""
        return {**self.inputs, **{name: each.source for name, each in self.gathered.items()}, **self.files, **self.data}

    @property
    def makes(self) -> dict[str, str]:
        """All that stands in its `out`: name → URI without version, or a path of the project."""
        return {**self.outputs, **self.made_files}

    @property
    def texts(self) -> dict[str, Mapping[str, Value]]:
        """Where references may stand but those to what steps make: key of the step → name → value."""
        taken = {**self.files, **self.data}
        return {"matrix": self.matrix, "parameters": self.parameters, "in": taken, "out": self.makes}

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The steps whose outputs it takes, and those that it is to come after; each once."""
        many = (name for one in self.gathered.values() for name in one.steps)
        return tuple(
            dict.fromkeys([*(source.partition(".")[0] for source in self.inputs.values()), *many, *self.after])
        )

    def taking(self, there: Mapping[str, str], steps: Collection[str]) -> RecipeStep:
        """The same step where only those steps run: what it takes of others, as `step.output`, is there."""
        gone = {name: there[each] for name, each in self.inputs.items() if each.partition(".")[0] not in steps}
        inputs = {name: each for name, each in self.inputs.items() if name not in gone}
        files = {name: each for name, each in gone.items() if is_file(each)}
        data = {name: each for name, each in gone.items() if name not in files}
        return replace(
            self,
            inputs=inputs,
            data={**self.data, **data},
            files={**self.files, **files},
            gathered={name: each.taking(there, steps) for name, each in self.gathered.items()},
            after=tuple(name for name in self.after if name in steps),
        )


@dataclass(frozen=True)
class RecipeAlert:
    """Of which of `ALERTS` people are to hear, and where: as `alerts.to`, which holds where none is given."""

    on: tuple[str, ...] = ALERTS
    to: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """A declaration, read and checked: its own parameters with their defaults, and its steps in running order.

    small: the parameters with which a missing input is prepared when somebody opens one of the notebooks alone.
    is_filled: whether its texts hold what their references stand for in a run, instead of these. budget_usd: what a run
    of it may cost.
    """

    name: str
    title: str
    path: Path
    parameters: Mapping[str, Value]
    steps: tuple[RecipeStep, ...]
    small: Mapping[str, Value] = field(default_factory=dict)
    alert: RecipeAlert | None = None
    schedule: RecipeSchedule | None = None
    trigger: RecipeTrigger | None = None
    is_filled: bool = False
    budget_usd: float | None = None

    def leading_to(self, uri: str) -> Recipe | None:
        """The same recipe with only the steps that it takes to make that URI (any version), or None: it makes none.

        Nobody hears of its runs: that a part succeeds does not say that the whole runs again.
        """
        makers = [step for step in self.steps if uri in step.makes.values()]
        if not makers:
            return None
        wanted = {makers[0].name}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.depends_on)
        return replace(
            self,
            steps=tuple(step for step in self.steps if step.name in wanted),
            alert=None,
            schedule=None,
            trigger=None,
        )

    def from_what_is_there(self, there: Mapping[str, str]) -> Recipe:
        """The same recipe without the steps before its last whose outputs are all there: they are taken as they are.

        there: a step's output, as `makes` names it → what stands for it
        """
        made = {step.name for step in self.steps if step.makes and there.keys() >= {*step.makes.values()}}
        wanted = {self.steps[-1].name}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(name for name in step.depends_on if name not in made)
        sources = {f"{step.name}.{name}": uri for step in self.steps for name, uri in step.makes.items()}
        steps = [step.taking({source: there[uri] for source, uri in sources.items() if uri in there}, wanted)
                 for step in self.steps if step.name in wanted]  # fmt: skip
        return replace(self, steps=tuple(steps))


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended.

    error: as the notebook shows it. cell: the execution count of the cell that failed, where that is known. held_until:
    to when its kernel is held, in epoch seconds; 0 where none is. went_on: whether it went on in one that was.
    is_clean: whether the executor has taken the secrets out of the archive, also those that came to be known while it
    ran; else those that are known to whoever submitted it are taken out then.
    """

    state: OutcomeState
    error: str = ""
    cell: int | None = None
    held_until: float = 0.0
    went_on: bool = False
    is_clean: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Hold:
    """What becomes of a kernel in which a cell has failed: it is held, so that a later task can go on in it.

    folder: where what that takes is written down, for this user only; the same for both. seconds: for how long it is
    held. goes_on: in the kernel that is held there, at the cell that failed, or at one before it that is another now;
    from the first cell where none is held.
    """

    folder: Path
    seconds: float
    goes_on: bool = False


@dataclass(frozen=True)
class NotebookTask:
    """One notebook to be executed once.

    archive: where the executed notebook is left, in a folder that is there. env: added to the environment of its cells,
    whose values must reach them. parameters: in the form that JSON has; `engine.injected.inject` writes them as the
    types that the notebook declares. memory_bytes: what its processes may take together, where that is declared: an
    executor has room for that, and one that can see it kills them when they take more; the outcome is then oom. hold:
    where its kernel may be held; an executor that cannot hold one does without.
    """

    notebook: Path
    archive: Path
    parameters: Mapping[str, Value] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int | None = None
    hold: Hold | None = None


class TaskHandle(Protocol):
    """A task that an executor has begun. Its methods are called by the thread that submitted it, and by no other.

    `poll` and `cancel` may raise Unavailable while where it runs is not reached: they are called again, for ten
    minutes. Whatever else they raise is taken for that.
    """

    def poll(self) -> bool:
        """Whether it has ended, whichever way; cheap."""

    def cancel(self, *, at_once: bool = False) -> None:
        """Ask for its end; returns at once, and may be repeated.

        The cell that runs is interrupted, no further one begins, and the outcome is stopped. at_once: all processes of
        the notebook are killed.
        """

    def collect(self) -> Outcome:
        """How it ended; waits for that. LabError when the notebook could not be started at all.

        The archive is then a whole notebook in which only the cells that ran have outputs or an execution count, also
        when the process that ran them died.
        """


@runtime_checkable
class MayWait(Protocol):
    """A capability of a `TaskHandle`: its notebook may wait for where it is to run."""

    @property
    def has_begun(self) -> bool:
        """Whether the notebook has begun; the time that it may take counts from then on."""


@runtime_checkable
class MayBeAwaited(Protocol):
    """A capability of a `TaskHandle`: whoever has nothing to do meanwhile hears of its end at once."""

    def wait_for_end(self, within_s: float) -> None:
        """Return when it has ended, or after that time. What it raises has that time waited otherwise."""


class Executor(Protocol):
    """Executes notebooks, as many at once as it has room for.

    A notebook and its archive are files of the caller's; where the cells run need not see them. What the paths in a
    task's `env` name does: the project and the workspace (or the store that its settings name), since what the cells
    make is looked for there.
    """

    def has_room(self, task: NotebookTask) -> bool:
        """Whether there is room for one more; always so while none of its tasks goes on. Cheap. Unavailable while that
        is not known."""

    def submit(self, task: NotebookTask) -> TaskHandle:
        """Begin to execute the file as it is now; returns at once.

        Whoever submits asks for room before. One notebook may be executed many times, also at once, each time with an
        archive of its own. LabError when the notebook cannot be started.
        """
