"""Prices, what things have cost so far, and the cost of 1,000 predictions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ..errors import Failed, Inconclusive, NotFound, UsageProblem
from ..files import refuse_taken, write
from ..nouns import Span, StepSpan
from ..providers import names
from ..show import Card, Listing, Number, Result, RowHeader, Table, moment, sentence, shown
from ..units import Count, Duration, Milliseconds, Usd, about_usd, counted, number, show_usd
from ..uris import Uri
from ..verbs import Choices, Destination, Live, Name, Uris, verb
from . import budgets, cards, daily, grouping, prices, refreshing, results
from .accelerators import fits
from .daily import Summary, summary
from .prices import STALE_DAYS, Price, machine_usd_per_hour
from .results import Forecast
from .spending import Spending, Total, spendings, spent_usd, total, total_usd, unknown
from .unit_cost import Trend, UnitCost, compared_with, trend, unit_costs, use

__all__ = [
    "Cost", "Forecast", "Part", "Price", "Prices", "Summary", "Total", "UnitCost", "check", "get", "ls",
    "machine_usd_per_hour", "prices", "show", "spent_usd", "summary", "total",
]  # fmt: skip

_ALL = "cost:all"
_MOST_PRICES = 16
_SHARED = "these add up to more than the sum, in which a machine that several of them used is paid once"
_GROUPED = {"session": "start", "endpoint": "start", "run": "run", "recipe": "run"}


def _machines() -> list[str]:
    return sorted({f"{price.provider}.{price.type}" for price in prices.table()})


def _sources() -> list[str]:
    return names("cost.prices_source")


@dataclass(frozen=True)
class Part:
    """What one start of a session or an endpoint, one run, or one step of a pipeline has cost.

    spent_usd: None where nobody knows the price. note: who pays, that it goes on, or what became of the step.
    """

    uri: str
    started_at: float | None
    duration_s: float
    spent_usd: float | None
    note: str


@dataclass(frozen=True)
class Cost(Result):
    """Seconds and money of a session, of runs, of a pipeline or of an endpoint; of everything with the URI `cost:all`.

    spent_usd: as far as prices are known; None when none is. counted_at: until when an endpoint that lives had written
    down its predictions; `deploy show` may know of more. rows_per_s: predicted rows per second of answering.
    thousand: 1,000 predictions, at the price here and at a cloud's. days: what was spent on each of the last days.
    is_live: whether any of it goes on. starts: how many starts of one thing these are. budget_usd, month_usd, state: of
    everything, where the workspace has a budget of a month, what of it is spent. by: of what each part is the sum.
    trend: the cost of 1,000 predictions by day.
    """

    kind = "Cost"

    uri: str
    duration_s: float
    spent_usd: float | None
    parts: tuple[Part, ...]
    usd_per_hour: float | None = None
    predictions: int = 0
    counted_at: float | None = None
    rows_per_s: float | None = None
    thousand: tuple[UnitCost, ...] = ()
    budget_usd: float | None = None
    month_usd: float | None = None
    state: Literal["", "within budget", "over budget"] = ""
    by: str = ""
    trend: Trend = field(default=(), metadata={"json": False})
    notes: tuple[str, ...] = field(default=(), metadata={"json": False})
    days: daily.Days = field(default=(), metadata={"json": False})
    is_live: bool = field(default=False, metadata={"json": False})
    starts: int = field(default=1, metadata={"json": False})

    @property
    def is_all(self) -> bool:
        """Whether it is the cost of everything."""
        return self.uri == _ALL

    @property
    def is_partly_unknown(self) -> bool:
        """Whether nobody knows the price of a part of it."""
        return any(part.spent_usd is None for part in self.parts)

    def card(self) -> Card:
        return cards.card(self)


@dataclass(frozen=True, repr=False)
class Prices(Listing):
    """The price table; says how old its prices are, and what could not be fetched."""

    notes: tuple[str, ...] = field(default=(), metadata={"json": False})

    def card(self) -> Card:
        titles = (RowHeader("machine"), "where", "accelerator", Number("price an hour"), Number("spot, low"),
                  Number("spot, high"), "prices of")  # fmt: skip
        rows = [
            (
                f"{one.provider} {one.type}",
                one.place,
                f"{one.count:g} × {one.accelerator}",
                *(shown("x_usd", usd) for usd in (one.usd_per_hour, one.spot_low_usd, one.spot_high_usd)),
                one.as_of,
            )
            for one in self.items
        ]
        ages = [price.age_days for price in self.items if price.stale]
        old = f"{len(ages)} of {len(self)} are older than {STALE_DAYS} days, up to {max(ages)}." if ages else ""
        return Card(
            kind="",
            uri="Prices",
            when=f"{len(rows):,} in all",
            lead=self._lead(),
            parts=[Table(titles, rows, most=_MOST_PRICES)],
            notes=[*map(sentence, self.notes), *([old] if old else [])],
            next=self._next(is_long=len(rows) > _MOST_PRICES, is_old=bool(ages)),
        )

    def _next(self, *, is_long: bool, is_old: bool) -> list[str]:
        fewer = ["`%cost ls --gpu A10G` lists those with one accelerator"] if is_long else []
        newer = ["`%cost get --refresh` fetches today's prices of AWS"] if is_old else []
        return [f"Next: {'; '.join([*fewer, *newer])}"] if fewer or newer else []

    def _lead(self) -> str:
        if not self.items:
            return sentence(self.empty)
        first = self.items[0]
        return f"**The cheapest is {first.provider} {first.type}**, {show_usd(first.usd_per_hour)} an hour."


@verb("cost")
def show(
    uri: Annotated[Name, Uris("gpu", "train", "deploy", "recipe")] | None = None,
    *,
    by: grouping.By | None = None,
    workload: Annotated[Name, Uris("recipe")] | None = None,
    every: Duration | None = None,
    requests_per_day: Count | None = None,
    p95_ms: Milliseconds | None = None,
    endpoint: Annotated[Name, Live("deploy")] | None = None,
    machine: Annotated[str, Choices(_machines)] | None = None,
    spot: bool = False,
) -> Cost | Forecast:
    """Show what a session, a run, a pipeline or an endpoint has cost so far, or what a workload will cost.

    All starts of a name count. A pipeline's run costs its time on this machine, step by step, and a skipped step
    nothing; a session or an endpoint that it started is a thing of its own. With --requests-per-day or --workload it
    is a forecast, of a month: how many machines, how far they are used, rented, bought or both, and from which month on
    buying costs less. What one machine carries is what a load test measured, or the times of the pipeline's runs;
    where nothing was measured, it says what does. Every figure names what it is derived from.

    uri: e.g. deploy:delay, gpu:trainer, train:delay@3, train:delay for all its runs, or recipe:flight-delays@2, without
        the version its newest run; everything when left out
    by: sum it up by session, run, endpoint, recipe, day, or by a tag of the settings' `cost.tags`
    workload: forecast the runs of this pipeline
    every: how often it will run; one run when left out
    requests_per_day: forecast so many requests a day, e.g. 10M
    p95_ms: within which time 95 % of them are to be answered
    endpoint: whose load tests count; the one that was tested last when left out
    machine: the rented machine that does as much as this one, e.g. aws.g5.xlarge; the settings' `cost.machine_type`
        or `cost.compare` when left out
    spot: let the spot price count, too

    Example:
        %cost show train:delay
    """
    if workload or requests_per_day is not None:
        if uri is not None:
            raise UsageProblem(f"{uri} has cost something, a forecast is of what will", f"leave out {uri}")
        if by:
            raise UsageProblem("--by sums up what was spent, and a forecast is of what will be", "leave out --by")
        return _forecast(workload, every, requests_per_day, p95_ms, endpoint, machine, spot=spot)
    if given := [flag for flag, value in _forecasting(every, p95_ms, endpoint, machine, spot).items() if value]:
        fix = "add --requests-per-day 10M, or --workload recipe:NAME"
        raise UsageProblem(f"{given[0]} belongs to a forecast", fix)
    return _spent(uri) if by is None else _grouped(uri, by)


@verb("cost")
def check(
    *,
    budget: Usd | None = None,
    workload: Annotated[Name, Uris("recipe")] | None = None,
    every: Duration | None = None,
    requests_per_day: Count | None = None,
    p95_ms: Milliseconds | None = None,
    endpoint: Annotated[Name, Live("deploy")] | None = None,
    machine: Annotated[str, Choices(_machines)] | None = None,
    spot: bool = False,
    report: bool = False,
) -> Forecast:
    """Judge whether a workload will cost more than a budget; see `cost show` for how that is forecast.

    It raises when it will, and when nobody can tell, so that a pipeline stops there. The cheapest rented machines
    decide; own machines do only where the settings say what they cost, and spot prices only with --spot.

    budget: what it may cost a month, or a run of a pipeline without --every, e.g. 500usd; it has to be given
    workload: judge the runs of this pipeline
    every: how often it will run; one run when left out
    requests_per_day: judge so many requests a day, e.g. 10M
    p95_ms: within which time 95 % of them are to be answered
    endpoint: whose load tests count; the one that was tested last when left out
    machine: the rented machine that does as much as this one; see `cost show`
    spot: let the spot price count, too
    report: hand the verdict back instead of raising

    Example:
        %cost check --requests-per-day 100k --budget 500usd
    """
    # Of nothing it is no forecast: an example of one is proposed.
    is_example = workload is None and requests_per_day is None
    requests = 10e6 if is_example else requests_per_day
    try:
        found = _forecast(workload, every, requests, p95_ms, endpoint, machine, spot=spot)
    except NotFound as problem:
        if is_example:
            raise UsageProblem(_NOTHING_ASKED, _GIVE_ONE) from None
        raise Inconclusive(problem.what, problem.fix) from None
    if is_example:
        raise UsageProblem(_NOTHING_ASKED, f"e.g. {found.check_line()}, or give --workload recipe:NAME")
    if budget is None:
        costs = f"it would cost about {about_usd(found.usd)} a {found.per}"
        raise UsageProblem("nothing says what it may cost", f"{costs}: {found.check_line()}")
    judged = found.judged(number(budget))
    if judged.state == "over budget" and not report:
        raise _over_budget(judged)
    return judged


def _spent(uri: Name | None) -> Cost:
    found, wanted = spendings(with_steps=uri is not None), str(uri)
    if uri is None:
        return _cost(_ALL, found)
    mine = [item for item in found if Uri.covers(wanted, item.span.uri)]
    if not mine:
        raise _nothing_known(wanted)
    if Uri.is_bare(wanted) and mine[0].span.steps:  # a pipeline's newest run stands for it: earlier ones are history
        # The first is the newest: `spendings` sorts so.
        return _cost(mine[0].span.uri, mine[:1])
    return _cost(wanted, mine)


@verb("cost")
def ls(*, gpu: Annotated[str, Choices(prices.accelerators)] | None = None) -> Prices:
    """List the price table, cheapest first.

    gpu: only machines with this accelerator, e.g. A10G, `A10G or L4`, `2x A100`, `1/4 L4` or `A100-80GB 1g.10gb`

    Example:
        %cost ls --gpu A10G
    """
    # Whoever names one wants to see its shares, too.
    found = (one for one in prices.table() if gpu is None or fits(gpu, one.accelerator, max(one.count, 1)))
    return _prices(found, f"it has no {gpu}, but {', '.join(prices.accelerators())}")


@verb("cost")
def get(
    *,
    refresh: bool = False,
    region: Sequence[str] = (),
    on: Annotated[str, Choices(_sources)] | None = None,
    into: Destination | None = None,
) -> Prices:
    """Hand the price table to the cell: `.df()` reads it.

    Prices that were fetched lie in this workspace and count beside the shipped ones, the newer of a machine in its
    region; `[cost] prices` names a table of your own, which then counts alone.

    refresh: first fetch today's prices; asks a cloud's price list, and rents nothing
    region: where, e.g. us-east-1,us-west-2; the region of your account's settings when left out
    on: whose prices
    into: a new .csv file for the table

    Example:
        %cost get -o prices
    """
    if not refresh and (region or on):
        raise UsageProblem("--region and --on say where to fetch prices", "add --refresh, or leave them out")
    if into:
        refuse_taken(Path(into))
    notes = refreshing.refresh(on, region) if refresh else ()
    found = prices.table()
    if into:
        write(Path(into), prices.written(found))
        notes = (*notes, f"written into {into}")
    return _prices(found, notes=notes)


def _forecast(
    workload: Name | None,
    every: Duration | None,
    requests_per_day: Count | None,
    p95_ms: Milliseconds | None,
    endpoint: Name | None,
    machine: str | None,
    *,
    spot: bool,
) -> Forecast:
    if workload and requests_per_day is not None:
        raise UsageProblem("--workload and --requests-per-day are two forecasts", _GIVE_ONE)
    if workload:
        if p95_ms is not None or endpoint:
            raise UsageProblem(
                "--p95-ms and --endpoint belong to requests", "leave them out, or give --requests-per-day"
            )
        return results.of_pipeline(str(workload), number(every), machine, spot=spot)
    if requests_per_day is None:
        raise UsageProblem(_NOTHING_ASKED, _GIVE_ONE)
    if every is not None:
        raise UsageProblem("--every says how often a pipeline runs", "leave it out, or give --workload recipe:NAME")
    uri = str(Uri.parse(endpoint, noun="deploy")) if endpoint else None
    return results.of_requests(number(requests_per_day), number(p95_ms), uri, machine, spot=spot)


_NOTHING_ASKED = "nothing says what to forecast"
_GIVE_ONE = "give one: --requests-per-day 10M --p95-ms 50, or --workload recipe:NAME --every 1d"


def _forecasting(every: object, p95_ms: object, endpoint: object, machine: object, spot: object) -> dict[str, object]:
    return {"--every": every, "--p95-ms": p95_ms, "--endpoint": endpoint, "--machine": machine, "--spot": spot}


def _over_budget(found: Forecast) -> Failed:
    budget = found.budget_usd or 0.0
    what = (
        f"{found.workload} would cost about {about_usd(found.usd)} a {found.per}, and the budget is {show_usd(budget)}"
    )
    ways = list(_ways_within(found, budget))
    ways.append(f"give it what it costs: {found.check_line()}")
    return Failed(f"{what} ({found.option}: {found.chosen.machine})", f"{', or '.join(ways)}; --report goes on with it")


def _ways_within(found: Forecast, budget: float) -> Iterator[str]:
    """What did not count, and would be within the budget."""
    within = [each for each in found.options if each.usd_per_month <= budget]
    if own := next((each for each in within if each.is_assumed), None):
        costs = f"about {about_usd(own.usd_per_month)} a {found.per} if one costs what is assumed"
        yield f"set `cost.own_usd` to what a machine of your own costs ({own.name}: {costs})"
    if spot := next((each for each in within if each.name == "spot"), None):
        again = replace(found, asked=f"{found.asked} --spot")
        yield f"add --spot (about {about_usd(spot.usd_per_month)} a {found.per}): {again.check_line(budget)}"


def _prices(found: Iterable[Price], empty: str = "there is none", notes: tuple[str, ...] = ()) -> Prices:
    header = ("provider", "type", "region", "zone", "accelerator", "count", "usd_per_hour", "spot_low_usd",
              "spot_high_usd", "as_of")  # fmt: skip
    return Prices("cost:prices", tuple(found), header, empty, notes=notes)


def _cost(uri: str, found: list[Spending]) -> Cost:
    everything = uri == _ALL
    starts = found if Uri.is_one(uri, "deploy") else []
    # Starts of one name may have had several prices: then none of them is the price of all.
    done, rates = use(starts), {item.usd_per_hour for item in found}
    return Cost(
        uri=uri,
        duration_s=sum(item.span.duration_s for item in found),
        # One thing costs its own time; only in the sum of all is a machine that several things share paid once.
        spent_usd=total_usd(found) if everything else _sum(item.usd for item in found),
        parts=_steps(found[0]) if not everything and found[0].span.steps else tuple(map(_part, found)),
        usd_per_hour=rates.pop() if len(rates) == 1 and not everything else None,
        predictions=done.rows,
        counted_at=_counted_at(starts),
        rows_per_s=done.rows_per_s,
        thousand=unit_costs(starts),
        trend=trend(starts),
        notes=tuple(_notes(found, done.rows if starts else None, everything)),
        **(_month() if everything else {}),
        days=daily.by_day(found, total_usd if everything else _known_usd),
        is_live=any(item.span.is_live for item in found),
        starts=_starts(found),
    )


def _month() -> dict[str, Any]:
    """What everything has cost this month, beside the workspace's budget where it has one."""
    limit = budgets.usd_per_month()
    if not limit:
        return {}
    budgets.look()  # whoever looks at the money is warned now, not at some later look
    found = budgets.month(limit)
    state = "over budget" if found.spent_usd > limit else "within budget"
    return {"budget_usd": limit, "month_usd": found.spent_usd, "state": state}


