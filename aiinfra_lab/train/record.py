"""A run as the workspace remembers it: what its record holds, and where its files are."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ..config import settings
from ..jobs import late, process
from ..store import Body, Event, Record, add_version, open_store, patiently, update
from .parameters import Value
from .plain import TableColumns

LIVE = ("starting", "running")


MODEL = "model"
"""The folder of a run's files that has the model."""


class RunProblem(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What went wrong and how to fix it; both empty when nothing did."""

    what: str = ""
    fix: str = ""


class StoredHoldout(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows that a run held out, kept by their content. rows: how many of them; of: how many there were.

    label: the label's columns. group: the column whose rows with one value stayed together, if any.
    """

    digest: str
    rows: int
    of: int
    label: tuple[str, ...]
    group: str = ""


class TrainingRun(Body, frozen=True, kw_only=True):
    """What a run was given, and what came of it.

    state: as last written; `observing` tells what it does now. rows, rows_digest: what it learns from, and the digest
    of every byte of it. machine: the versions that its numbers depend on. on: the session's URI, or nothing for a
    notebook's own process. planned_by: that process, as `process.birth` tells it from others of its number.
    started_at: when it was planned and, once its code runs, since when that does. tracked_as: the tracking server's id
    of it; tracked: whether that server knows how it ended. metrics: the last value of each.
    metrics_from: the run that measured them, when this one had no epoch left to train.
    trace: the traceback of the problem, from the first line of the user's code on. files: of the model that it saved,
    name → SHA-256 at its end; none in records from before that was kept. holdout: how the held out rows were chosen.
    table: which columns of data are learned from, where no feature set says it. is_timeless: whether it learns from
    rows of a feature set without a time. replaces: the run in whose place it goes on, since the machine of that one is
    gone. stored: the held out rows that the saved model was measured on; notes: what
    could not be measured on them, and why.
    """

    kind: ClassVar[str] = "train"
    # Version 1 lacked `replaces`.
    schema_version: ClassVar[int] = 2

    state: Literal["starting", "running", "done", "failed", "stopped", "killed"]
    params: dict[str, Value] = msgspec.field(default_factory=dict)
    seed: int = 0
    code: str = ""
    code_digest: str = ""
    rows: str = ""
    rows_digest: str = ""
    machine: dict[str, str] = msgspec.field(default_factory=dict)
    on: str = ""
    resumed_from: str = ""
    replaces: str = ""
    planned_by: tuple[int, float] = (0, 0.0)
    started_at: float = 0.0
    stop_requested_at: float | None = None
    tracked: bool = False
    tracked_as: str = ""
    ended_at: float | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    metrics_from: str = ""
    problem: RunProblem = RunProblem()
    trace: str = ""
    files: dict[str, str] = msgspec.field(default_factory=dict)
    holdout: str = ""
    table: TableColumns | None = None
    is_timeless: bool = False
    stored: StoredHoldout | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether no end of it was written yet."""
        return self.state in LIVE

    @property
    def is_open(self) -> bool:
        # Also what has ended stays open until the tracking server knows that: the index then finds the few runs that
        # anything is left to do for, however many there ever were.
        return self.is_live or not self.tracked


def home() -> Path:
    """Where the runs' folders are. Finding the workspace reads its settings: ask once for many runs."""
    return settings().home / "train"


def folder(label: str) -> Path:
    """Where a run's files are: `delay@3` → its folder in the workspace."""
    return home() / label


def runs(name: str | None = None, *, skip_unreadable: bool = False) -> list[Record[TrainingRun]]:
    """Runs, newest first: all by when they began, or those of one name by number, since one may begin late.

    skip_unreadable: see `Store.list`.
    """
    found = list(open_store().list(TrainingRun, name=name, skip_unreadable=skip_unreadable))
    return found if name else sorted(found, key=lambda run: run.body.started_at, reverse=True)


def this_process() -> tuple[int, float]:
    """What `planned_by` is of a run that is planned here."""
    return os.getpid(), process.birth(os.getpid())


def plan(name: str, run: TrainingRun, inputs: tuple[str, ...]) -> Record[TrainingRun]:
    """Write down what is about to be run, before any of it runs; the next free version is its own."""
    planned = msgspec.structs.replace(run, planned_by=this_process(), started_at=time.time())
    detail = {key: getattr(run, key) for key in ("params", "seed", "code_digest", "rows_digest", "on")}
    return add_version(open_store(), name, planned, lambda uri: Event("train run", uri, inputs, (uri,), detail))


def change(label: str, **changes: Any) -> Record[TrainingRun]:
    """Write what became of a run: fields of its record. A store that is away for a while is waited for."""

    def step() -> Record[TrainingRun]:
        return update(open_store(), TrainingRun, label, lambda run: msgspec.structs.replace(run, **changes))

    return patiently(step)


def end(label: str, **changes: Any) -> None:
    """Write how a run ended: now, or once a store that stays away is there again. Then it raises StoreUnavailable."""
    store = open_store()
    late.surely(lambda: update(store, TrainingRun, label, lambda run: msgspec.structs.replace(run, **changes)))


def machine() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {"python": platform.python_version(), "torch": version("torch"), "platform": platform.platform(terse=True)}
