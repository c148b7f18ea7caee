"""How a session looks: what it costs, when it ends, and why it did."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import TYPE_CHECKING

from ..cost import budgets
from ..nouns import ends_soon, soon_s
from ..show import (
    Card,
    Cell,
    Code,
    Figure,
    Fold,
    Meter,
    Number,
    Quote,
    RowHeader,
    Sentence,
    StateMark,
    Table,
    moment,
    money,
    sentence,
    with_reason,
)
from ..show.states import STATES
from ..units import counted, show_duration, show_share, show_usd
from ..uris import Uri
from .base import start_again

if TYPE_CHECKING:
    from . import AcceleratorUse, ExportedSession, MachineCheck, Offered, Offers, Session, SessionOutput

_ENDS = {
    "deadline": "Ended because its time was over.",
    "budget": "Ended because its budget of {budget} was spent.",
    "idle": "Ended because nobody had used it for {idle}.",
    "stopped": "Stopped when somebody asked for it.",
    "stopped before it had a machine": "Stopped before it had a machine.",
}


def card(session: Session) -> Card:
    """The whole card of a session."""
    mark, why = _mark(session)
    return Card(
        kind=session.kind,
        uri=session.uri,
        state=mark,
        when=_when(session),
        lead=" ".join(filter(None, [*map(sentence, session.notes), _lead(session, why)])),
        facts=_facts(session),
        figures=_figures(session),
        parts=_bars(session) if session.state == "running" else [],
        next=[f"Next: {_next(session)}"],
    )


def output_card(found: SessionOutput) -> Card:
    """What became of a session's outputs, in a line or two."""
    mark, _ = with_reason(found.state, found.uri)
    lead = f"**The outputs of {counted(found.cells, 'cell')} were written into {found.notebook}.**"
    if found.notebook and not found.cells:
        lead = f"{found.notebook} has all outputs of the session's code already, or none of that code."
    if not found.notebook:
        lead = "" if not found.code else "Above is what its newest code has put out."
    return Card(
        kind=found.kind,
        uri=found.uri,
        state=mark,
        lead=" ".join(filter(None, [lead, *map(sentence, found.notes)])),
        facts=[("code", found.code)] if found.code else [],
        next=["Next: reload the notebook in JupyterLab (File, Reload Notebook from Disk)"] if found.cells else [],
    )


def check_card(found: MachineCheck) -> Card:
    """Rented machines that nobody keeps, and who could not be asked."""
    mark = StateMark("✓", "nothing is left over", "good") if found.ok else StateMark("▲", "needs a look", "bad")
    costs = f", for {show_usd(found.hourly_usd)} an hour" if found.hourly_usd else ""
    orphans = counted(len(found.orphans), "machine")
    lead = f"**Nobody keeps {orphans}{costs}.**" if found.orphans else "Every rented machine is kept by a session."
    if found.ok and not found.kept:
        lead = "No machine is rented."
    if found.ended:
        lead = (
            f"**{counted(found.ended, 'machine')} that nobody kept {'is' if found.ended == 1 else 'are'} gone.** {lead}"
        )
    parts: list[Table] = []
    if found.orphans:
        titles = (RowHeader("machine"), "provider", "session", "why")
        parts.append(Table(titles, [(each, on, name, why) for on, each, name, why in found.orphans]))
    if found.unasked:
        rows = [(name, why, Sentence(fix)) for name, why, fix in found.unasked]
        parts.append(Table((RowHeader("could not be asked"), "why", "what helps"), rows))
    next_ = ["Next: `%gpu stop --orphans` ends them"] if found.orphans else []
    return Card(kind=found.kind, uri=found.uri, state=mark, lead=lead, parts=parts, next=next_)


def offers_card(found: Offers) -> Card:
    """Machines that could be had now, below each other, and why not the others."""
    most = f"at most, {show_duration(found.for_s)}" if found.for_s else "at most an hour"
    titles = (RowHeader("machine"), "where", "accelerator", Number("price an hour"), Number(most), "market", "to know")
    next_ = f"`{found.start}` takes the first" if found.start else "`%cost ls` lists what clouds rent out"
    return Card(
        kind="",
        uri=found.title,
        when=f"{len(found):,} in all" if found.items else "",
        lead=_first(found),
        parts=[Table(titles, [_offer_row(one) for one in found]), *_others(found)],
        next=[f"Next: {next_}"],
    )


def _others(found: Offers) -> list[Fold]:
    folds = []
    if found.why_not:
        counts = [(str(count), why) for count, why in found.why_not]
        folds.append(Fold("Why not the others", Table((Number("offers"), "why"), counts)))
    if found.unasked:
        rows = [(name, why, Sentence(fix)) for name, why, fix in found.unasked]
        who = ", ".join(name for name, _, _ in found.unasked)
        folds.append(Fold(f"Not asked: {who}", Table((RowHeader("provider"), "why", "what helps"), rows)))
    return folds