def _grouped(uri: Name | None, by: grouping.By) -> Cost:
    """What was spent, by its groups."""
    everything, wanted = spendings(), str(uri)
    found = [item for item in everything if uri is None or Uri.covers(wanted, item.span.uri)]
    if uri is not None and not found:
        raise _nothing_known(wanted)
    if by == "run" and Uri.is_one(wanted, "gpu"):  # those in that session, which are what it was paid for
        found = [item for item in everything if Uri.covers(wanted, item.span.within)]
    groups = grouping.groups(found, by)
    members = [item for _, of in groups for item in of] if by != "day" else found
    if not members:
        note = f"no {by} has cost anything" if uri is None else f"no {by} is a part of {uri}"
        return Cost(_ALL if uri is None else wanted, 0.0, 0.0, (), notes=(note,), by=by)
    # A run may go on on a day on which its session has no machine: that costs nothing.
    payers = {item.span.uri for item in found} if by == "day" else set()
    cost = _cost(_ALL if uri is None else str(uri), members)
    parts = tuple(_group(name, of, _GROUPED.get(by, "thing"), payers) for name, of in groups)
    usd = grouping.usd_of(members, payers)
    is_shared = sum(part.spent_usd or 0.0 for part in parts) > usd + 0.005
    return replace(
        cost,
        parts=parts,
        # A sum of groups has one of all: neither a price of an hour nor predictions are.
        usd_per_hour=None,
        spent_usd=usd,
        notes=(*cost.notes, *([_SHARED] if is_shared else [])),
        days=(),
        by=by,
    )


