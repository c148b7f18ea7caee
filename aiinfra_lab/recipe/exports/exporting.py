"""What `%recipe export` does: gathers the facts, renders, and writes or compares the files."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ... import files
from ...config import settings
from ...errors import Conflict, Denied, Failed, UsageProblem, did_you_mean
from ...kernels.environment import SOURCES
from ...uris import Uri
from ..base import Recipe
from ..cache_key import notebook_code, project_modules
from ..exported import ExportedRecipe
from ..filling import filled_with, given_values
from ..history import KIND
from ..notebook import read_notebook
from ..parameters import as_text, stored
from ..references import parameters_in, words
from . import FORMS, ExportTraits
from .base import ExportFacts, RecipeFiles
from .cron import schedule_of
from .written import is_untouched

_INSTALLS = {
    "uv.lock": "uv sync --locked --active",
    "pylock.toml": "uv pip install -r pylock.toml",
    "requirements.txt": "uv pip install -r requirements.txt",
    "pyproject.toml": "uv pip install -e .",
    "constraints.txt": "uv pip install -r constraints.txt",
}
_FILES_NOTE = "files of the project's folder, which each task must share (what `data:NAME` is, the workspace keeps)"
_OUTSIDE_NOTE = "no checkout of the project has these files, which have to be where its tasks run"
_MATRIX_NOTE = "each combination of a matrix is a task, of the values as they are now; for others, export it again"
_CLOCK_NOTE = "all steps have ${run.date} and ${run.time} of when their run begins, however late that is"
_BUDGET_NOTE = "each step is a run of its own there, and may cost as much as the budget"


@dataclass(frozen=True)
class ExportRequest:
    """An export as it was asked for."""

    recipe: Recipe
    to: str
    cron: str | None
    tz: str
    image: str
    given: Mapping[str, str]

    def render(self) -> RecipeFiles:
        """The files. UsageProblem for an unknown scheduler, and for what it cannot express."""
        if self.to not in FORMS:
            raise UsageProblem(f"nothing is exported to {self.to!r}", did_you_mean(self.to, FORMS))
        self._refuse_unused()
        project, own = settings().project, self.recipe.schedule
        typed = given_values(self.recipe, self.given)
        given = {name: typed[name] for name in self.given}
        declared = filled_with(self.recipe, {**self.recipe.parameters, **given})
        used = {step.name: tuple(sorted({*parameters_in(step.texts)})) for step in self.recipe.steps}
        facts = ExportFacts(
            refresh=self.command(),
            project=project,
            install=_install(project),
            given=self.given,
            schedule=schedule_of(own, self.cron, self.tz) if self._traits.takes_schedule else None,
            image=self.image,
            modules={step.name: _modules(step.notebook) for step in declared.steps},
            uses={step.name: used[step.declared_name] for step in declared.steps},
            dated=self._dated(),
            due=self._due(),
            zone=self.tz if self.tz != "UTC" or not own else own.calendar.tz,
            catch_up=own.catch_up if own else None,
            outside=_outside(declared, project),
        )
        done = FORMS[self.to].render(declared, facts)
        return replace(done, notes=(*done.notes, *self._notes(facts)))

    @property
    def _traits(self) -> ExportTraits:
        return FORMS[self.to].TRAITS

    def _notes(self, facts: ExportFacts) -> list[str]:
        """Where any form may differ from a run of the recipe."""
        traits, made = self._traits, [path for step in self.recipe.steps for path in step.made_files.values()]
        lists = dict.fromkeys(name for step in self.recipe.steps for name in parameters_in(step.matrix))
        is_missed = traits.missed and facts.catch_up not in (None, *traits.catch_up)
        notes = [f'for catch_up = "{facts.catch_up}": {traits.missed}'] if is_missed else []
        notes += [f"{_FILES_NOTE}: {', '.join(made)}"] if made and traits.in_steps else []
        notes += [f"{_OUTSIDE_NOTE}: {', '.join(facts.outside)}"] if facts.outside and traits.in_steps else []
        notes += [f"{_MATRIX_NOTE}: {', '.join(lists)}"] if lists and traits.is_split else []
        places = dict.fromkeys(step.on for step in self.recipe.steps if Uri.is_one(step.on, "gpu"))
        notes += [f"steps run in {', '.join(places)}, which must live where its tasks run"] if places else []
        notes += [_BUDGET_NOTE] if self.recipe.budget_usd is not None and traits.is_split else []
        return [*notes, *([_CLOCK_NOTE] if facts.reads_clock and not traits.knows_when else [])]

    def _dated(self) -> dict[str, str]:
        """What differs from run to run without being given, where a run is of several commands."""
        if not self._traits.in_steps:
            return {}
        values = {name: value for name, value in self.recipe.parameters.items() if any(words(value))}
        return {name: as_text(stored(value)) for name, value in values.items() if name not in self.given}

    def _due(self) -> dict[str, str]:
        """What the recipe's own schedule gives its runs, also at the times of --cron."""
        own = self.recipe.schedule if self._traits.takes_schedule else None
        values = own.parameters if own else {}
        return {name: as_text(stored(value)) for name, value in values.items() if name not in self.given}

    def _refuse_unused(self) -> None:
        """UsageProblem for a flag that would change nothing: whoever gives it believes that it does."""
        if self.image and not self._traits.takes_image:
            takers = ", ".join(name for name, form in FORMS.items() if form.TRAITS.takes_image)
            raise UsageProblem(f"{self.to} is given no image", f"leave --image out; {takers} takes one")
        if self.cron is not None and not self._traits.takes_schedule:
            takers = ", ".join(name for name, form in FORMS.items() if form.TRAITS.takes_schedule)
            raise UsageProblem(f"{self.to} has no schedules", f"leave --cron out; {takers} take one")
        if self.tz != "UTC" and self.cron is None:
            raise UsageProblem("--tz is the time zone of --cron, which is not given", 'add --cron, e.g. "0 3 * * *"')

    def command(self, into: str = "") -> str:
        """The command that asks for it."""
        words = ["aiinfra", "recipe", "export", self.recipe.name, "--to", self.to]
        words += ["--cron", self.cron] if self.cron is not None else []
        words += ["--tz", self.tz] if self.tz != "UTC" else []
        words += ["--image", self.image] if self.image else []
        words += [word for name, value in self.given.items() for word in ("-p", f"{name}={value}")]
        return shlex.join([*words, *(["--into", into] if into else [])])

    def result(self, done: RecipeFiles, into: Path | None) -> ExportedRecipe:
        """What the verb answers with."""
        uri, text = str(Uri(KIND, self.recipe.name)), done.files[done.main]
        return ExportedRecipe(uri, self.to, done.main, text, tuple(done.files), str(into or ""), done.use, done.notes)

    def write(self, done: RecipeFiles, into: Path, *, force: bool) -> None:
        """All files, over exports that nobody edited. Conflict, and none is written, where another file is in the way
        and not `force`; Denied where the folder may not be written."""
        found = {into / name: text for name, text in done.files.items() if _read(into / name) != text}
        kept = [path for path in found if _is_there(path) and not is_untouched(_read(path) or "")]
        if kept and not force:
            names = ", ".join(map(str, kept))
            fix = "carry over what is yours, then --force overwrites it; or name another folder with --into"
            raise Conflict(f"{names}: edited by hand, or not written by `export`", fix)
        for path, text in found.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                what = f"{path.parent} cannot be made: {problem.strerror}"
                raise Denied(what, "name a folder that you may write with --into") from None
            files.write(path, text, mode=0o666, flush=False, fix="name a folder that you may write with --into")

    def compare(self, done: RecipeFiles, into: Path) -> None:
        """Failed when a file is not what the recipe gives now; it names the files, and the command that writes them."""
        stale = [f"{into / name} {why}" for name, text in done.files.items() if (why := _staleness(into / name, text))]
        if stale:
            raise Failed("; ".join(stale), f"`{self.command(str(into))}` writes it anew")