def _first(found: Offers) -> str:
    if not found.items:
        return sentence(found.empty)
    first: Offered = found.items[0]
    machine = " ".join(filter(None, [first.on, first.type or first.gpu]))
    worst = first.worst_case_usd
    most = f", at most {show_usd(worst)} in {show_duration(found.for_s)}" if found.for_s and worst is not None else ""
    more = ", and a minute of each that replaces it" if most and first.spot else ""
    return f"**The first is {machine}**, {show_usd(first.hourly_usd)} an hour{most}{more}."


def _offer_row(one: Offered) -> tuple[Cell, ...]:
    memory = f", {one.memory_gib:g} GiB" if one.memory_gib else ""
    worst = one.worst_hourly_usd if one.worst_case_usd is None else one.worst_case_usd
    market = "spot" if one.spot else "on demand" if one.hourly_usd else ""
    to_know = "; ".join(filter(None, [one.risk, one.note]))
    machine = " ".join(filter(None, [one.on, one.type]))
    accelerator = f"{_counted(one.gpu, one.count)}{memory}"
    return machine, one.where, accelerator, show_usd(one.hourly_usd), show_usd(worst), market, to_know


def _counted(gpu: str, count: float) -> str:
    """An accelerator and how many of it: `2 × A100`, `1/4 × L4`."""
    return gpu if count == 1 else f"{Fraction(count).limit_denominator(1000)} × {gpu}"


def export_card(done: ExportedSession) -> Card:
    """The file of a session for another tool, and what to do with it."""
    folder, _, _ = done.file.rpartition("/")
    there = f"in `{done.into}/{folder}`, `{done.use}` looks at what it would do"
    if not done.into:
        there = f"`--into FOLDER` writes it with what it needs; there `{done.use}` looks at what it would do"
    return Card(
        kind=done.kind,
        uri=done.uri,
        lead=f"**{done.machine}**, for {done.to}" + (f", is in `{done.into}`." if done.into else "."),
        parts=[Fold(done.file, Quote(done.text)) if done.into else Quote(done.text, label=done.file)],
        notes=list(map(sentence, done.notes)),
        next=[f"Next: {there}"],
    )


def row(session: Session) -> tuple[Cell, ...]:
    """A session in a list, see `pool_cards.table`."""
    mark, why = _mark(session)
    state: Cell = (mark, f"({why})") if why else mark
    machine = _machine(session)
    money = show_usd(session.hourly_usd), show_usd(session.spent_usd)
    return session.uri, state, machine, *money, moment(session.started_at), _ends(session)


def _mark(session: Session) -> tuple[StateMark, str]:
    """How its state looks, and the reason that it carries."""
    if session.state == "running" and ends_soon(session.started_at, session.deadline_at):
        return STATES["ends soon"], ""
    return with_reason(session.state, session.uri)


def _ends(session: Session) -> Cell:
    if session.ended_at is not None:
        return f"ended {moment(session.ended_at)}"
    return "when stopped" if session.deadline_at is None else moment(session.deadline_at)


def _when(session: Session) -> str:
    if session.ended_at is not None:
        return f"{moment(session.ended_at)}, after {show_duration(_lasted_s(session))}"
    return f"since {moment(session.started_at)}, {show_duration(_lasted_s(session))}"


def _lasted_s(session: Session) -> float:
    return max(0.0, (session.ended_at or time.time()) - session.started_at)


def _lead(session: Session, why: str) -> str:
    if session.ended_at is not None:
        said = _ENDS.get(why, f"Ended: {why}." if why else "Ended.")
        return (
            f"**{said.format(budget=show_usd(session.budget_usd or 0.0), idle=show_duration(session.idle_s or 0.0))}**"
        )
    if session.state == "starting":
        return f"**It {session.step}.**" if session.step else "Its machine is being started."
    if session.state == "cannot tell":
        return f"**Its machine cannot be asked**; it may go on and cost {_price(session)}."
    if session.deadline_at is None and session.state == "running":
        return f"It ends {session.ends}."
    return ""


def _facts(session: Session) -> list[tuple[str, str]]:
    facts = [("machine", _machine(session))]
    facts += [("in", session.where)] if session.where else []
    facts += [("called", session.machine)] if session.machine else []
    facts += [("spot", "it may be taken away")] if session.spot else []
    facts += [("kernel", session.kernel)] if session.kernel else []
    return facts + ([("files", f"synced with {session.files} there")] if session.files else [])


def _machine(session: Session) -> str:
    return " ".join(filter(None, [f"{_counted(session.gpu, session.count)} on {session.on}", session.type]))


def _price(session: Session) -> str:
    return f"{show_usd(session.hourly_usd)} an hour"