def _group(name: str, of: Sequence[Spending], what: str, payers: Collection[str]) -> Part:
    known = [item for item in of if item.usd is not None]
    usd = grouping.usd_of(of, payers) if known else None
    return Part(
        name,
        None,
        sum(item.span.duration_s for item in of),
        usd,
        counted(_starts(of), what),
    )


def _starts(of: Sequence[Spending]) -> int:
    """How many these are, with several machines of one start as one."""
    named = {(item.span.uri, item.span.of_start) for item in of if item.span.of_start}
    return len(named) + sum(not item.span.of_start for item in of)


def _nothing_known(uri: str) -> NotFound:
    return NotFound(f"nothing is known about a cost of {uri}", "`%cost show` lists what has cost something")


def _counted_at(starts: list[Spending]) -> float | None:
    return next((item.span.counted_at for item in starts if item.span.counted_at), None)


def _sum(amounts: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _known_usd(found: Sequence[Spending]) -> float:
    return _sum(item.usd for item in found) or 0.0


def _part(item: Spending) -> Part:
    return Part(item.span.uri, item.span.started_at, item.span.duration_s, item.usd, _who_pays(item.span))


def _steps(item: Spending) -> tuple[Part, ...]:
    """A pipeline's run by its steps."""
    run, usd_per_s = item.span, (item.usd_per_hour or 0.0) / 3600  # a pipeline runs on this machine
    took = [(step, step.took_s(run.is_live)) for step in run.steps]
    return tuple(
        Part(f"{run.uri}/{step.name}", step.began_at, seconds, seconds * usd_per_s, _became(step, run))
        for step, seconds in took
    )


def _became(step: StepSpan, run: Span) -> str:
    if step.state == "running":
        return "goes on" if run.is_live else "its process is gone"
    return "" if step.state == "done" else step.state


def _notes(found: list[Spending], rows: int | None, everything: bool) -> Iterator[str]:
    if rows and len(found) > 1:
        yield f"predictions and rate are those of {len(found)} starts; `%deploy show` knows the newest alone"
    if rows is not None and (counted_at := _counted_at(found)):
        at = moment(counted_at)
        yield f"predictions are counted until {at}; `%deploy show` asks the endpoint itself, and may know of more"
    if rows and compared_with().stale:
        yield f"the cloud's price is older than {STALE_DAYS} days; `cost.prices` in aiinfra.toml takes a table of yours"
    here = [item for item in found if item.span.on_machine]
    if here and not any(item.usd_per_hour for item in here):
        yield "this machine counts as free: `cost.machine_usd_per_hour` in aiinfra.toml says what an hour of it costs"
    if note := unknown(found):
        yield note
    if everything and sum(not item.span.within for item in here) > 1:
        which = "one" if any(item.machine for item in found) else "this"
        yield f"what ran on {which} machine at the same time is paid once"


def _who_pays(span: Span) -> str:
    return f"paid by {span.within}" if span.within else "goes on" if span.is_live else ""
