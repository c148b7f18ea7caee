"""A recipe as a service of systemd's, and a timer where it has a schedule. The instance is the project's folder."""

from __future__ import annotations

import re

from ..base import Recipe
from .base import BY_HAND, ExportFacts, ExportTraits, RecipeFiles, seconds_of
from .written import one_line, sealed, slug

TRAITS = ExportTraits(
    takes_schedule=True,
    missed="systemd makes up for all times that it missed by one run",
    catch_up=("last", "none"),
)
_SERVICE = """\
[Unit]
Description=aiinfra-lab, the recipe {title} of %f
ConditionPathIsDirectory=%f/recipes

[Service]
Type=oneshot
WorkingDirectory=%f
Environment="AIINFRA_PROJECT=%f"
Environment="PATH=%f/.venv/bin:/usr/local/bin:/usr/bin:/bin"
ExecStart=/usr/bin/env {command}
TimeoutStartSec={limit}
# What a recipe deploys outlives its run; what its notebooks start is ended by the run itself.
KillMode=process
NoNewPrivileges=yes
"""
_TIMER = """\
[Unit]
Description=aiinfra-lab, when the recipe {title} of %f runs

[Timer]
{calendars}
AccuracySec=1s
# What was missed while the machine was off is {missed}

[Install]
WantedBy=timers.target
"""


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The units, in the manner of `infra/systemd/`: one file for any project's folder."""
    unit = f"aiinfra-recipe-{slug(recipe.name)}@"
    limits = [seconds_of(step) for step in recipe.steps]
    known = [each for each in limits if each is not None]
    service = _SERVICE.format(
        title=_escaped(one_line(recipe.name)),
        command=" ".join(map(_quoted, facts.command(recipe))),
        limit=f"{sum(known) + 300:.0f}" if len(known) == len(limits) else "infinity",
    )
    main = f"systemd/{unit}.service"
    files = {main: sealed(recipe, facts, "A service of systemd", service)}
    started = f"'{unit}'$(systemd-escape --path \"$PWD\").service"
    use = f"copy it to ~/.config/systemd/user; in the project's folder `systemctl --user start {started}` runs it"
    if facts.schedule:
        calendars = "\n".join(f"OnCalendar={each}" for each in facts.schedule.calendars())
        missed = (
            "not made up for.\nPersistent=false" if facts.catch_up == "none" else "made up for once.\nPersistent=true"
        )
        timer = _TIMER.format(title=_escaped(one_line(recipe.name)), calendars=calendars, missed=missed)
        files[f"systemd/{unit}.timer"] = sealed(recipe, facts, "A timer of systemd", timer)
        use = use.replace("copy it", "copy both").replace("systemctl --user start", "systemctl --user enable --now")
        use = use.replace(".service` runs it", ".timer` has it run")
    note = "its environment is expected in the project's .venv; more for it goes into ~/.config/environment.d/"
    return RecipeFiles(files, main, use, (note, *([BY_HAND] if facts.due else [])))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of ExecStart, as systemd.syntax(7) reads it."""
    if re.fullmatch(r"[A-Za-z0-9_./:=@+,-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + "".join(_character(each) for each in escaped) + '"'


def _character(each: str) -> str:
    return each if each >= " " and each != "\x7f" else f"\\x{ord(each):02x}"
