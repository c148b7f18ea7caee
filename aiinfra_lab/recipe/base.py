"""What a recipe is made of, and the contract of whatever runs one of its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

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
ALERTS = ("failed", "recovered")
"""Of what a recipe's runs can have people hear."""


@dataclass(frozen=True)
class RecipeStep:
    """One notebook of a recipe.

    parameters: what the notebook is given as it is. inputs: its parameter → the `step.output` it is taken from.
    outputs: name → URI without version of what the notebook makes. after: steps that must have run before. files: its
    parameter → a path, folder or glob of the project. data: its parameter → `data:NAME` or `data:NAME@N`. timeout_s:
    how long one attempt may take. retries: how often it is executed again after a failure.
    """

    name: str
    notebook: Path
    parameters: Mapping[str, Value] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    retries: int = 0

    @property
    def taken(self) -> dict[str, str]:
        """All that stands in its `in`: parameter → where it is taken from."""
        return {**self.inputs, **self.files, **self.data}

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The steps whose outputs it takes, and those that it is to come after; each once."""
        return tuple(dict.fromkeys([*(source.partition(".")[0] for source in self.inputs.values()), *self.after]))

    def taking(self, there: Mapping[str, str], steps: Collection[str]) -> RecipeStep:
        """The same step where only those steps run: what it takes of others, as `step.output`, is there."""
        gone = {name: there[each] for name, each in self.inputs.items() if each.partition(".")[0] not in steps}
        inputs = {name: each for name, each in self.inputs.items() if name not in gone}
        after = tuple(name for name in self.after if name in steps)
        return replace(self, inputs=inputs, data={**self.data, **gone}, after=after)


@dataclass(frozen=True)
class RecipeAlert:
    """Of which of `ALERTS` people are to hear, and where: as `alerts.to`, which holds where none is given."""

    on: tuple[str, ...] = ALERTS
    to: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """A declaration, read and checked: its own parameters with their defaults, and its steps in running order.

    small: the parameters with which a missing input is prepared when somebody opens one of the notebooks alone.
    """

    name: str
    title: str
    path: Path
    parameters: Mapping[str, Value]
    steps: tuple[RecipeStep, ...]
    small: Mapping[str, Value] = field(default_factory=dict)
    alert: RecipeAlert | None = None

    def leading_to(self, uri: str) -> Recipe | None:
        """The same recipe with only the steps that it takes to make that URI (any version), or None: it makes none.

        Nobody hears of its runs: that a part succeeds does not say that the whole runs again.
        """
        makers = [step for step in self.steps if uri in step.outputs.values()]
        if not makers:
            return None
        wanted = {makers[0].name}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.depends_on)
        return replace(self, steps=tuple(step for step in self.steps if step.name in wanted), alert=None)

    def from_what_is_there(self, there: Mapping[str, str]) -> Recipe:
        """The same recipe without the steps before its last whose outputs are all there: they are taken as they are.

        there: a step's output, as `outputs` names it → what stands for it
        """
        made = {step.name for step in self.steps if step.outputs and there.keys() >= {*step.outputs.values()}}
        wanted = {self.steps[-1].name}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(name for name in step.depends_on if name not in made)
        sources = {f"{step.name}.{name}": uri for step in self.steps for name, uri in step.outputs.items()}
        steps = [step.taking({source: there[uri] for source, uri in sources.items() if uri in there}, wanted)
                 for step in self.steps if step.name in wanted]  # fmt: skip
        return replace(self, steps=tuple(steps))


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended.

    error: as the notebook shows it. cell: the execution count of the cell that failed, where that is known.
    """

    state: OutcomeState
    error: str = ""
    cell: int | None = None


class Executor(Protocol):
    """Runs one notebook to its end."""

    def run(
        self,
        notebook: Path,
        parameters: Mapping[str, Value],
        archive: Path,
        env: Mapping[str, str],
        stop_requested: Callable[[], int],
    ) -> Outcome:
        """Execute the file as it is with these parameters and leave the executed notebook at `archive`.

        Both are files of the caller's; where the cells run need not see them. `env` is added to the environment of the
        cells, and its values must reach them. `stop_requested` is cheap, and may be asked from any thread until this
        returns: once it is 1 the cell that runs is interrupted, no further one begins, and the outcome is stopped; once
        it is 2 all processes of the notebook are killed at once.

        Returns when the notebook has ended, whichever way. The archive is then a whole notebook in which only the cells
        that ran have outputs or an execution count, also when the process that ran them died. Raises LabError only when
        the notebook could not be started at all. May be called again with another archive, and by several threads.
        """
