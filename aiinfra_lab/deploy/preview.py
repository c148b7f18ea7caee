"""What a canary's share is worth at an endpoint's traffic, said before anybody waits for a verdict."""

from __future__ import annotations

import time

from ..errors import LabError
from ..stats.bounds import bounds_of
from ..units import show_duration, show_share
from .details import requests_of
from .record import EndpointRecord
from .versions import artifact

# What takes no longer needs no advice.
SOON_S = 3600.0
# Of less traffic, or over a shorter time, nobody knows how much there is.
LEAST_REQUESTS, LEAST_S = 10, 60.0
_USUAL = 0.01
_SHARES = (0.1, 0.25, 0.5)


def differs(body: EndpointRecord) -> str:
    """What a canary or a candidate takes or answers otherwise than the champion, as a note; empty where nothing.

    Requests that only they refuse count as their errors, and the champion answers them.
    """
    tried = [arm.model for arm in body.desired.arms if arm.role in ("canary", "candidate")]
    return "; ".join(filter(None, (_differs(body.champion, uri) for uri in tried))) if body.champion else ""


def _differs(champion_uri: str, uri: str) -> str:
    from ..train.saved_model import SavedModel

    try:
        champion, tried = (SavedModel(artifact(each)) for each in (champion_uri, uri))
        asked, known = set(tried.rows.names), set(champion.rows.names)
        tasks = champion.signature.task, tried.signature.task
        outputs = champion.signature.answered, tried.signature.answered
    except (OSError, LabError):  # whoever serves them says what is the matter
        return ""
    found = [
        f"also reads {', '.join(sorted(asked - known))}" if asked - known else "",
        f"does not read {', '.join(sorted(known - asked))}" if known - asked else "",
        f"answers {', '.join(outputs[1])} in place of {', '.join(outputs[0])}" if outputs[0] != outputs[1] else "",
        "has another task or other labels" if tasks[0] != tasks[1] else "",
    ]
    said = "; ".join(filter(None, found))
    return f"{uri} is not asked what {champion_uri} is: it {said}" if said else ""


def note(body: EndpointRecord, now: float | None = None) -> str:
    """How long a doubling of errors takes to be seen, where that is long; empty where it is not, or nobody knows."""
    since = (now or time.time()) - body.started_at
    requests = requests_of(body)
    if not (body.canary and body.champion) or requests < LEAST_REQUESTS or since < LEAST_S:
        return ""
    from ..stats.power import seconds_to_see

    bounds = bounds_of(body.rollback_if) if body.rollback_if else ()
    allowed = [bound.share for bound in bounds if bound.limit_ms is None]
    before = next((share for share in allowed if 0 < share < 0.5), _USUAL)
    per_s = requests / since
    takes = seconds_to_see(per_s, body.share, before, 2 * before)
    if takes <= SOON_S:
        return ""
    faster = [share for share in _SHARES if share > body.share]
    better = next((share for share in faster if seconds_to_see(per_s, share, before, 2 * before) <= takes / 3), 0.5)
    per_minute = f"{60 * per_s:,.0f} requests a minute" if per_s >= 1 / 60 else f"{3600 * per_s:,.0f} an hour"
    rise = f"a rise of errors from {show_share(before)} to {show_share(2 * before)}"
    advice = f": `--canary {show_share(better).replace(' ', '')}` sees it sooner" if body.share < better else ""
    return f"at {per_minute} and {show_share(body.share)}, {rise} takes about {show_duration(takes)} to see{advice}"
