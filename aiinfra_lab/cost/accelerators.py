"""The names of accelerators, and the grammar of asking for them. The only place that compares two.

    wanted  :=  one ("or" one)*
    one     :=  [COUNT "x" | SHARE] NAME [PROFILE]

`A10G or L4`, `2x A100`, `1/4 L4`, `A100-80GB 1g.10gb`. Whoever asks for two gets a machine with two or more, whoever
asks for a share one with that share or more, and a MIG profile asks for a whole GPU that can be cut so. What memory,
how many slices: `specs`. Which names there are is not known here, see `wanted`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from . import specs
from .specs import Accelerator

_SEPARATORS = re.compile(r"[-_\s]+")
_OR = re.compile(r"\s+or\s+|\s*\|\s*", re.IGNORECASE)
_COUNT = re.compile(r"([0-9]{1,4})(?:\s*[x×*]\s*|\s+)(?=\S)", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]{1,3})\s*/\s*([0-9]{1,3})(?:\s*(?:of\s+an?\s|[x×*])\s*|\s+)(?=\S)", re.IGNORECASE)
_PROFILE = re.compile(r"[0-9]+g\.[0-9]+gb(\+[a-z.]+)?", re.IGNORECASE)
# Tables write a third as 0.333.
_ROUNDED = 1e-3


def fits(wanted: str, offered: str, count: float = 1.0) -> bool:
    """Whether so many accelerators of a name are what was asked for: it has every part of the name that was given.

    A part is compared whole, in any order: A10 is not A10G, and H100 not GH100.

    >>> fits("a100", "A100-SXM4-80GB"), fits("A100-80GB", "A100-SXM4-80GB"), fits("A10", "A10G")
    (True, True, False)
    >>> fits("A10G or 1/4 L4", "L4", 0.25), fits("2x A100", "A100-40GB", 1), fits("H100 1g.10gb", "H100")
    (True, False, True)
    """
    return any(one.fits(offered, count) for one in alternatives(wanted))


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the things that would do. count: how many, or which share of one; of slices where there is a profile."""

    name: str
    count: float = 1.0
    profile: str = ""

    def fits(self, offered: str, count: float) -> bool:
        """Whether so many accelerators of that name are it."""
        needs = self.needs(offered)
        return needs is not None and count + _ROUNDED >= needs

    def needs(self, offered: str) -> float | None:
        """How many accelerators of that name it takes; None when they are another kind."""
        mine, theirs = _canonical(self.name), _parts(offered)
        slices = profile_of(offered)
        if not mine or not mine <= theirs:
            return None
        if slices or not self.profile:
            # Whoever asks for a whole one is not given a slice of it.
            return self.count if slices == self.profile else None
        known = spec(offered)
        profile = known.profile(self.profile) if known else None
        return float(math.ceil(self.count / profile.instances)) if profile else None

    def memory_gib(self, offered: str, count: float) -> float | None:
        """The memory of one of what was asked for: a slice's, an accelerator's, or the share of it that is offered."""
        known = spec(offered)
        if known is None:
            return None
        profile = known.profile(self.profile or profile_of(offered))
        return profile.memory_gib if profile else known.memory_gib * min(count, 1.0)

    def __str__(self) -> str:
        share = Fraction(self.count).limit_denominator(1000)
        count = "" if self.count == 1 else f"{share} " if self.count < 1 else f"{share}x "
        return f"{count}{self.name}{f' {self.profile}' if self.profile else ''}"


@lru_cache(maxsize=256)
def alternatives(text: str) -> tuple[Alternative, ...]:
    """What a text asks for. Whatever is no number and no profile is a name: nothing is refused here."""
    return tuple(map(_alternative, filter(None, _OR.split(text.strip()))))


@lru_cache(maxsize=512)
def spec(name: str) -> Accelerator | None:
    """What is known of the accelerator of a name, which may say more: `H100-80GB-HBM3` is an H100."""
    parts = _canonical(name)
    found = [each for each in specs.ACCELERATORS if _parts(each.name) <= parts]
    return max(found, key=lambda each: len(_parts(each.name)), default=None)


def profile_of(name: str) -> str:
    """The MIG profile in a name, empty where there is none."""
    return next((part for part in _parts(name) if _PROFILE.fullmatch(part)), "")


def _alternative(text: str) -> Alternative:
    count, text = _count(text.strip())
    words = [word for word in _SEPARATORS.split(text) if word]
    profiles = [word for word in words if _PROFILE.fullmatch(word)]
    if not profiles:
        return Alternative(text, count)
    return Alternative("-".join(word for word in words if word not in profiles), count, profiles[0].lower())


def _count(text: str) -> tuple[float, str]:
    if (many := _COUNT.match(text)) and int(many[1]):
        return float(many[1]), text[many.end() :]
    share = _SHARE.match(text)
    if share and 0 < int(share[1]) < int(share[2]):
        return int(share[1]) / int(share[2]), text[share.end() :]
    return 1.0, text


@lru_cache(maxsize=1024)
def _canonical(name: str) -> frozenset[str]:
    """The parts of a name, of another name for it those of its own."""
    parts = _parts(name)
    return next(
        (_parts(each.name) for each in specs.ACCELERATORS for also in each.also if _parts(also) == parts), parts
    )


@lru_cache(maxsize=1024)
def _parts(name: str) -> frozenset[str]:
    return frozenset(filter(None, _SEPARATORS.split(name.lower())))
