"""What people hear of a recipe's runs when nobody looks: that one failed, and that it runs again."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..alerts import Alert, deliver
from ..alerts.destinations import usable
from ..alerts.record import unsent
from ..config import settings
from ..nouns import Notice
from ..secrets import is_reference
from ..store import Record, open_store
from ..units import show_duration
from ..uris import Uri
from .base import FAILED, FAILURES, Recipe
from .parameters import ParameterProblem, refuse
from .record import RunRecord


def report_end(recipe: Recipe, run: Record[RunRecord]) -> None:
    """Send what the recipe's `[alert]` asks for; never raises, and takes a minute where a sink does not answer. After
    an interrupt what is unsent goes with the next alert."""
    alert = None if recipe.alert is None else _of(recipe, run)
    if recipe.alert is not None and alert is not None and alert.kind in recipe.alert.on:
        deliver(alert, recipe.alert.to)


def check_destinations(recipe: Recipe) -> None:
    """UsageProblem with all that is wrong in where a recipe's alerts are to go; asks nobody."""
    wrong = usable(recipe.alert.to, settings())[1] if recipe.alert is not None else []
    refuse((ParameterProblem(each.what, each.fix) for each in wrong), f"{recipe.path.name} [alert]")


def unset(recipe: Recipe) -> Iterator[str]:
    """The destinations of its alerts whose variable is not set here."""
    for each in usable(recipe.alert.to, settings())[0] if recipe.alert is not None else ():
        if is_reference(each.address) and ":" not in each.address and not os.environ.get(each.address, "").strip():
            yield f"An alert would not reach {each} from here: the environment has no {each.address}."


def undelivered() -> Iterator[Notice]:
    """The alerts of recipes that somebody still lacks."""
    for each in unsent(open_store()):
        if each.why and Uri.is_one(each.alert.subject, RunRecord.kind):
            name, run = Uri.parse(each.alert.subject).name, each.alert.facts.get("run", each.alert.subject)
            what = f"{each.destination} has not got an alert ({each.alert.kind}): {each.why}"
            yield Notice(run, what, f"`%recipe check {name}` looks at it; what is lacking goes with the next")


def _of(recipe: Recipe, run: Record[RunRecord]) -> Alert | None:
    """None of a run that somebody stopped. "recovered" is sent only where a failure was, by whoever sends it."""
    body, subject = run.body, str(Uri(run.kind, recipe.name))
    took_s = (body.ended_at or body.last_sign_at) - body.started_at
    facts = {"run": run.uri, "took": show_duration(max(0.0, took_s))}
    if body.state == "done":
        return Alert("recovered", subject, "it runs to its end again", facts=facts)
    if body.state == "lost":
        return Alert("failed", subject, "its process vanished", f"`%recipe show {run.name}`", facts=facts)
    bad = next((step for step in body.steps if step.state in FAILURES), None)
    if bad is None:
        return None
    # Not its error: that may hold what the readers of a channel may not see.
    more = {"executed notebook": bad.archive, **({"cell": str(bad.cell)} if bad.cell is not None else {})}
    what = f"the step {bad.name} {FAILED[bad.state]}"
    return Alert("failed", subject, what, f"`%recipe show {run.name}`", facts={**facts, **more})
