"""The audit log read back: lineage in both directions, and the proof that nothing was altered.

The events themselves are written by the store, in the transaction of what they record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Damaged
from ..store import GENESIS, HeadKeeper, LoggedEvent, Store, first_break
from ..uris import Uri

__all__ = ["Proof", "Step", "downstream", "prove", "upstream"]


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


def upstream(store: Store, uri: str) -> Iterator[Step]:
    """What `uri` was made of, nearest first; without a version, what any version of it was made of."""
    return _walk(store, uri, backwards=True)


def downstream(store: Store, uri: str) -> Iterator[Step]:
    """What was made of `uri`, nearest first; without a version, what was made of any version of it."""
    return _walk(store, uri, backwards=False)


def prove(store: Store) -> Proof:
    """Check every hash from the first event on, and that the newest events are still there."""
    # The head first: what is committed while the events are read is newer than it, never older.
    head_seq, head_hash = store.head() if isinstance(store, HeadKeeper) else (0, GENESIS)
    count, noted = 0, GENESIS

    def read() -> Iterator[LoggedEvent]:
        nonlocal count, noted
        for logged in store.events():
            count += 1
            noted = logged.hash if logged.seq == head_seq else noted
            yield logged

    try:
        broken = first_break(read())
    except Damaged as problem:
        return Proof(False, count, problem.what)
    if broken is not None:
        return Proof(False, broken, f"event {broken} is not what was written, or is missing")
    if noted != head_hash:
        return Proof(False, count, f"event {head_seq} was recorded with another content, or is missing")
    return Proof(True, count, f"{count} events, every hash holds")


def _walk(store: Store, start: str, *, backwards: bool) -> Iterator[Step]:
    """Breadth first, one question to the store's index for each thing that is met; each edge once."""
    begin = dict.fromkeys(near for near, _ in _edges(store, start, backwards))
    queue, met = deque((near, 1) for near in begin), set(begin)
    while queue:
        here, distance = queue.popleft()
        for near, step in _edges(store, here, backwards, distance):
            if near != here:  # an endpoint's URI has no version and means itself alone, once the walk has begun
                continue
            yield step
            there = step.used if backwards else step.made
            if there not in met:
                met.add(there)
                queue.append((there, distance + 1))


def _edges(store: Store, uri: str, backwards: bool, distance: int = 0) -> Iterator[tuple[str, Step]]:
    """The edges that leave a thing, or any version of it, each with the end that lies there."""
    for logged in store.events(naming=uri):
        for made in logged.event.outputs:
            for used in logged.event.inputs:
                near = made if backwards else used
                if used != made and Uri.covers(uri, near):
                    yield near, Step(used, made, logged, distance)
