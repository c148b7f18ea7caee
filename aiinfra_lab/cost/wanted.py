"""What accelerators somebody asks for, checked against those that there are; the grammar is that of `accelerators`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import NotFound, UsageProblem, nearest
from ..units import show_usd
from . import accelerators, prices, specs
from .accelerators import Alternative

_FORMS = "write A10G, `A10G or L4`, `2x A100`, `1/4 L4` or `A100-80GB 1g.10gb`"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Any of these will do. `fits` of `accelerators` asks the same of a text."""

    alternatives: tuple[Alternative, ...]

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """What a text asks for.

        UsageProblem when it asks for nothing, or for a profile that the GPU does not have;
        NotFound, with the nearest name and what it costs, for an accelerator that nobody knows.
        """
        found = accelerators.alternatives(text)
        if not found:
            raise UsageProblem(f"{text!r} names no accelerator", _FORMS)
        for each in found:
            _check(each)
        return cls(found)

    def needs(self, offered: str) -> float | None:
        """How many accelerators of that name the least of them takes; None when they are another kind."""
        needs = [needs for each in self.alternatives if (needs := each.needs(offered)) is not None]
        return min(needs, default=None)

    def memory_gib(self, offered: str, count: float) -> float | None:
        """The memory of one of what was asked for, on a machine with so many of these."""
        fitting = (each for each in self.alternatives if each.fits(offered, count))
        return next((each.memory_gib(offered, count) for each in fitting), None)

    def __str__(self) -> str:
        return " or ".join(map(str, self.alternatives))


def _check(asked: Alternative) -> None:
    if asked.count == 1 and re.match(r"[-+.0-9]+\s*([x×*/]|\s)", asked.name):
        raise UsageProblem(f"{asked.name!r} begins with no number of accelerators and no share of one", _FORMS)
    known = sorted({*specs.names(), *prices.accelerators()})
    if not _is_known(asked.name, known):
        raise NotFound(f"there is no accelerator {asked.name!r}", _suggestion(asked.name, known))
    if asked.profile:
        _check_profile(asked)


def _is_known(name: str, known: list[str]) -> bool:
    """Whether it is one, several (A100), or says more of one (A100-SXM4-80GB)."""
    return accelerators.spec(name) is not None or any(accelerators.fits(name, each, 1) for each in known)


def _suggestion(name: str, known: list[str]) -> str:
    also = [other for each in specs.ACCELERATORS for other in each.also]
    near = nearest(name, [*known, *also, *(each.partition("-")[0] for each in known)])
    if not near:
        return f"{_FORMS}; known: {', '.join(known)}"
    price = next(prices.having(near), None)
    costs = (
        f", which {price.provider} {price.type} has for about {show_usd(price.usd_per_hour)} an hour" if price else ""
    )
    return f"did you mean {near}{costs}?"


def _check_profile(asked: Alternative) -> None:
    cut = [each for each in specs.ACCELERATORS if each.profiles and accelerators.fits(asked.name, each.name)]
    if any(each.profile(asked.profile) for each in cut):
        return
    what = f"{asked.name} has no MIG profile {asked.profile}"
    if not cut:
        able = ", ".join(each.name for each in specs.ACCELERATORS if each.profiles)
        raise UsageProblem(f"{what}: it cannot be cut into slices", f"of these it can: {able}; or ask for `1/4 L4`")
    has = (f"{each.name} has {', '.join(profile.name for profile in each.profiles)}" for each in cut)
    raise UsageProblem(what, "; ".join(has))