def _staleness(path: Path, text: str) -> str:
    if not _is_there(path):
        return "is not there"
    found = _read(path)
    if found == text:
        return ""
    return "is stale" if is_untouched(found or "") else "was edited by hand, or not written by `export`"


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _install(project: Path) -> tuple[str, ...]:
    """What installs the project, by the first of its files that says what it needs."""
    found = next((name for name in SOURCES if (project / name).is_file()), None)
    if found is None:
        return (f"uv pip install aiinfra-lab=={version('aiinfra-lab')}",)
    if found == "pyproject.toml" and (project / "constraints.txt").is_file():
        return ("uv pip install -c constraints.txt -e .",)
    return (_INSTALLS[found],)


def _modules(notebook: Path) -> tuple[str, ...]:
    """The files of the project that a notebook imports."""
    return tuple(sorted(project_modules(notebook_code(read_notebook(notebook)), notebook.parent)))


def _outside(recipe: Recipe, project: Path) -> tuple[str, ...]:
    """What `in` names that git ignores, so that no commit has it; nothing where there is no git."""
    named = dict.fromkeys(path for step in recipe.steps for path in step.files.values())
    with contextlib.suppress(OSError):
        return tuple(path for path in named if _is_ignored(path, project))
    return ()


def _is_ignored(path: str, project: Path) -> bool:
    done = subprocess.run(["git", "check-ignore", "-q", "--", path], cwd=project, capture_output=True, check=False)
    return done.returncode == 0
