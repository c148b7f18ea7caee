"""The contract of an export: a recipe as text for another scheduler, out of its declaration and a few facts.

A form asks nobody and writes nothing, so that the same recipe gives the same files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...errors import UsageProblem
from ..base import Recipe, RecipeStep
from ..schedule.deciding import CatchUp
from .cron import CronLine

_WILD = ("*", "?", "[", "${")
_CLOCK = {"${run.date}": '"${RUN_TIME%T*}"', "${run.time}": '"$RUN_TIME"'}

BY_HAND = "a run that is begun by hand is given the schedule's parameters, too"


@dataclass(frozen=True)
class ExportFacts:
    """What an export is made of besides the recipe.

    refresh: the command that writes it anew, without `--into`. project: the folder of the recipe's files. install: the
    shell commands that install the project, with uv there and an environment active. given: parameters of the recipe.
    image: of a container with the project. modules: step → files of the project that its notebook imports. uses: step →
    the parameters of the recipe that it refers to. dated: those of the recipe whose default says when it runs, by
    `${run.date}` and `${run.time}`. due: the parameters of the schedule, which may hold these, too, for the runs that
    it begins. zone: the time zone of both. catch_up: of the recipe's own schedule. outside: what `in` names that no
    commit of the project has.
    """

    refresh: str
    project: Path
    install: tuple[str, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    schedule: CronLine | None = None
    image: str = ""
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dated: Mapping[str, str] = field(default_factory=dict)
    due: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    catch_up: CatchUp | None = None
    outside: tuple[str, ...] = ()

    @property
    def reads_clock(self) -> bool:
        """Whether a parameter is known only when it runs."""
        return _read_clock([*self.dated.values(), *self.due.values()])

    @property
    def check_reads_clock(self) -> bool:
        """Whether `check` does."""
        return _read_clock(self.due.values())

    def clock(self, at: str = "") -> str:
        """A shell command that sets RUN_TIME to when the run begins, for all that is run behind it. at: a word for the
        moment, where another keeps it."""
        return f'RUN_TIME="$(TZ={shlex.quote(self.zone)} date -Iseconds{f" -d {at}" if at else ""})"'

    def command(self, recipe: Recipe, step: RecipeStep | None = None, at: str = "") -> list[str]:
        """The words that run the recipe, or one of its steps; by a shell, where that has to ask the clock. at: see
        `clock`"""
        values = {**self._dated(step), **self.due}
        if _read_clock(values.values()):
            return ["sh", "-c", f"{self.clock(at)} && {self.shell(recipe, step)}"]
        return [*self._words(recipe, step), *map(_plain, _parameters(values))]

    def shell(self, recipe: Recipe, step: RecipeStep | None = None, is_due: str = "") -> str:
        """The same for a shell that has RUN_TIME, every word quoted that needs it. is_due: a command by which it knows
        that the schedule began the run; without one the parameters of the schedule are given to each."""
        return self._in_shell(self._words(recipe, step), step, is_due)

    def check(self, recipe: Recipe, is_due: str) -> str:
        """As `shell` the check of the recipe, with what its runs are given."""
        return self._in_shell(["aiinfra", "recipe", "check", recipe.name, *_parameters(self.given)], None, is_due)

    def _in_shell(self, command: list[str], step: RecipeStep | None, is_due: str) -> str:
        words = shlex.join(command)
        always, due = (_quoted(values) for values in (self._dated(step), {**self._dated(step), **self.due}))
        if is_due and self.due:
            return f'if {is_due}; then set --{due}; else set --{always}; fi && {words} "$@"'
        return f"{words}{due}"

    def _dated(self, step: RecipeStep | None) -> Mapping[str, str]:
        # A run of the whole recipe fills them itself, once.
        return self.dated if step else {}

    def _words(self, recipe: Recipe, step: RecipeStep | None) -> list[str]:
        only = ["--only", step.name] if step else []
        return ["aiinfra", "recipe", "run", recipe.name, *only, *_parameters(self.given)]

    def in_project(self, path: Path) -> str:
        """A file's path from the project's folder."""
        return path.relative_to(self.project).as_posix()


def _read_clock(texts: Iterable[str]) -> bool:
    return any(part in _CLOCK for text in texts for part in _parts(text))


def _quoted(values: Mapping[str, str]) -> str:
    """Parameters for a shell that has RUN_TIME, a blank before each word."""
    words = [[_CLOCK.get(part) or shlex.quote(_plain(part)) for part in _parts(word)] for word in _parameters(values)]
    return "".join(f" {''.join(word)}" for word in words)


def _plain(text: str) -> str:
    return text.replace("$${", "${")


def _parts(text: str) -> list[str]:
    """A text, parted at what stands for a moment."""
    return [part for part in re.split(r"((?<!\$)\$\{run\.(?:date|time)\})", text) if part]


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


@dataclass(frozen=True)
class ExportTraits:
    """What a form takes, and where it differs from a run of the recipe.

    is_split: each step, also of a matrix, is a task. in_steps: these have a beginning that all of them know, and may
    run on several machines. takes_image: --image. takes_schedule: --cron, and the recipe's own schedule. knows_when: a
    run that begins late knows for when it was due. missed: what becomes of the times that were missed. catch_up: as
    which of the schedule's values that is.
    """

    is_split: bool = False
    in_steps: bool = False
    takes_image: bool = False
    takes_schedule: bool = False
    knows_when: bool = False
    missed: str = ""
    catch_up: tuple[CatchUp, ...] = ()


class RecipeExport(Protocol):
    """Writes a recipe for one other scheduler; a module of this folder is one."""

    TRAITS: ExportTraits

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


def without_glob(source: str) -> str:
    """A path of a step; of a glob, or of one that says when it runs, the folder that it looks in."""
    parts = source.split("/")
    plain = next((at for at, part in enumerate(parts) if any(mark in part for mark in _WILD)), len(parts))
    return "/".join(parts[:plain]) or "."
