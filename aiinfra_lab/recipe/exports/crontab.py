"""A recipe as lines of a crontab."""

from __future__ import annotations

from ...errors import UsageProblem
from ..base import Recipe
from .base import ExportFacts, ExportTraits, RecipeFiles, needs_schedule
from .written import sealed, slug

TRAITS = ExportTraits(takes_schedule=True, missed="cron makes up for no time that it missed", catch_up=("none",))


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The lines. UsageProblem without a schedule, and for a value with a line break, which no crontab can hold."""
    line, name = needs_schedule(facts, "cron"), slug(recipe.name)
    command = f"{facts.clock()} && {facts.shell(recipe)}" if facts.reads_clock else facts.shell(recipe)
    if "\n" in command or "\r" in command:
        raise UsageProblem("a line of a crontab cannot hold a line break", "export to systemd, or give no such value")
    # To cron an unescaped % is a line break.
    escaped = command.replace("%", "\\%")
    body = (
        f"PROJECT=/srv/{name}\n"
        f"CRON_TZ={line.tz}\n"
        f'{line.text} cd "$PROJECT" && PATH="$PROJECT/.venv/bin:/usr/local/bin:$PATH" {escaped}\n'
    )
    comments = [
        "",
        "PROJECT is the project's folder, with its environment in .venv. A run that still goes on is not begun again.",
    ]
    main = f"cron/{name}"
    zone = "CRON_TZ is understood by cronie and Debian's cron 3.0pl1-187 or newer; others take the machine's time zone"
    notes = ("PROJECT in it has to be set to the project's folder", *([zone] if line.tz != "UTC" else []))
    text = sealed(recipe, facts, "Lines of a crontab", body, comments)
    return RecipeFiles({main: text}, main, "add its lines by `crontab -e`", notes)
