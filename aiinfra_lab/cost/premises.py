"""What a forecast takes for granted, each with where it is from: a setting, or a default with the source of that.

Nothing here is measured: what a machine can do comes from load tests and runs, see `workload`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    "own_usd": _Default(
        "price of an own machine", 5000.0, "USD", "assumed; `cost.own_usd` sets it",
    ),
    "own_years": _Default(
        "its life", 5.0, "years", "over what Amazon and Meta write servers off, annual reports of 2022", least=0.1,
    ),
    "own_watts": _Default(
        "its power", 300.0, "W", "70 W of a T4 (NVIDIA's data sheet), 230 W assumed for the server",
    ),
    "pue": _Default(
        "power for cooling and the rest", 1.58, "times that", "the mean PUE in Uptime Institute's survey of 2023",
        least=1.0,
    ),
    "usd_per_kwh": _Default(
        "price of power", 0.127, "USD a kWh", "U.S. EIA, commercial customers, 2023: about that",
    ),
    "own_hours_per_month": _Default(
        "work on an own machine", 2.0, "hours a month", "assumed; `cost.own_hours_per_month` sets it",
    ),
    "usd_per_work_hour": _Default(
        "price of that work", 60.5, "USD an hour",
        "U.S. BLS, May 2024: administrators, median 96,800 USD a year; 30 % on top",
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

    def shown(self, *keys: str) -> list[Premise]:
        """These as people read them."""
        return [Premise(DEFAULTS[key].name, _shown(key, self.values[key]), self.sources[key]) for key in keys]

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


OWN = ("own_usd", "own_years", "own_watts", "pue", "usd_per_kwh", "own_hours_per_month", "usd_per_work_hour")
LOAD = ("peak", "utilisation")


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


def _shown(key: str, value: float) -> str:
    if key == "utilisation":
        return f"{show_share(value)} {DEFAULTS[key].unit}"
    if key in ("own_usd", "usd_per_work_hour", "usd_per_kwh"):
        return f"{show_usd(value)}{DEFAULTS[key].unit.removeprefix('USD')}"
    return f"{value:g} {DEFAULTS[key].unit}"
