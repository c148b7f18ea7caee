"""Prices, what things have cost so far, and the cost of 1,000 predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from ..errors import NotFound
from ..show import Card, Listing, Result, shown
from ..units import show_duration, show_usd
from ..verbs import Choices, verb
from . import prices
from .pipeline import Step
from .prices import STALE_DAYS, Price, machine_usd_per_hour
from .spending import Span, spans, spent_usd, total_usd
from .thousand import Thousand, compared_with, thousands, use

__all__ = ["Cost", "Part", "Price", "Prices", "Thousand", "ls", "machine_usd_per_hour", "prices", "show", "spent_usd"]

_ALL = "cost:all"


@dataclass(frozen=True)
class Part:
    """What one start of a session or an endpoint, one run, or one step of a pipeline has cost.

    note: who pays, that it goes on, or what became of the step.
    """

    uri: str
    started_at: float | None
    duration_s: float
    spent_usd: float
    note: str


@dataclass(frozen=True)
class Cost(Result):
    """Seconds and money of a session, of runs, of a pipeline or of an endpoint; of everything with the URI `cost:all`.

    rows_per_s: predicted rows per second of answering. thousand: 1,000 predictions, at the price here and at a cloud's.
    """

    uri: str
    duration_s: float
    spent_usd: float
    parts: tuple[Part, ...]
    usd_per_hour: float | None = None
    predictions: int = 0
    rows_per_s: float | None = None
    thousand: tuple[Thousand, ...] = ()
    notes: tuple[str, ...] = field(default=(), metadata={"json": False})

    def card(self) -> Card:
        facts = [("time", show_duration(self.duration_s) + self._starts()), ("spent", show_usd(self.spent_usd))]
        if self.usd_per_hour is not None:
            facts.append(("price", f"{show_usd(self.usd_per_hour)} an hour"))
        if self.predictions:
            facts += [("predictions", f"{self.predictions:,}"), ("measured rate", _rate_words(self.rows_per_s))]
        header, rows = self._thousand_table() if self.thousand else self._parts_table()
        return Card(self.uri, facts=facts, header=header, rows=rows, notes=self.notes)

    def _starts(self) -> str:
        again = len(self.parts) > 1 and {part.uri for part in self.parts} == {self.uri}
        return f" in {len(self.parts)} starts" if again else ""

    def _thousand_table(self) -> tuple[list[str], list[list[str]]]:
        header = ["1,000 predictions at the price of", "an hour", "when busy all the time", "at the use so far"]
        money = [(item.whose, item.usd_per_hour, item.when_busy_usd, item.so_far_usd) for item in self.thousand]
        return header, [[whose, *(shown("x_usd", amount) for amount in amounts)] for whose, *amounts in money]

    def _parts_table(self) -> tuple[list[str], list[list[str]]]:
        if len(self.parts) == 1 and self.uri == self.parts[0].uri:
            return [], []
        names = ("uri", "started_at", "duration_s", "spent_usd")
        rows = [[*(shown(name, getattr(part, name)) for name in names), part.note] for part in self.parts]
        return ["what", "started", "time", "spent", ""], rows


@dataclass(frozen=True, repr=False)
class Prices(Listing):
    """The price table; says how old its prices are."""

    def card(self) -> Card:
        plain = super().card()
        place = self.header.index("usd_per_hour")
        rows = [list(row) for row in plain.rows]
        for row, price in zip(rows, self.items, strict=True):
            row[place] = show_usd(price.usd_per_hour)
        header = [*plain.header[:place], "an hour", *plain.header[place + 1 :]]
        ages = [price.age_days for price in self.items if price.stale]
        notes = list(plain.notes)
        if ages:
            notes.append(f"{len(ages)} of {len(self)} are older than {STALE_DAYS} days, up to {max(ages)}")
        return Card(plain.title, header=header, rows=rows, notes=notes)


def _uris() -> list[str]:
    return list(dict.fromkeys(span.uri for span in spans()))


@verb("cost")
def show(uri: Annotated[str, Choices(_uris)] | None = None) -> Cost:
    """Show what a session, a run, a pipeline or an endpoint has cost so far, and an endpoint's 1,000 predictions.

    All starts of a name count. A pipeline's run costs its time on this machine, step by step, and a skipped step
    nothing; a session or an endpoint that it started is a thing of its own.

    uri: e.g. deploy:delay, gpu:trainer, train:delay@3, train:delay for all its runs, or recipe:flight-delays@2, without
        the version its newest run; everything when left out
    """
    found = spans()
    if uri is None:
        return _cost(_ALL, found)
    mine = [span for span in found if uri in (span.uri, span.uri.partition("@")[0])]
    if not mine:
        raise NotFound(f"nothing is known about a cost of {uri}", "`%cost show` lists what has cost something")
    if uri == mine[0].uri.partition("@")[0] and mine[0].steps:
        return _cost(mine[0].uri, mine[:1])
    return _cost(uri, mine)


@verb("cost")
def ls(*, gpu: Annotated[str, Choices(prices.accelerators)] | None = None) -> Prices:
    """List the price table, cheapest first.

    gpu: only machines with this accelerator, e.g. A10G
    """
    found = tuple(prices.table() if gpu is None else prices.having(gpu))
    header = ("provider", "type", "accelerator", "count", "usd_per_hour", "spot_low_usd", "spot_high_usd", "as_of")
    return Prices("cost:prices", found, header, f"it has no {gpu}, but {', '.join(prices.accelerators())}")


def _cost(uri: str, found: list[Span]) -> Cost:
    everything = uri == _ALL
    lives = found if uri.startswith("deploy:") else []
    done, rates = use(lives), {span.usd_per_hour for span in found}
    return Cost(
        uri,
        sum(span.duration_s for span in found),
        total_usd(found) if everything else sum(span.usd for span in found),
        _steps(found[0]) if uri.startswith("recipe:") else tuple(map(_part, found)),
        rates.pop() if len(rates) == 1 and not everything else None,
        done.rows,
        done.rows_per_s,
        thousands(lives),
        tuple(_notes(found, done.rows if lives else None, everything)),
    )


def _part(span: Span) -> Part:
    return Part(span.uri, span.started_at, span.duration_s, span.usd, _who_pays(span))


def _steps(run: Span) -> tuple[Part, ...]:
    """A pipeline's run by its steps."""
    took = [(step, step.took_s(run.live)) for step in run.steps]
    usd_per_s = run.usd_per_hour / 3600
    return tuple(
        Part(f"{run.uri}/{step.name}", step.began_at, seconds, seconds * usd_per_s, _became(step, run))
        for step, seconds in took
    )


def _became(step: Step, run: Span) -> str:
    if step.state == "running":
        return "goes on" if run.live else "its process is gone"
    return "" if step.state == "done" else step.state


def _notes(found: list[Span], rows: int | None, everything: bool) -> Iterator[str]:
    if rows == 0:
        yield "no predictions yet, so no cost of 1,000 of them: send some with `%deploy run`"
    if rows and compared_with().stale:
        yield f"the cloud's price is older than {STALE_DAYS} days; `cost.prices` in aiinfra.toml takes a table of yours"
    if any(span.on_machine and not span.usd_per_hour for span in found):
        yield "this machine counts as free: `cost.machine_usd_per_hour` in aiinfra.toml says what an hour of it costs"
    if everything and len(found) > 1:
        yield "what ran on this machine at the same time is paid once"


def _who_pays(span: Span) -> str:
    return f"paid by {span.within}" if span.within else "goes on" if span.live else ""


def _rate_words(rows_per_s: float | None) -> str:
    return "cannot tell" if rows_per_s is None else f"{rows_per_s:,.1f} rows per second of answering"
