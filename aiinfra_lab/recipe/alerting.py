"""What people hear of a recipe's runs when nobody looks: that one failed, and that it runs again."""

from __future__ import annotations

from ..alerts import Alert, deliver
from ..store import Record
from ..units import show_duration
from ..uris import Uri
from .base import FAILED, FAILURES, Recipe
from .record import RunRecord


def report_end(recipe: Recipe, run: Record[RunRecord]) -> None:
    """Send what the recipe's `[alert]` asks for; never raises, and takes a minute where a sink does not answer."""
    alert = None if recipe.alert is None else _of(recipe, run)
    if recipe.alert is not None and alert is not None and alert.kind in recipe.alert.on:
        deliver(alert, recipe.alert.to)


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
