"""What each step of a recipe's run took, read from the run's record; a step that was skipped took nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run. `began_at` is None when it did not run; `duration_s` is None while it runs."""

    name: str
    state: str
    began_at: float | None
    duration_s: float | None

    def took_s(self, live: bool) -> float:
        """Its seconds; of one that has not ended until now if its run is `live`, else nothing that could be told."""
        if self.duration_s is None and self.began_at is not None and live:
            return max(0.0, time.time() - self.began_at)
        return self.duration_s or 0.0


def steps(body: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps in the order of the recipe; records of before kept them as a table, with their order beside it."""
    known = body.get("steps") or {}
    if isinstance(known, list):
        return tuple(_step(step["name"], step) for step in known)
    names = [name for name, *_ in body.get("order") or known.items()]
    return tuple(_step(name, known[name]) for name in names)


def last_sign(made: Sequence[Step]) -> float:
    """When a run that has no end was last known to go on."""
    return max((step.began_at + (step.duration_s or 0.0) for step in made if step.began_at), default=0.0)


def _step(name: str, body: Mapping[str, Any]) -> Step:
    if body["state"] in ("waiting", "blocked", "skipped"):
        return Step(name, body["state"], None, 0.0)
    return Step(name, body["state"], body.get("began_at"), body.get("seconds"))