def _figures(session: Session) -> list[Figure]:
    of = f"of {show_usd(session.budget_usd)}" if session.budget_usd is not None else ""
    price = money("price", session.hourly_usd, " an hour")
    if session.ended_at is not None:
        return [money("cost", session.spent_usd, of=of), Figure("ran for", show_duration(_lasted_s(session))), price]
    figures = [price, money("spent", session.spent_usd, of=of)]
    if session.deadline_at is not None:
        left_s = max(0.0, session.deadline_at - time.time())
        figures.append(Figure("ends in", show_duration(left_s), f"at {moment(session.deadline_at)}"))
    return [*figures, Figure("running for", show_duration(_lasted_s(session)))][:3]


def _bars(session: Session) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    if session.budget_usd and session.hourly_usd:
        rows.append(_budget(session, session.budget_usd))
    if session.deadline_at is not None and session.ends_by != "budget":
        rows.append(_time(session, session.deadline_at))
    if session.idle_s is not None:
        rows.append(_idle(session, session.idle_s))
    if session.accelerator is not None:
        rows += _accelerator(session.accelerator)
    return [Table((), rows)] if rows else []


def _budget(session: Session, budget_usd: float) -> tuple[Cell, ...]:
    left_usd = max(0.0, budget_usd - session.spent_usd)
    lasts = show_duration(left_usd / session.hourly_usd * 3600)
    words = f"{show_usd(left_usd)} left: {lasts} at this price"
    soon_usd = soon_s(budget_usd / session.hourly_usd * 3600) / 3600 * session.hourly_usd
    used = min(1.0, session.spent_usd / budget_usd)
    meter = Meter(session.spent_usd, budget_usd, show_share(round(used, 2)), budget_usd - soon_usd)
    if session.ends_by != "budget" or left_usd > soon_usd:
        reached = budgets.reached(session.spent_usd, budget_usd)
        mark = StateMark("▲", f"over {show_share(reached)} is spent:", "warn")
        return "budget", meter, (mark, words) if reached else words
    twice = f"%gpu start {_name(session)} --budget {2 * budget_usd:g}"
    return "budget", meter, (StateMark("▲", f"ends in {lasts}:", "warn"), Code(twice), "gives it more")


def _time(session: Session, deadline_at: float) -> tuple[Cell, ...]:
    whole_s, left_s = deadline_at - session.started_at, max(0.0, deadline_at - time.time())
    used = min(1.0, 1 - left_s / whole_s) if whole_s > 0 else 1.0
    meter = Meter(whole_s - left_s, whole_s, show_share(round(used, 2)), whole_s - soon_s(whole_s))
    if left_s > soon_s(whole_s):
        return "time", meter, f"until {moment(deadline_at)}, {show_duration(whole_s)} in all"
    longer = Code(f"%gpu start {_name(session)} --for 2h")
    return "time", meter, (StateMark("▲", f"ends in {show_duration(left_s)}:", "warn"), longer, "gives it more")


def _idle(session: Session, idle_s: float) -> tuple[Cell, ...]:
    """Since when nobody uses it, and when that ends it."""
    after = f"ends after {show_duration(idle_s)} without use"
    if session.use or session.used_at is None:
        return "idle", Meter(0.0, idle_s, show_share(0.0)), f"{session.use or 'it has just begun'}; {after}"
    idle_for_s = max(1.0, time.time() - session.used_at)
    meter = Meter(idle_for_s, idle_s, show_share(round(min(1.0, idle_for_s / idle_s), 2)), idle_s - soon_s(idle_s))
    return "idle", meter, f"none for {show_duration(idle_for_s)}; {after}"


def _accelerator(use: AcceleratorUse) -> list[tuple[Cell, ...]]:
    """How busy it is, and how full its memory."""
    rows: list[tuple[Cell, ...]] = []
    if use.busy is not None:
        rows.append(("GPU use", Meter(use.busy, 1.0, show_share(use.busy)), "now"))
    if use.memory_gib is not None and use.of_gib:
        share = use.memory_gib / use.of_gib
        meter = Meter(use.memory_gib, use.of_gib, show_share(round(share, 2)), 0.95 * use.of_gib)
        rows.append(("GPU memory", meter, f"{use.memory_gib:.1f} of {use.of_gib:.1f} GiB"))
    return rows


def _name(session: Session) -> str:
    return Uri.parse(session.uri).label


def _next(session: Session) -> str:
    name = _name(session)
    if session.ended_at is not None:
        more = f" --budget {2 * session.budget_usd:g}" if session.budget_usd and "(budget" in session.state else ""
        return f"`{start_again(name, session.gpu, session.on, spot=session.spot)}{more}` starts it again"
    if session.state == "stopping":
        return f"`%gpu show {name}` looks again"
    limit = "" if session.deadline_at else f"`%gpu start {name} --for 2h` lets it end by itself · "
    return f"{limit}`%gpu stop {name}` ends it"
