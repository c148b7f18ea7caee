"""Where a thing came from and what came of it: as a graph, and as the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..audit import Step
from ..errors import UsageProblem
from ..nouns import Reference
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
_FOLDED = 30  # where no more of its own were asked for: months of a pipeline link a thing to hundreds
_MOST_NODES = 60  # of more than these the nearest are drawn
_MOST_NAMED = 3
_MOST_IN_ALT = 6
_EVERYTHING = "lab:log"
_SENDS = "deploy run"  # sends rows to an endpoint, which is not made of them


@dataclass(frozen=True)
class Lineage(Result):
    """Where a thing came from, what came of it, and what happened to it. `more` says how to see what is left out.

    up, down: the steps of the two ways, nearest first. logged: its own events, the latest first. states: what the
    things of the graph do now. uses: what it cannot be without now. asked: how many events were asked for.
    """

    kind = "Lineage"

    uri: str
    came_from: tuple[str, ...]
    led_to: tuple[str, ...]
    events: tuple[str, ...]
    more: str = ""
    asked: int = field(default=0, repr=False, metadata={"json": False})
    up: tuple[Step, ...] = field(default=(), repr=False, metadata={"json": False})
    down: tuple[Step, ...] = field(default=(), repr=False, metadata={"json": False})
    logged: tuple[LoggedEvent, ...] = field(default=(), repr=False, metadata={"json": False})
    states: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"json": False})
    uses: tuple[Reference, ...] = field(default=(), repr=False, metadata={"json": False})

    def card(self) -> Card:
        steps = (*self.up, *self.down)
        linked = {step.event.seq for step in steps}
        by_seq = {one.seq: one for one in (*(step.event for step in steps), *self.logged)}
        events = [by_seq[seq] for seq in sorted(by_seq, reverse=True)]
        prove = "`%lab check --audit` proves that neither these events nor their records were altered"
        return Card(
            kind=self.kind if self.uri != _EVERYTHING else "Log",
            uri=self.uri,
            when=counted(len(events), "event"),
            lead=self._lead(),
            parts=[*self._graph(), *self._events(sorted(events, key=lambda one: one.seq not in linked), len(linked))],
            next=[*([self.more[:1].upper() + self.more[1:]] if self.more else []), prove],
        )

    def _events(self, events: Sequence[LoggedEvent], linked: int) -> list[Part]:
        """The latest of those that link it to others as a table, which come first, or of all where none does."""
        most = min(_MOST_EVENTS, linked or _MOST_EVENTS)
        more = [_line(one) for one in events[most:]]
        folded = min(max(_FOLDED, self.asked), _MOST_FOLDED)
        listed = more[:folded] + ([f"… and {len(more) - folded:,} more"] if len(more) > folded else [])
        table = Table(("when", "verb", RowHeader("what"), "from", "by"), [_row(one) for one in events[:most]])
        summary = counted(len(more), "more event")
        return [table, *([Fold(summary, Quote("\n".join(listed)))] if more else [])]

    def _lead(self) -> str:
        if self.uri == _EVERYTHING:
            return "" if self.logged else "**Nothing has happened here yet.**"
        if not self.up and not self.down:
            return "**No event links it to anything else.**"
        texts = [self._origin()] if self.up else []
        if came := dict.fromkeys(made for _, made in _edges(self.down)):
            texts.append(f"{counted(len(came), 'thing')} came of it: {_named(came)}")
        return " ".join(f"{text}." for text in texts if text)

    def _origin(self) -> str:
        """What it uses now, or else was made from, and what that goes back to."""
        if near := [reference.uri for reference in self.uses]:
            text = f"It {self.uses[0].user.partition(' ')[2]} {_named(near)}"
        elif near := self._made_from():
            text = f"It was made from {_named(map(_node_of, near))}"
        else:
            return ""
        sources = _Sources(self.up)
        if roots := sources.trained_on(near):
            return f"{text}, trained on {_named(roots)}"
        roots = sources.roots(near)
        goes = "go" if len(near) > 1 else "goes"
        return text + (f", which {goes} back to {_named(roots)}" if roots else "")

    def _made_from(self) -> list[str]:
        """The latest first; what is no thing, like a file, only where nothing else went in."""
        here = [step for step in self.up if self._is_here(step.made) and not self._is_here(step.used)]
        # Its own events know best: one of a pipeline's step names all that the step took.
        own = [step for step in here if self._is_here(step.event.event.subject) and step.event.event.verb != _SENDS]
        # A name alone means its newest version, here as everywhere.
        newest = max((_version(step.made) for step in own or here), default=0)
        of_newest = [step for step in own or here if _version(step.made) == newest]
        latest = sorted(of_newest, key=lambda step: -step.event.seq)
        found = dict.fromkeys(step.used for step in latest)
        return [one for one in found if _thing(one)] or [*found]

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


class _Sources:
    """What things were made of in the end. Rows of a view are followed as such: others of them have other sources."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._used = dict[str, list[str]]()
        for step in steps:
            if _thing(step.used) and _thing(step.made):
                self._used.setdefault(step.made, []).append(step.used)

    def trained_on(self, uris: Sequence[str]) -> list[str]:
        """What the runs went back to that trained them; empty unless each of them came from a run."""
        runs = [[one for one in self._all([uri]) if Uri.is_one(one, "train")] for uri in uris]
        return self.roots(run for found in runs for run in found) if all(runs) else []

    def roots(self, uris: Iterable[str]) -> list[str]:
        """Those that nothing else went into, without the things themselves."""
        first = [*uris]
        return [one for one in self._all(first) if one not in self._used and one not in first]

    def _all(self, uris: Iterable[str]) -> list[str]:
        found = [*dict.fromkeys(uris)]
        for uri in found:  # grows while it is read
            found += [one for one in dict.fromkeys(self._used.get(uri, ())) if one not in found]
        return found


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


def _version(uri: str) -> int:
    found = _thing(uri)
    return (found and found.version) or 0


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
