"""The contract of an export: a recipe as text for another scheduler, out of its declaration and a few facts.

A form asks nobody and writes nothing, so that the same recipe gives the same files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...errors import UsageProblem
from ..base import Recipe, RecipeStep
from .cron import CronLine

_CLOCK = {"${run.date}": "date +%F", "${run.time}": "date -Iseconds"}


@dataclass(frozen=True)
class ExportFacts:
    """What an export is made of besides the recipe.

    refresh: the command that writes it anew, without `--into`. project: the folder of the recipe's files. install: the
    shell commands that install the project, with uv there and an environment active. given: parameters of the recipe.
    image: of a container with the project. modules: step → files of the project that its notebook imports. uses: step →
    the parameters of the recipe that it refers to. due: the parameters of the schedule, where `${run.date}` and
    `${run.time}` stand for when it runs.
    """

    refresh: str
    project: Path
    install: tuple[str, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    schedule: CronLine | None = None
    image: str = ""
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    due: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads_clock(self) -> bool:
        """Whether a parameter is known only when it runs."""
        return any(moment in text for text in self.due.values() for moment in _CLOCK)

    def command(self, recipe: Recipe, step: RecipeStep | None = None) -> list[str]:
        """The words that run the recipe, or one of its steps; by a shell, where that has to ask the clock."""
        if self.reads_clock:
            return ["sh", "-c", self.shell(recipe, step)]
        return [*self._words(recipe, step), *_parameters(self.due)]

    def shell(self, recipe: Recipe, step: RecipeStep | None = None) -> str:
        """The same for a shell, every word quoted that needs it."""
        due = [self._asks_clock(word) for word in _parameters(self.due)]
        return " ".join([shlex.join(self._words(recipe, step)), *due])

    def _words(self, recipe: Recipe, step: RecipeStep | None) -> list[str]:
        only = ["--only", step.name] if step else []
        return ["aiinfra", "recipe", "run", recipe.name, *only, *_parameters(self.given)]

    def _asks_clock(self, word: str) -> str:
        zone = shlex.quote(self.schedule.tz if self.schedule else "UTC")
        parts = filter(None, re.split(r"(\$\{run\.\w+\})", word))
        return "".join(f'"$(TZ={zone} {_CLOCK[part]})"' if part in _CLOCK else shlex.quote(part) for part in parts)

    def in_project(self, path: Path) -> str:
        """A file's path from the project's folder."""
        return path.relative_to(self.project).as_posix()


def _parameters(values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("-p", f"{name}={value}")]


@dataclass(frozen=True)
class RecipeFiles:
    """files: path below the project's folder → text. main: the one to read first. use: what is done with it.
    notes: what is to be set up, or differs from a run of `%recipe run`."""

    files: Mapping[str, str]
    main: str
    use: str
    notes: tuple[str, ...] = ()


class RecipeExport(Protocol):
    """Writes a recipe for one other scheduler; a module of this folder is one."""

    def render(self, recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
        """The files. The same recipe and facts give the same texts, of lines that end with a line feed; every name and
        value is quoted for what will read it. UsageProblem, with a fix, for what that scheduler cannot express."""


def needs_schedule(facts: ExportFacts, to: str) -> CronLine:
    """When it is to run. UsageProblem where nobody says."""
    if facts.schedule is None:
        what = f"{to} has to know when the recipe is to run"
        raise UsageProblem(what, 'add --cron, e.g. `--cron "0 3 * * *"` for every night at three')
    return facts.schedule


def seconds_of(step: RecipeStep) -> float | None:
    """How long a step may take with all its attempts; None where nothing limits it.

    It is retried by the recipe's own runner, so that no scheduler has to.
    """
    # Beside the work itself: a cell that is interrupted, a kernel that starts.
    return None if step.timeout_s is None else (step.timeout_s + 60) * (step.retries + 1)
