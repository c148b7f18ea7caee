"""What a forecast takes for granted, each with where it is from: a setting, or a default with the source of that.

Nothing here is measured: what a machine can do comes from load tests and runs, see `workload`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import settings
from ..errors import UsageProblem
from ..units import show_share, show_usd

HOURS_PER_MONTH = 730.0
DAYS_PER_MONTH = HOURS_PER_MONTH / 24


@dataclass(frozen=True, slots=True)
class Premise:
    """A number that a forecast is derived from. value: as people read it. source: who measured, stated or set it."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class _Default:
    """usual: unless the setting says otherwise. most: no larger value makes sense."""

    name: str
    usual: float
    unit: str
    source: str
    most: float = math.inf
    least: float = 0.0


# Setting → what it is when nobody has set it, and why that.
DEFAULTS: Mapping[str, _Default] = {
    "peak": _Default(
        "busiest hour", 1.7, "times the mean",
        "Robust Perception, “peak-to-mean ratio”: 1.6 to 1.7 is usual", least=1.0, most=24.0,
    ),
    "utilisation": _Default(
        "load of a machine at the peak", 0.7, "of the measured rate",
        "Knative's autoscaler, unless it is set", most=1.0, least=0.01,
    ),
    "own_usd": _Default("price of an own machine", 5000.0, "USD", "price: assumed, `cost.own_usd` sets it"),
    "own_years": _Default(
        "life of an own machine", 5.0, "years", "years: what Amazon and Meta write servers off over (2022)", least=0.1,
    ),
    "own_watts": _Default(
        "power of an own machine", 300.0, "W", "power: 70 W of a T4 (NVIDIA), 230 W assumed for the server",
    ),
    "pue": _Default(
        "power for cooling and the rest", 1.58, "PUE", "PUE: Uptime Institute's survey of 2023, the mean", least=1.0,
    ),
    "usd_per_kwh": _Default("price of power", 0.127, "USD a kWh", "its price: U.S. EIA, commercial, 2023, about"),
    "own_hours_per_month": _Default("work on an own machine", 2.0, "hours a month", "hours: assumed"),
    "usd_per_work_hour": _Default(
        "price of that work", 60.5, "USD an hour", "wage: U.S. BLS, May 2024, administrators' median, and 30 % on top",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Premises:
    """The premises of forecasts as they are set here."""

    values: Mapping[str, float]
    sources: Mapping[str, str]

    @classmethod
    def here(cls) -> Premises:
        """Those of the settings. UsageProblem for a value that cannot be."""
        return cls({key: read(key) for key in DEFAULTS}, {key: _source(key) for key in DEFAULTS})

    def is_set(self, key: str) -> bool:
        """Whether somebody has set it."""
        return self.sources[key] != DEFAULTS[key].source

    def __getitem__(self, key: str) -> float:
        return self.values[key]

    def shown(self) -> list[Premise]:
        """All of them as people read them: what belongs together in one."""
        return [self._shown(name, form, keys) for name, form, keys in _SHOWN]

    def _shown(self, name: str, form: str, keys: Sequence[str]) -> Premise:
        values = (_value(key, self.values[key]) for key in keys)
        return Premise(name, form.format(*values), "; ".join(self.sources[key] for key in keys))

    @property
    def own_upkeep_usd(self) -> float:
        """What an own machine costs in a month once it is bought: power and work."""
        kwh = self["own_watts"] / 1000 * HOURS_PER_MONTH * self["pue"]
        return kwh * self["usd_per_kwh"] + self["own_hours_per_month"] * self["usd_per_work_hour"]

    @property
    def own_usd_per_month(self) -> float:
        """The same with the month's share of its price."""
        return self.own_upkeep_usd + self["own_usd"] / self.own_months

    @property
    def own_months(self) -> int:
        """For how many months an own machine is used."""
        return max(1, round(12 * self["own_years"]))


_SHOWN: Sequence[tuple[str, str, Sequence[str]]] = (
    ("busiest hour", "{}", ("peak",)),
    ("load at the peak", "{}", ("utilisation",)),
    ("price of an own machine", "{} over {}", ("own_usd", "own_years")),
    ("its power", "{} × {} at {}", ("own_watts", "pue", "usd_per_kwh")),
    ("work on it", "{} at {}", ("own_hours_per_month", "usd_per_work_hour")),
)


def read(key: str) -> float:
    """The premise of that name. UsageProblem when the setting is no such number."""
    known = DEFAULTS[key]
    value = settings().get(f"cost.{key}", known.usual)
    if not known.least <= value <= known.most or not math.isfinite(value):
        range_ = f"{known.least:g} to {known.most:g}" if math.isfinite(known.most) else f"{known.least:g} or more"
        fix = f"give it {range_} ({known.unit}), as in {known.usual:g}, or take it out"
        raise UsageProblem(f"cost.{key} = {value:g} cannot be: it is the {known.name}", fix)
    return value


def _source(key: str) -> str:
    found = settings().values.get(f"cost.{key}")
    return DEFAULTS[key].source if found is None else f"`cost.{key}` of {found.source}"


def _value(key: str, value: float) -> str:
    if key == "utilisation":
        return f"{show_share(value)} {DEFAULTS[key].unit}"
    if key == "pue":
        return f"{value:g}"
    if key in ("own_usd", "usd_per_work_hour", "usd_per_kwh"):
        return f"{show_usd(value)}{DEFAULTS[key].unit.removeprefix('USD')}"
    return f"{value:g} {DEFAULTS[key].unit}"
