"""What a row is: figures with the reach that each must have, and how they become one entry of build/bench.json."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


class Cannot(Exception):
    """This machine cannot measure it; the message says why."""


@dataclass(frozen=True)
class Reach:
    """What a figure must reach, in words and as the test of it; of the figure itself, or of its ratio to the peer's."""

    words: str
    test: Callable[[float], bool]
    of_ratio: bool = False


def below(limit: float) -> Reach:
    """Less than the limit."""
    return Reach(f"< {limit:g}", lambda value: value < limit)


def at_most(limit: float) -> Reach:
    """The limit or less."""
    return Reach(f"<= {limit:g}", lambda value: value <= limit)


def at_least(limit: float) -> Reach:
    """The limit or more."""
    return Reach(f">= {limit:g}", lambda value: value >= limit)


def exactly(wanted: float) -> Reach:
    """That number and no other."""
    return Reach(f"= {wanted:g}", lambda value: value == wanted)


def ratio_at_most(limit: float) -> Reach:
    """At most so many times the peer's figure."""
    return Reach(f"<= {limit:g} x peer", lambda ratio: ratio <= limit, of_ratio=True)


def ratio_at_least(limit: float) -> Reach:
    """At least so many times the peer's figure."""
    return Reach(f">= {limit:g} x peer", lambda ratio: ratio >= limit, of_ratio=True)


@dataclass(frozen=True)
class Figure:
    """One number that was measured. `ours` is None where the machine cannot measure it, and the note says why."""

    what: str
    ours: float | None
    unit: str
    reach: Reach
    peer: float | None = None
    peer_name: str | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def holds(self) -> bool | None:
        """Whether it reaches what it must; None when that cannot be told."""
        value = self.ratio if self.reach.of_ratio else self.ours
        return None if value is None else self.reach.test(value)


Measure = Callable[[bool], Iterable[Figure]]


@dataclass(frozen=True)
class Row:
    """A row of a table of figures: how it is measured, and the versions that matter for it.

    is_required: it counts faults, so that it must hold on every machine, however slow.
    """

    id: str
    what: str
    reach: str
    measure: Measure
    packages: tuple[str, ...]
    is_required: bool = False

    def entry(self, *, full: bool) -> dict[str, Any]:
        """Measure it, as an entry of bench.json. A row that its machine cannot measure holds `None`."""
        load, versions = os.getloadavg()[0], dict(_versions(self.packages))
        try:
            figures = list(self.measure(full))
        except Cannot as why:
            figures = [Figure(self.what, None, "", Reach(self.reach, bool), note=str(why))]
        common = {"versions": versions, "load": round(load, 2)}
        parts = [_entry(f"{self.id}#{place}", item) | common for place, item in enumerate(figures, 1)]
        if len(parts) == 1:
            return parts[0] | {"id": self.id, "what": self.what, "reach": self.reach}
        nothing = {"ours": None, "peer": None, "peer_name": None, "ratio": None, "unit": "", "note": ""}
        holds = all_hold([item.holds for item in figures])
        row = {"id": self.id, "what": self.what, **nothing, "reach": self.reach, "holds": holds, "parts": parts}
        return row | common


def all_hold(parts: list[bool | None]) -> bool | None:
    """A row holds only if every part does: one that does not decides, one that cannot be told leaves it open."""
    if False in parts:
        return False
    return None if None in parts else True


registry: dict[str, Row] = {}


def row(
    id: str, what: str, reach: str, packages: tuple[str, ...] = (), *, is_required: bool = False
) -> Callable[[Measure], Measure]:
    """Register a function as the measurement of a row. It is told whether to run everything (FULL=1)."""

    def register(measure: Measure) -> Measure:
        if id in registry:
            raise ValueError(f"row {id} is there twice")
        registry[id] = Row(id, what, reach, measure, packages, is_required)
        return measure

    return register


def _entry(id: str, item: Figure) -> dict[str, Any]:
    return {
        "id": id,
        "what": item.what,
        "ours": item.ours,
        "peer": item.peer,
        "peer_name": item.peer_name,
        "ratio": item.ratio,
        "unit": item.unit,
        "reach": item.reach.words,
        "holds": item.holds,
        "parts": [],
        "note": item.note,
    }


def _versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for name in ("aiinfra-lab", *packages):
        yield name, version(name)
