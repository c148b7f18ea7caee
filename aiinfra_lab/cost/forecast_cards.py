"""How a forecast looks: the sum and its cause, what would carry the load, from when on to buy, and the premises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .. import show
from ..show import Card, Cell, Dim, Figure, Fold, Number, Plots, RowHeader, StateMark, Table, drawing, mark_of, sentence
from ..units import about_usd, counted, plain, show_duration, show_share, show_usd
from .forecast import BreakEven, Option
from .workload import show_rate

if TYPE_CHECKING:
    from .results import Forecast


def card(found: Forecast) -> Card:
    """The whole card of a forecast."""
    return Card(
        kind=found.kind,
        uri=found.uri,
        state=mark_of(found.state) if found.state else None,
        lead=_lead(found),
        advice=_advice(found),
        figures=list(_figures(found)),
        parts=[
            _options(found),
            *_pictures(found),
            *_steps(found),
            *_saved(found),
            *_candidates(found),
            _premises(found),
        ],
        notes=[*map(sentence, _break_even(found)), *map(sentence, found.notes)],
        next=[f"Next: {_next(found)}"],
    )


def _lead(found: Forecast) -> str:
    option = found.chosen
    cost = f"**{found.workload[:1].upper()}{found.workload[1:]}: about {about_usd(found.usd)} a {found.per}**"
    over = ""
    if found.state == "over budget":
        over = f", and the budget is {show_usd(found.budget_usd or 0.0)}"
    used = "" if found.times else f", {show_share(round(option.utilisation, 2))} used over the day"
    return f"{cost}{over}. That is {_machines(option)}{used}."


def _machines(option: Option) -> str:
    if option.machine == "this machine":
        return f"{option.machines} machines like this one" if option.machines > 1 else "this machine"
    if option.note and option.name == "as each hour needs":
        return f"{option.machine}, {option.note}"
    return f"{option.machines} × {option.machine}, {option.name}"


def _advice(found: Forecast) -> str:
    """What would make it less, of what is known."""
    less = [each for each in found.options if each.usd_per_month < found.usd - 0.005]
    if not less:
        return ""
    saves = show_share(round(1 - less[0].usd_per_month / found.usd, 2))
    assumed = ", if one costs what is assumed below" if less[0].is_assumed else ""
    return f"{less[0].name} would save {saves}, and cost {about_usd(less[0].usd_per_month)} a {found.per}{assumed}."


def _figures(found: Forecast) -> Iterator[Figure]:
    option = found.chosen
    amount, _, unit = about_usd(found.usd).partition(" ")
    of = f"of {show_usd(found.budget_usd)}" if found.budget_usd is not None else unit
    yield Figure(f"a {found.per}", amount, of)
    if found.times:
        yield Figure("whole run", show_duration(found.times.whole_s), counted(len(found.times.steps), "step"))
        yield Figure("newest run", show_duration(found.times.newest.duration_s))
        if option.machines > 1:
            yield Figure("machines", f"{option.machines}", "where runs overlap")
        return
    yield Figure("machines", f"{option.machines}", "in the busiest hour")
    yield Figure("used", show_share(round(option.utilisation, 2)), "over the day")
    if found.per_1000_usd is not None:
        yield show.money("per 1,000 predictions", found.per_1000_usd)


def _options(found: Forecast) -> Table:
    titles = (
        *(RowHeader("how"), "machines", Number("at most"), Number("used"), Number(f"USD a {found.per}")),
        *("against", "note"),
    )
    rows: list[Sequence[Cell]] = [
        (
            each.name,
            each.machine,
            "" if found.times else f"{each.machines}",
            "" if found.times else show_share(round(each.utilisation, 2)),
            _usd(each.usd_per_month),
            _against(each, found.chosen),
            each.note,
        )
        for each in found.options
    ]
    return Table(titles, rows, "What would carry it")


def _usd(usd: float) -> str:
    return about_usd(usd).removesuffix(" USD")


def _against(option: Option, chosen: Option) -> Cell:
    if option is chosen:
        return StateMark("●", "this one", "busy")
    if not chosen.usd_per_month:
        return Dim("–")
    ratio = option.usd_per_month / chosen.usd_per_month
    if ratio < 1:
        return StateMark("↓", f"{show_share(round(1 - ratio, 2))} less", "good")
    return f"↑ {show_share(round(ratio - 1, 2))} more"


def _pictures(found: Forecast) -> list[show.Part]:
    """What is paid month by month, rented and bought; and the machines of each hour, where they are not the same."""
    if found.plan is None:
        return []
    pictures = []
    if even := min(found.plan.break_even, key=lambda each: each.month or math.inf, default=None):
        pictures.append(_paid(even))
    hours = found.plan.hours
    if len(set(hours)) > 1:
        # The curve of a day begins with its busiest hour; here that stands in the middle.
        bars = [*hours[12:], *hours[:12]]
        pictures.append(
            drawing.curves(
                "machines",
                {"": [(float(hour), float(count)) for hour, count in enumerate(bars)]},
                alt=f"{min(hours)} machines in the quietest hour, {max(hours)} in the busiest",
                x_title="hour, the busiest is 12",
                is_count=True,
            )
        )
    return [Plots(pictures)] if pictures else []


def _paid(even: BreakEven) -> show.Picture:
    end = min(even.months, 2 * (even.month or even.months))
    ends = (0.0, float(end))
    bought = [(at, even.buys_usd + at * even.upkeep_usd) for at in ends]
    rented = [(at, at * even.rent_usd) for at in ends]
    # Ticks of more than six digits are no numbers that people read.
    unit, title = (1000.0, "1,000 USD paid") if max(bought[-1][1], rented[-1][1]) >= 50_000 else (1.0, "USD paid")
    alt = f"after {end} months renting has cost {about_usd(rented[-1][1])}, {even.bought} {about_usd(bought[-1][1])}"
    lines = {"rented": rented, even.bought: bought}
    drawn = {name: [(at, usd / unit) for at, usd in line] for name, line in lines.items()}
    return drawing.curves(title, drawn, alt=alt, x_title="month")


def _steps(found: Forecast) -> list[show.Part]:
    if found.times is None:
        return []
    titles = (RowHeader("step"), "in the newest run", Number("usual time"), Number("of runs"), "cost")
    whole = found.times.whole_s or math.inf
    rows: list[Sequence[Cell]] = [
        (
            step.name,
            mark_of(step.state),
            show_duration(step.usual_s),
            f"{step.runs}",
            show_usd(found.usd * step.usual_s / whole),
        )
        for step in found.times.steps
    ]
    return [Table(titles, rows, f"Step by step, {found.option}")]


def _saved(found: Forecast) -> list[show.Part]:
    if found.plan is None or not found.plan.saved:
        return []
    titles = (RowHeader("with"), Number("rate"), Number("machines"), Number("USD a month"), "measured by")
    rows: list[Sequence[Cell]] = [
        (saving.name, f"× {saving.rate:.3g}", f"{option.machines}", _usd(option.usd_per_month), saving.source)
        for saving, option in found.plan.saved
    ]
    return [Table(titles, rows, "What was measured to make it less, on demand")]


def _candidates(found: Forecast) -> list[show.Part]:
    if found.plan is None or not found.plan.candidates:
        return []
    titles = (RowHeader("machine"), Number("USD an hour"), Number("less from, requests a second"), "what it is")
    rows: list[Sequence[Cell]] = [
        (each.machine, _usd(each.usd_per_hour), show_rate(each.less_from_per_s), each.note)
        for each in found.plan.candidates
    ]
    return [Fold("Nothing was measured on these: from which rate on each would cost less", Table(titles, rows))]


def _premises(found: Forecast) -> show.Part:
    rows = [(each.name, each.value, show.Sentence(each.source)) for each in found.premises]
    return Table((RowHeader("figure"), "value", "from"), rows, "What it is derived from")


def _break_even(found: Forecast) -> Iterator[str]:
    for each in found.plan.break_even if found.plan else ():
        bought = f"{each.bought}, bought for {each.buys_usd:,.0f} USD,"
        if each.month is None:
            years = plain(round(each.months / 12, 1))
            yield f"{bought} never cost less than renting ({each.rented}) in their {years} years"
        else:
            yield f"{bought} have cost less than renting ({each.rented}) from month {each.month} on"


def _next(found: Forecast) -> str:
    spent = f"; `%cost show {found.uri}` shows what its runs have cost" if found.times else ""
    if found.budget_usd is None:
        return f"{found.check_line()} stops a pipeline when it is more{spent}"
    return f"`%cost show {found.asked}` shows it without a budget{spent}"
