"""The audit log read back: lineage in both directions, and the proof that no event and no record was altered.

It covers no file beside the store, such as the curves of a run; whose digest a record has can be checked by it.

The events themselves are written by the store, in the transaction of what they record.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ..errors import Damaged
from ..store import GENESIS, EventIndex, HeadCopier, HeadKeeper, LoggedEvent, Seal, Sealed, Store, first_break
from ..units import counted
from ..uris import Uri

# The index is searched once for so many events, since it is in the order of URIs.
_INDEX_BATCH = 20_000
_BEFORE_ALL = -(2**62)  # what was put into the index by hand need not have an event's number

__all__ = ["Proof", "Step", "downstream", "prove", "upstream"]
_NO_HEAD = "the head of the log is gone or torn: whether the newest events are still there cannot be told"


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of the lineage: `made` came out of `used` by an event, `distance` steps away from where we began."""

    used: str
    made: str
    event: LoggedEvent
    distance: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the log, and the records that it tells of, are as they were written.

    why: what is wrong, or how much was checked.

    is_index_wrong: only the index is, by which events are found; the store can write it anew from them. fix: what helps
    where a copy of the store would not.
    """

    sound: bool
    events: int
    why: str
    is_index_wrong: bool = False
    fix: str = ""


def upstream(store: Store, uri: str) -> Iterator[Step]:
    """What `uri` was made of, nearest first; without a version, what any version of it was made of."""
    return _walk(store, uri, backwards=True)


def downstream(store: Store, uri: str) -> Iterator[Step]:
    """What was made of `uri`, nearest first; without a version, what was made of any version of it."""
    return _walk(store, uri, backwards=False)


def prove(store: Store) -> Proof:
    """Check every hash from the first event on, that the newest events are still there, the records that they were
    committed with and all others, and the index of them all."""
    # The head first: what is committed while the events are read is newer than it, never older.
    head_seq, head_hash = store.head() if isinstance(store, HeadKeeper) else (0, GENESIS)
    count, noted, recorded = 0, GENESIS, _Recorded()

    def read() -> Iterator[LoggedEvent]:
        nonlocal count, noted
        for logged in store.events():
            count += 1
            noted = logged.hash if logged.seq == head_seq else noted
            recorded.add(logged)
            yield logged

    try:
        broken = first_break(read())
    except Damaged as problem:
        return Proof(False, count, problem.what)
    if broken is not None:
        return Proof(False, broken, f"event {broken} is not what was written, or is missing")
    if noted != head_hash:
        return Proof(False, count, f"event {head_seq} was recorded with another content, or is missing")
    if copied := _rewritten(store):
        return copied
    if count and not head_seq and _lacks_a_head(store):
        return Proof(False, count, _NO_HEAD, fix="see with `%lab log` whether they are; the next event writes it anew")
    if wrong := _misrecorded(store, recorded):
        return Proof(False, count, wrong)
    if (seq := _misindexed(store)) is not None:
        return Proof(False, count, f"event {seq} is not found by the URIs that it names", is_index_wrong=True)
    return Proof(True, count, f"{counted(count, 'event')} and their records, every hash holds")


def _lacks_a_head(store: Store) -> bool:
    """Whether a store without a head has no copy of one either, though it is to: a spare copy of a store is not."""
    if not isinstance(store, HeadKeeper) or not isinstance(store, HeadCopier):
        return False
    copy = store.head_copy()
    return bool(copy.where) and not copy.seq


def _rewritten(store: Store) -> Proof | None:
    """What is wrong by the copy of the head, for a log whose own chain and head fit together."""
    copy = store.head_copy() if isinstance(store, HeadCopier) else None
    if copy is None or not copy.seq:
        return None
    there = next(iter(store.events(since=copy.seq - 1, last=None)), None)
    if there is not None and (there.seq, there.hash) == (copy.seq, copy.hash):
        return None
    what = f"event {copy.seq} was recorded with another content, or is missing, by the copy of the head in {copy.where}"
    fix = f"put back the store that it was made of; or, if an older one was put back on purpose, delete {copy.where}"
    return Proof(False, there.seq if there else copy.seq - 1, what, fix=fix)


class _Recorded:
    """What events tell of records. newest: of each that one names, the last revision and digest.

    since: the first revision that an event names: before it, events named none. last: the newest event that was read.
    """

    def __init__(self) -> None:
        self.newest, self.since, self.last = dict[str, tuple[int, str]](), math.inf, 0

    def add(self, logged: LoggedEvent) -> None:
        """Take in the next event."""
        self.last = logged.seq
        for name, noted in logged.records.items():
            rev, digest = noted.split()
            self.newest[name] = int(rev), digest
            self.since = min(self.since, int(rev))


def _misrecorded(store: Store, recorded: _Recorded) -> str:
    """What is wrong with the records, if anything."""
    if not isinstance(store, Sealed):
        return ""
    # Read after the events: a record may be newer than the last event that names it, never older.
    seals, is_complete = store.seals()
    there = {f"{seal.kind} {seal.name}": seal for seal in seals}
    for name, seal in there.items():
        if not seal.is_whole:
            return f"the record {name} is not what was written"
    for name, (rev, digest) in recorded.newest.items():
        if (found := there.get(name)) is None:
            return f"the record {name} is missing"
        if found.rev < rev or (found.rev == rev and found.digest != digest):
            return f"the record {name} was recorded with another content"
    if without := _without_event(store, there, recorded):
        return f"no event tells of the record {without} as it is"
    return "" if is_complete else "a record was added, changed or removed by something else"


def _without_event(store: Store, there: Mapping[str, Seal], recorded: _Recorded) -> str:
    """A record of which an event must tell, and none does; also where somebody wrote it as if it came later."""
    from ..nouns import kinds

    always = {kind.kind for kind in kinds() if kind.has_event}
    known = {name: rev for name, (rev, _) in recorded.newest.items()}
    without = {
        name: seal.rev
        for name, seal in there.items()
        if seal.kind in always and seal.rev >= recorded.since and seal.rev != known.get(name)
    }
    # What was committed between the two looks is named by a newer event.
    for logged in store.events(since=recorded.last) if without else ():
        for name, noted in logged.records.items():
            if without.get(name) == int(noted.split()[0]):
                del without[name]
    return next(iter(without), "")


def _misindexed(store: Store) -> int | None:
    """The first event that the index has under other URIs than those that it names, or that there is none of."""
    if not isinstance(store, EventIndex):
        return None
    after, events = _BEFORE_ALL, iter(store.events())
    # The events first, then the index: what is committed in between is then in the index, and looked at below.
    while named := {logged.seq: set(logged.event.uris) for logged in islice(events, _INDEX_BATCH)}:
        found = store.indexed(after, last := max(named))
        if wrong := [seq for seq in {*named, *found} if named.get(seq) != found.get(seq)]:
            return min(wrong)
        after = last
    rest = store.indexed(after, None)
    return min(rest.keys() - {logged.seq for logged in store.events(since=after)}, default=None)


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
