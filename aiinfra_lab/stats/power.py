"""How long a rise of errors takes to be seen, before anything was sent: what a canary's share is worth."""

from __future__ import annotations

import math

from .arms import HEAD_START

_ODDS = (1.5, 2, 3, 5, 10, 30, 100)


def seconds_to_see(per_s: float, share: float, before: float, after: float) -> float:
    """About how long until a rise of the canary's errors convicts it, with so many requests a second in all.

    share: of the keys that the canary gets. before, after: the champion's share of errors, and the canary's
    """
    together = (1 - share) * before + share * after
    if per_s <= 0 or share <= 0 or after <= before:
        return math.inf
    growth = max(after * share * math.log(odds) - _expected(odds, share, together) for odds in _ODDS)
    return math.log(len(_ODDS) / HEAD_START) / (per_s * growth) if growth > 0 else math.inf


def _expected(odds: float, share: float, together: float) -> float:
    """What a request costs the bet, whatever becomes of it: the cheaper of the two brackets of `arms`."""
    return min(together * math.log1p(share * (odds - 1)), share * math.log1p(together * (odds - 1)))
