"""What people hear of a recipe's runs when nobody looks: that one failed, that it runs again, what it has cost too
much."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..alerts import Alert, deliver
from ..alerts.destinations import usable
from ..alerts.record import unsent
from ..config import settings
from ..errors import UsageProblem
from ..nouns import Notice
from ..secrets import is_reference
from ..store import open_store
from ..units import show_duration, show_usd
from ..uris import Uri
from .base import FAILED, FAILURES, OVER_BUDGET, Recipe
from .budget import spent_usd
from .history import KIND
from .parameters import ParameterProblem, refuse
from .recorded import RecordedRun

_SPENT = "its budget is spent"


def report_end(recipe: Recipe, run: RecordedRun) -> None:
    """Send what the recipe's `[alert]` asks for; never raises, and takes a minute where a sink does not answer. After
    an interrupt what is unsent goes with the next alert."""
    asked = recipe.alert
    if asked is None:
        return
    for alert in filter(None, (_of(recipe, run), _over_budget(recipe, run))):
        if alert.kind in asked.on:
            deliver(alert, asked.to)


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
        if each.why and Uri.is_one(each.alert.subject, KIND):
            name, run = Uri.parse(each.alert.subject).name, each.alert.facts.get("run", each.alert.subject)
            what = f"{each.destination} has not got an alert ({each.alert.kind}): {each.why}"
            yield Notice(run, what, f"`%recipe check {name}` looks at it; what is lacking goes with the next")


def _of(recipe: Recipe, run: RecordedRun) -> Alert | None:
    """None of a run that somebody stopped. "recovered" is sent only where a failure was, by whoever sends it."""
    body, subject, facts, fix = (
        run.body,
        str(Uri(KIND, recipe.name)),
        _facts(run),
        f"`%recipe show {run.name}`",
    )
    if body.state == "done":
        return Alert("recovered", subject, "it runs to its end again", facts=facts)
    if body.state == "lost":
        return Alert("failed", subject, "its process vanished", fix, facts=facts)
    if body.error:
        return Alert("failed", subject, _SPENT, fix, facts=facts)
    bad = next((step for step in run.steps if step.state in FAILURES), None)
    if bad is None:
        return None
    # Not its error: that may hold what the readers of a channel may not see.
    more = {"executed notebook": bad.archive, **({"cell": str(bad.cell)} if bad.cell is not None else {})}
    return Alert("failed", subject, f"the step {bad.name} {FAILED[bad.state]}", fix, facts={**facts, **more})


def _over_budget(recipe: Recipe, run: RecordedRun) -> Alert | None:
    """Also of a run that came to its end."""
    if run.body.budget_usd is None or _spent_usd(run) < run.body.budget_usd:
        return None
    return Alert(OVER_BUDGET, str(Uri(KIND, recipe.name)), _SPENT, f"`%recipe show {run.name}`", facts=_facts(run))


def _facts(run: RecordedRun) -> dict[str, str]:
    body = run.body
    took_s = (body.ended_at or run.last_sign_at) - body.started_at
    spent = {"spent": f"{show_usd(_spent_usd(run))} of {show_usd(body.budget_usd)}"} if body.budget_usd else {}
    return {"run": run.uri, "took": show_duration(max(0.0, took_s)), **spent}


def _spent_usd(run: RecordedRun) -> float:
    try:
        return spent_usd(run.body)
    except UsageProblem:  # the price of this machine was edited since, and is none
        return run.body.spent_usd
