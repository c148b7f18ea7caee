"""What people hear of verdicts when nobody looks: that an endpoint's rows drifted, and that they do so no more."""

from __future__ import annotations

from ..alerts import Alert, deliver
from ..store import Record
from .record import DriftRecord

_MOST_NAMES = 8


def report_verdict(verdict: Record[DriftRecord]) -> None:
    """Send it where `[alerts] to` says, if it does; never raises.

    Of a verdict that cannot tell nobody hears, nor of one on rows that somebody gave: what is served may be well.
    """
    body, see = verdict.body, f"`%drift show {verdict.name}`"
    if body.since_at is None:
        return
    if body.state == "drift":
        drifted = [change.column for change in body.columns if change.drifted]
        more = f" and {len(drifted) - _MOST_NAMES} more" if len(drifted) > _MOST_NAMES else ""
        facts = {"verdict": verdict.uri, "columns": ", ".join(drifted[:_MOST_NAMES]) + more, "model": body.model}
        deliver(Alert("drift", body.endpoint, "what it is asked has drifted", see, facts=facts))
    elif body.state == "no drift":
        facts = {"verdict": verdict.uri}
        deliver(Alert("recovered", body.endpoint, "what it is asked drifts no more", see, facts=facts))
