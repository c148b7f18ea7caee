"""What the workspace remembers of a recipe's run, and of each of its steps."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec.structs import replace

from ..secrets import redactor
from ..store import Body
from .at_once import once
from .base import OutcomeState, Value

EndState = OutcomeState | Literal["interrupted", "lost"]
"""interrupted: by Ctrl-C or by a signal to its process, where stopped is by a request for its end."""
RunState = Literal["running"] | EndState
StepState = Literal["waiting", "running", "skipped", "blocked", "not run", "cannot be read"] | EndState
"""cannot be read: its record; no step is recorded so, and people who look see it."""


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that a step made: the output's name in the recipe, and the URI of the thing."""

    name: str
    uri: str


class MadeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file or folder of the project that a step wrote: the output's name, its path there, and its digest then."""

    name: str
    path: str
    digest: str


NO_FILE = "none"


class OpenedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the project that was opened for reading while a step ran, and that its `in` does not name.

    digest: of its content at the end of the step; empty when it had changed since the step began, NO_FILE where there
    was none. by_step: whether the step's own process opened it; otherwise that may have been another one.
    """

    name: str
    digest: str
    by_step: bool = True


class StepRecord(Body, frozen=True, kw_only=True):
    """One step of a run, `NAME@N#STEP`, from its begin on.

    run: the URI of that run; empty where its record holds it. outputs: what it made, in the order of the recipe. files:
    the files that it made. key: the digest of all that decides what it makes; empty when the run did not get to it.
    values: its notebook's parameters. archive: the executed notebook, an earlier run's for a step that was skipped.
    seconds: None until it has ended. cell: the execution count of the cell that failed. parts: what the key is the
    digest of; see `cache_key`. because: why it runs or ran, a few words each. changed: the files that changed while it
    ran, so that what it made stands for nothing. opened_more: how many files more than `opened` holds. wrote: files of
    the project that its process wrote and that its `out` does not name. attempts: how often it was executed in this
    run. held_until: to when the kernel was held in which a cell had failed, in epoch seconds; 0 where none was.
    went_on: whether it went on in one that was held, so that its cells need not do the same when all of them run.
    archive_sha256: of the executed notebook as it was then; empty where the run did not get to its end.
    """

    kind: ClassVar[str] = "recipe.step"

    name: str
    run: str = ""
    state: StepState = "waiting"
    outputs: tuple[Output, ...] = ()
    files: tuple[MadeFile, ...] = ()
    key: str = ""
    values: dict[str, Value] = msgspec.field(default_factory=dict)
    archive: str = ""
    began_at: float | None = None
    seconds: float | None = None
    error: str = ""
    cell: int | None = None
    parts: dict[str, str] = msgspec.field(default_factory=dict)
    because: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    opened: tuple[OpenedFile, ...] = ()
    opened_more: int = 0
    wrote: tuple[str, ...] = ()
    attempts: int = 0
    held_until: float = 0.0
    went_on: bool = False
    archive_sha256: str = ""

    @property
    def about(self) -> str:
        return self.run

    @property
    def is_open(self) -> bool:
        return self.state == "running"

    @property
    def made(self) -> dict[str, str]:
        """Output → URI."""
        return {output.name: output.uri for output in self.outputs}

    @property
    def makes(self) -> dict[str, str]:
        """Output → URI, or the path of a file."""
        return {**self.made, **{file.name: file.path for file in self.files}}

    def without_secrets(self) -> StepRecord:
        """The same without the values of secrets, wherever it holds texts of users and programs."""
        texts = {"values": self.values, "error": self.error, "parts": self.parts, "because": self.because}
        known = once(redactor)()
        if not known.finds(msgspec.json.encode(texts).decode()):
            return self
        return replace(self, **known.clean_value(texts))

    @property
    def succeeded(self) -> bool:
        """Whether what it makes is there, from this run or from an earlier one."""
        return self.state in ("done", "skipped")


class RunRecord(Body, frozen=True, kw_only=True):
    """One run of a recipe, `recipe:NAME@N`.

    keep: whether what its notebooks started lives on after it; all of that has a context that begins with the run.
    due_at: the time of the schedule that it was begun for, in epoch seconds. cause: what happened that it was begun
    for. resumes: the URI of the run with which it goes on; empty for none. budget_usd: what it may cost, and spent_usd:
    what one with a budget had cost at its end. error: why it failed, where that is no step's.
    """

    kind: ClassVar[str] = "recipe"
    schema_version: ClassVar[int] = 10

    state: RunState = "running"
    started_at: float
    ended_at: float | None = None
    parameters: dict[str, Value] = msgspec.field(default_factory=dict)
    keep: bool = True
    due_at: float | None = None
    cause: str = ""
    resumes: str = ""
    budget_usd: float | None = None
    spent_usd: float = 0.0
    error: str = ""
    order: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()

    @classmethod
    def upgrade(cls, fields: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 kept the steps as a table, whose keys the store sorts, and their order beside it.

        Version 2 did not say what was to live on: of such a run nothing is ended. Version 3 knew nothing of files.
        Version 4 kept what a step took, by its digest, and not all that its key was made of. Version 5 knew of no
        schedules, version 6 of no kernels that are held, version 7
        of no files that steps make or write, version 8 of no budgets. Version 9 held the steps itself.
        """
        if version > 4:
            return fields
        if version > 1:
            return {**fields, "steps": list(map(_without_inputs, fields["steps"]))}
        steps = fields["steps"]
        # The very first runs kept no order.
        order = fields.get("order") or [[name, list(step["outputs"])] for name, step in steps.items()]
        kept = {name: value for name, value in fields.items() if name != "order"}
        return {**kept, "steps": [_upgraded(name, steps[name], outputs) for name, outputs in order]}

    @property
    def is_open(self) -> bool:
        return self.state == "running"

    @property
    def may_leave_things(self) -> bool:
        """Whether what it started may live although it was to end with the run, whose process vanished."""
        return self.state == "lost" and not self.keep


def _upgraded(name: str, step: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    made = step["outputs"]
    return {**step, "name": name, "outputs": [{"name": key, "uri": made[key]} for key in outputs if key in made]}


def _without_inputs(step: dict[str, Any]) -> dict[str, Any]:
    """What version 4 said of a step's reasons were names alone."""
    because = [f"{name} changed" for name in step.get("because", ())]
    return {**{name: value for name, value in step.items() if name != "inputs"}, "because": because}
