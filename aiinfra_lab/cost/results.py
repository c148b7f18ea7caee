"""What `cost show` and `cost check` return of a workload: what it will cost, and from what each figure is derived."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .. import nouns
from ..config import settings
from ..show import Card, Result
from ..suggestions import quoted
from ..units import plain, show_duration, show_usd, write_count, write_duration
from ..uris import Uri
from . import forecast, forecast_cards, prices, workload
from .billing import PER_SECOND
from .forecast import CapacityPlan, Demand, Option, called, prices_of
from .premises import HOURS_PER_MONTH, Premise, Premises
from .prices import Price, machine_usd_per_hour
from .unit_cost import COMPARED_WITH
from .workload import PipelineTimes

BudgetState = Literal["", "within budget", "over budget", "cannot tell"]


@dataclass(frozen=True)
class Forecast(Result):
    """What a workload will cost.

    uri: the endpoint or the pipeline that was measured. usd: a month, or a run of a pipeline where nobody said how
    often it runs. option: the cheapest that the figure is of; spot counts only where it was asked for, and own machines
    only where the settings say what they cost. per_1000_usd: 1,000 predictions. premises: from what it is derived.
    state: how it compares with `budget_usd`, where there is one. asked: the flags that it is of, as they are typed.
    """

    kind = "Forecast"

    uri: str
    workload: str
    usd: float
    per: Literal["month", "run"]
    option: str
    premises: tuple[Premise, ...]
    options: tuple[Option, ...] = ()
    requests_per_day: float | None = None
    p95_ms: float | None = None
    per_1000_usd: float | None = None
    budget_usd: float | None = None
    state: BudgetState = ""
    notes: tuple[str, ...] = field(default=(), metadata={"json": False})
    asked: str = field(default="", metadata={"json": False})
    plan: CapacityPlan | None = field(default=None, metadata={"json": False})
    times: PipelineTimes | None = field(default=None, metadata={"json": False})
    rows: int = field(default=1, metadata={"json": False})

    def card(self) -> Card:
        return forecast_cards.card(self)

    def check_line(self, budget_usd: float | None = None) -> str:
        """The command that judges the same with that budget; with one that is enough when None."""
        budget_usd = float(math.ceil(self.usd)) if budget_usd is None else budget_usd
        return f"`%cost check {self.asked} --budget {plain(budget_usd)}`"

    @property
    def chosen(self) -> Option:
        """The option that `usd` is of."""
        return next(each for each in self.options if each.name == self.option)

    def judged(self, budget_usd: float) -> Forecast:
        """The same beside a budget."""
        # A budget that is met to the cent is met.
        state: BudgetState = "within budget" if self.usd <= budget_usd + 0.005 else "over budget"
        return replace(self, budget_usd=budget_usd, state=state)


def of_requests(
    requests_per_day: float, p95_ms: float | None, endpoint: str | None, machine: str | None, *, spot: bool
) -> Forecast:
    """What so many requests a day cost a month. NotFound where no load test says what a machine carries."""
    rate, price, premises = workload.measured_rate(endpoint, p95_ms), reference(machine), Premises.here()
    demand, uri = Demand(requests_per_day, p95_ms), rate.test.uri
    found = forecast.plan(
        demand,
        rate.per_s,
        price,
        premises,
        catalogue=prices.catalogue(),
        here_usd_per_hour=machine_usd_per_hour(),
        savings=[each for noun in nouns.every() for each in noun.savings(uri)],
    )
    chosen = next(each for each in found.options if not each.is_assumed and (spot or each.name != "spot"))
    rows = demand.requests_per_month * rate.test.rows
    return Forecast(
        uri=uri,
        workload=_asked(demand),
        usd=chosen.usd_per_month,
        per="month",
        option=chosen.name,
        premises=(rate.premise, *_of_machine(price, machine), *premises.shown()),
        options=found.options,
        requests_per_day=requests_per_day,
        p95_ms=p95_ms,
        per_1000_usd=chosen.usd_per_month / rows * 1000,
        notes=(*rate.notes, *_price_notes(price), *(_OWN_ASSUMED if not premises.is_set("own_usd") else ())),
        asked=_flags(
            {
                "--requests-per-day": write_count(requests_per_day),
                "--p95-ms": plain(p95_ms) if p95_ms else None,
                "--endpoint": Uri.parse(endpoint).label if endpoint else None,
                "--machine": machine,
            },
            spot=spot,
        ),
        plan=found,
        rows=rate.test.rows,
    )


def of_pipeline(uri: str, every_s: float | None, machine: str | None, *, spot: bool) -> Forecast:
    """What a run of a pipeline costs that skips nothing, or a month of such runs. NotFound where a step never ran."""
    times, price, here = workload.pipeline_times(uri), reference(machine), machine_usd_per_hour()
    runs = 1.0 if every_s is None else HOURS_PER_MONTH * 3600 / every_s
    hours, billed = (seconds / 3600 * runs for seconds in (times.whole_s, PER_SECOND.billed_s(times.whole_s)))
    # Runs that take longer than it is to the next one overlap.
    machines = 1 if every_s is None else max(1, math.ceil(times.whole_s / every_s - 1e-9))
    all_hours = math.inf if every_s is None else machines * HOURS_PER_MONTH
    paid, note = min(billed, all_hours), "rented for the run alone"
    if billed >= all_hours:
        note = "rented all the time"
    elif times.whole_s < PER_SECOND.least_s:
        note += ", and a minute of each run is paid at least"
    used = hours / paid if paid else 1.0
    options = [Option("on demand", called(price), machines, used, paid * price.usd_per_hour, note)]
    if price.spot_high_usd is not None:
        options.append(Option("spot", called(price), machines, used, paid * price.spot_high_usd, "may be taken away"))
    if here:
        used = 1.0 if every_s is None else hours / all_hours
        options.append(Option("machines like this one", "this machine", machines, used, hours * here))
    options.sort(key=lambda each: each.usd_per_month)
    chosen = next(each for each in options if spot or each.name != "spot")
    often = f", every {show_duration(every_s)}" if every_s else ""
    return Forecast(
        uri=str(Uri.parse(times.newest.uri).bare),
        workload=f"a run of {show_duration(times.whole_s)} that skips nothing{often}",
        usd=chosen.usd_per_month,
        per="run" if every_s is None else "month",
        option=chosen.name,
        premises=(times.premise, *_of_machine(price, machine)),
        options=tuple(options),
        notes=(*_price_notes(price), *(_FREE if not here else ())),
        asked=_flags(
            {
                "--workload": str(Uri.parse(uri, noun="recipe")),
                "--every": write_duration(every_s) if every_s else None,
                "--machine": machine,
            },
            spot=spot,
        ),
        times=times,
    )


def _flags(given: Mapping[str, str | None], *, spot: bool) -> str:
    """What was asked for, as it is typed: a command that leaves some of it out is about something else."""
    typed = [f"{flag} {quoted(value)}" for flag, value in given.items() if value is not None]
    return " ".join([*typed, *(["--spot"] if spot else [])])


_OWN_ASSUMED = ("own machines decide nothing here: `cost.own_usd` in aiinfra.toml says what one costs",)
_FREE = ("this machine counts as free: `cost.machine_usd_per_hour` in aiinfra.toml says what an hour of it costs",)


def reference(machine: str | None) -> Price:
    """The rented machine that stands for the measured one. NotFound with a suggestion."""
    return prices.of(machine or settings().get("cost.machine_type", "") or _compared())


def _compared() -> str:
    return settings().get("cost.compare", COMPARED_WITH)


def _asked(demand: Demand) -> str:
    within = f", p95 within {demand.p95_ms:g} ms" if demand.p95_ms else ""
    return f"{demand.requests_per_day:,.0f} requests a day{within}"


def _of_machine(price: Price, machine: str | None) -> Sequence[Premise]:
    """What the price is, and why that machine is thought to do as much as this one."""
    where = f" in {price.place}" if price.place else ""
    spot = f", {show_usd(price.spot_high_usd)} on spot" if price.spot_high_usd is not None else ""
    cost = Premise(
        f"price of {called(price)}",
        f"{show_usd(price.usd_per_hour)} an hour{spot}",
        f"the price table: {price.source}{where}, {prices_of(price)}",
    )
    if machine:
        source = "you have said so by --machine"
    elif settings().get("cost.machine_type", ""):
        source = "the setting `cost.machine_type` says that this machine is one"
    else:
        source = (
            "assumed, nothing was measured there: `--machine` or `[cost] machine_type` says which one is like this one"
        )
    return cost, Premise("does as much as this one", called(price), source)


def _price_notes(price: Price) -> list[str]:
    notes = []
    if price.stale:
        notes.append(f"the price is {price.age_days} days old: `%cost get --refresh` fetches today's of AWS")
    if price.spot_high_usd is None:
        notes.append(f"no spot price of {called(price)} is known: `%cost get --refresh` fetches those of AWS")
    return notes
