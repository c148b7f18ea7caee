"""Where a thing came from and what came of it: as a graph, and as the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..audit import Step
from ..errors import UsageProblem
from ..show import (
    Card,
    Cell,
    Fold,
    Part,
    Plots,
    Quote,
    Result,
    RowHeader,
    StateMark,
    Table,
    graph,
    log_time,
    moment,
    with_reason,
)
from ..store import LoggedEvent
from ..units import counted
from ..uris import Uri

_MOST_EVENTS = 8
_MOST_FOLDED = 400
_MOST_NODES = 60  # of more than these the nearest are drawn
_MOST_NAMED = 3
_MOST_IN_ALT = 6
_EVERYTHING = "lab:log"


@dataclass(frozen=True)
class Lineage(Result):
    """Where a thing came from, what came of it, and what happened to it. `more` says how to see what is left out.

    up, down: the steps of the two ways, nearest first. logged: its own events, the latest first. states: what the
    things of the graph do now.
    """

    kind = "Lineage"

    uri: str
    came_from: tuple[str, ...]
    led_to: tuple[str, ...]
    events: tuple[str, ...]
    more: str = ""
    up: tuple[Step, ...] = field(default=(), repr=False, metadata={"json": False})
    down: tuple[Step, ...] = field(default=(), repr=False, metadata={"json": False})
    logged: tuple[LoggedEvent, ...] = field(default=(), repr=False, metadata={"json": False})
    states: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"json": False})

    def card(self) -> Card:
        steps = (*self.up, *self.down)
        linked = {step.event.seq for step in steps}
        by_seq = {one.seq: one for one in (*(step.event for step in steps), *self.logged)}
        events = [by_seq[seq] for seq in sorted(by_seq, reverse=True)]
        prove = "`%lab check --audit` proves that nothing was altered"
        return Card(
            kind=self.kind if self.uri != _EVERYTHING else "Log",
            uri=self.uri,
            when=counted(len(events), "event"),
            lead=self._lead(),
            parts=[*self._graph(), *_events(sorted(events, key=lambda one: one.seq not in linked), len(linked))],
            next=[*([self.more[:1].upper() + self.more[1:]] if self.more else []), prove],
        )

    def _lead(self) -> str:
        if self.uri == _EVERYTHING:
            return "" if self.logged else "**Nothing has happened here yet.**"
        if not self.up and not self.down:
            return "**No event links it to anything else.**"
        up, down = _edges(self.up), _edges(self.down)
        made = {made for _, made in up}
        # Where nothing that is known here went in, its sources are what it was made from.
        near = dict.fromkeys(used for used, made in up if self._is_here(made)) or dict.fromkeys(
            step.used for step in self.up if not _thing(step.used)
        )
        roots = dict.fromkeys(used for used, _ in up if used not in made and used not in near)
        came = dict.fromkeys(made for _, made in down)
        texts = []
        if near:
            texts.append(
                f"It was made from {_named(near)}" + (f", which goes back to {_named(roots)}" if roots else "")
            )
        if came:
            texts.append(f"{counted(len(came), 'thing')} came of it: {_named(came)}")
        return " ".join(f"{text}." for text in texts)

    def _graph(self) -> list[Part]:
        edges = [*dict.fromkeys(_edges((*self.up, *self.down)))]
        # Those beside it first: where not all can be drawn, they are.
        beside = sorted(edges, key=lambda edge: not any(map(self._is_here, edge)))
        uris = [*dict.fromkeys(uri for edge in beside for uri in edge)][:_MOST_NODES]
        if not uris:
            return []
        named = [f"{used} → {made}" for used, made in edges[:_MOST_IN_ALT]]
        named += [f"{len(edges) - _MOST_IN_ALT:,} more"] if len(edges) > _MOST_IN_ALT else []
        return [Plots([graph.draw([*map(self._node, uris)], edges, alt=", ".join(named))])]

    def _is_here(self, uri: str) -> bool:
        return Uri.covers(_node_of(self.uri), uri)

    def _node(self, uri: str) -> graph.Node:
        asked, mark = Uri.parse(uri), _telling(self.states.get(uri, ""), uri)
        return graph.Node(uri, asked.label, mark.word if mark else "", mark, asked.noun)


def _edges(steps: Iterable[Step]) -> list[tuple[str, str]]:
    """The ways between things: rows of features stand for their view, and neither aliases nor sources are things."""
    found = [(step.used, step.made) for step in steps if _thing(step.used) and _thing(step.made)]
    ways = [(_node_of(used), _node_of(made)) for used, made in found]
    return [(used, made) for used, made in ways if used != made]


def _thing(uri: str) -> Uri | None:
    """None for what is no thing of a noun: a file, words on a source, an alias."""
    try:
        found = Uri.parse(uri)
    except UsageProblem:
        return None
    return found if found.alias is None else None


def _node_of(uri: str) -> str:
    found = _thing(uri)
    return str(replace(found, part=None)) if found else uri


def _telling(state: str, uri: str) -> StateMark | None:
    """A state that says more than that all went well."""
    mark, _ = with_reason(state, uri)
    return mark if state and (mark.tone != "good" or mark.glyph == "●") else None


def _named(uris: Iterable[str]) -> str:
    first, rest = [f"**{uri}**" for uri in uris][:_MOST_NAMED], len([*uris]) - _MOST_NAMED
    if rest > 0:
        return f"{', '.join(first)} and {rest:,} more"
    return " and ".join(filter(None, (", ".join(first[:-1]), first[-1])))


def _events(events: Sequence[LoggedEvent], linked: int) -> list[Part]:
    """The latest of those that link it to others as a table, which come first, or of all where none does."""
    most = min(_MOST_EVENTS, linked or _MOST_EVENTS)
    more = [_line(one) for one in events[most:]]
    listed = more[:_MOST_FOLDED] + ([f"… and {len(more) - _MOST_FOLDED:,} more"] if len(more) > _MOST_FOLDED else [])
    table = Table(("when", "verb", RowHeader("what"), "from", "by"), [_row(one) for one in events[:most]])
    summary = counted(len(more), "more event")
    return [table, *([Fold(summary, Quote("\n".join(listed)))] if more else [])]


def _row(logged: LoggedEvent) -> tuple[Cell, ...]:
    made, used = _sides(logged)
    note = logged.event.detail.get("restored", "")
    by = f"{logged.actor}: {note}" if note else logged.actor
    return moment(logged.at), logged.event.verb, ", ".join(made), ", ".join(used), by


def _line(logged: LoggedEvent) -> str:
    made, used = _sides(logged)
    ways = f"{', '.join(used)} → {', '.join(made)}" if used else ", ".join(made)
    return f"{logged.seq:>5}  {log_time(logged.at)}  {logged.event.verb}  by {logged.actor}  {ways}"


def _sides(logged: LoggedEvent) -> tuple[list[str], list[str]]:
    """What an event made, or was about, and what went into it."""
    made = (*logged.event.outputs, logged.event.subject)
    return [*dict.fromkeys(made)], [uri for uri in dict.fromkeys(logged.event.inputs) if uri not in made]
