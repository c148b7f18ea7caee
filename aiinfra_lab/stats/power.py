"""How long a rise of errors takes to be seen, before anything was sent: what a canary's share is worth."""

from __future__ import annotations

import math

from .arms import HEAD_START, LEAST_DIFFERENCE, LIMIT

_ODDS = (1.5, 2, 3, 5, 10, 30, 100)


def seconds_to_see(per_s: float, share: float, before: float, after: float) -> float:
    """About how long until a rise of the canary's errors convicts it, with so many requests a second in all.

    share: of the keys that the canary gets. before, after: the champion's share of errors, and the canary's
    """
    growth = _growth(share, before, after)
    if per_s <= 0 or growth <= 0:
        return math.inf
    return math.log(len(_ODDS) / HEAD_START) / (per_s * growth)


def requests_to_convict(share: float, champion: float, canary: float, evidence: float) -> int | None:
    """About how many more of the canary's requests convict it, with so much evidence now; None where no number does.

    champion, canary: their shares of what is bad
    """
    growth = _growth(share, champion, canary)
    if growth <= 0 or canary - champion < LEAST_DIFFERENCE:
        return None
    return math.ceil(max(0.0, math.log(len(_ODDS) * LIMIT / evidence)) * share / growth)


def _growth(share: float, before: float, after: float) -> float:
    """What a request of either arm adds to the logarithm of the best bet, on average."""
    together = (1 - share) * before + share * after
    if not 0 < share < 1 or after <= before:
        return 0.0
    return max(after * share * math.log(odds) - _expected(odds, share, together) for odds in _ODDS)


def _expected(odds: float, share: float, together: float) -> float:
    """What a request costs the bet, whatever becomes of it: the cheaper of the two brackets of `arms`."""
    return min(together * math.log1p(share * (odds - 1)), share * math.log1p(together * (odds - 1)))
