"""The audit log read back: lineage in both directions, and the proof that nothing was altered.

The events themselves are written by the store, in the transaction of what they tell of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import Damaged
from ..store import LoggedEvent, Store, first_break
from ..store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of the lineage: `made` came out of `used` by an event, `distance` steps away from where we began."""

    used: str
    made: str
    event: LoggedEvent
    distance: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the log is as it was written. `why` says what is wrong, or how much was checked."""

    sound: bool
    events: int
    why: str


def upstream(events: Iterable[LoggedEvent], uri: str) -> list[Step]:
    """What `uri` was made of, nearest first; each edge once."""
    return list(_walk([(made, used, logged) for used, made, logged in _edges(events)], uri, backwards=True))


def downstream(events: Iterable[LoggedEvent], uri: str) -> list[Step]:
    """What was made of `uri`, nearest first; each edge once."""
    return list(_walk(list(_edges(events)), uri, backwards=False))


def about(events: Iterable[LoggedEvent], uri: str) -> list[LoggedEvent]:
    """The events that name the thing, in whatever version, newest first."""
    bare = _bare(uri)

    def names(logged: LoggedEvent) -> bool:
        named = (logged.event.subject, *logged.event.inputs, *logged.event.outputs)
        return uri in named or (uri == bare and bare in map(_bare, named))

    return sorted(filter(names, events), key=lambda logged: logged.seq, reverse=True)


def prove(store: Store) -> Proof:
    """Check every hash from the first event on, and that the newest events are still there."""
    try:
        events = list(store.events())
    except Damaged as problem:
        return Proof(False, 0, problem.what)
    if (broken := first_break(events)) is not None:
        return Proof(False, len(events), f"event {broken} is not what was written, or is missing")
    if isinstance(store, SqliteStore):
        seq, digest = store.head()
        if seq and (seq > len(events) or events[seq - 1].hash != digest):
            return Proof(False, len(events), f"event {seq} was recorded with another content, or is missing")
    return Proof(True, len(events), f"{len(events)} events, every hash holds")


def _edges(events: Iterable[LoggedEvent]) -> Iterator[tuple[str, str, LoggedEvent]]:
    for logged in events:
        for made in logged.event.outputs:
            for used in logged.event.inputs:
                if used != made:
                    yield used, made, logged


def _walk(edges: list[tuple[str, str, LoggedEvent]], start: str, *, backwards: bool) -> Iterator[Step]:
    leaving: dict[str, list[tuple[str, LoggedEvent]]] = {}
    for here, there, logged in edges:
        leaving.setdefault(here, []).append((there, logged))
    # A name without its version stands for all its versions.
    begin = [node for node in leaving if node == start or ("@" not in start and _bare(node) == start)]
    queue, seen = deque((node, 1) for node in begin), set(begin)
    while queue:
        here, distance = queue.popleft()
        for there, logged in leaving.get(here, ()):
            yield Step(there, here, logged, distance) if backwards else Step(here, there, logged, distance)
            if there not in seen:
                seen.add(there)
                queue.append((there, distance + 1))


def _bare(uri: str) -> str:
    return uri.partition("@")[0].partition("#")[0]
