"""The sessions of a pool as they are now: an ordinary session is one by its name and by what started it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..kernels import KeptKernel
from ..store import Record, open_store
from . import sessions
from .pool_queue import PoolClient, PoolQueue
from .pool_record import PoolRecord
from .pool_rules import Member
from .record import SessionRecord

# So long a kernel may seem to be at work after a client has left it, or after it has begun: it is looked at every 3 s.
_SETTLES_S = 8.0
_JUST_BEGUN = "it has just begun"


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool's living sessions, each as the rules see it, and what those have cost that have ended.

    members: in the order of `found`. clients: of its queue, the first first.
    """

    found: tuple[sessions.ObservedSession, ...]
    members: tuple[Member, ...]
    clients: tuple[PoolClient, ...]
    gone_usd: float

    @property
    def waiting(self) -> list[PoolClient]:
        return [client for client in self.clients if not client.member]

    @property
    def spent_usd(self) -> float:
        return self.gone_usd + sum(each.spent_usd for each in self.members)

    def held_by(self, name: str) -> PoolClient | None:
        """The client that has that session."""
        return next((client for client in self.clients if client.member == name), None)


def name_of(pool: Record[PoolRecord], number: int) -> str:
    """What a pool's session is called."""
    return f"{pool.name}-{number}"


def number_of(pool: Record[PoolRecord], name: str) -> int:
    """The number of a session of that name in the pool; 0 for one that can be none."""
    number = name.removeprefix(f"{pool.name}-")
    return int(number) if name != number and number.isdecimal() and number == str(int(number)) else 0


def is_member(pool: Record[PoolRecord], record: Record[SessionRecord]) -> bool:
    """Whether the session is one of the pool, and not one that only has such a name."""
    return number_of(pool, record.name) > 0 and record.body.context == pool.uri


def pool_of(record: Record[SessionRecord]) -> Record[PoolRecord] | None:
    """The pool that has started a session; None for one that is on its own."""
    name, _, number = record.name.rpartition("-")
    if not number.isdecimal() or record.body.context != f"{SessionRecord.kind}:{name}":
        return None
    pool = open_store().get(PoolRecord, name)
    return pool if pool is not None and is_member(pool, record) else None


def records(pool: Record[PoolRecord]) -> list[Record[SessionRecord]]:
    """Those that it has, or has had, as far as they are written down."""
    found = (sessions.get(name_of(pool, number)) for number in range(1, pool.body.places + 1))
    return [record for record in found if record is not None and is_member(pool, record)]


def view(
    pool: Record[PoolRecord], queue: PoolQueue, found: Sequence[sessions.ObservedSession] | None = None
) -> PoolView:
    """The pool as it is now. Ends of its sessions that nobody wrote down are written down here.

    found: its sessions, where they were observed already
    """
    if found is None:
        found = sessions.observe_all(records(pool))
    clients = queue.clients()
    held = {client.member for client in clients}
    living = tuple(each for each in found if each.is_live)
    return PoolView(
        living,
        tuple(_member(pool, queue, each, held) for each in living),
        tuple(clients),
        sum(_gone_usd(each, pool.body.started_at) for each in found),
    )


def free(pool: Record[PoolRecord], queue: PoolQueue, clients: Sequence[PoolClient]) -> list[str]:
    """The sessions that a client may have now, in their order. Within `queue.changing`."""
    held = {client.member for client in clients}
    ready = []
    for record in records(pool):
        is_to_stay = record.body.is_open and record.body.stop_requested_at is None
        if not is_to_stay or record.name in held or sessions.status(record).state != "ready":
            continue
        if not _is_used(queue, record.name, KeptKernel.of(record.uri).state().use):
            ready.append(record.name)
    return ready


def use_of(found: sessions.ObservedSession) -> str:
    """What a session is used for, as its kernel's host sees it; empty for nothing."""
    return KeptKernel.of(found.record.uri).state().use if found.state == "running" else ""


def _member(
    pool: Record[PoolRecord], queue: PoolQueue, found: sessions.ObservedSession, held: Collection[str]
) -> Member:
    body, name, use = found.record.body, found.record.name, use_of(found)
    prices = [each.worst_usd_per_hour or each.usd_per_hour for each in found.machines if each.is_open]
    return Member(
        number=number_of(pool, name),
        state=found.state if found.state in ("running", "stopping") else "starting",
        usd_per_hour=max([body.usd_per_hour, *prices]),
        spent_usd=found.spent_usd,
        budget_usd=body.budget_usd,
        is_held=name in held,
        is_used=_is_used(queue, name, use),
        # One that cannot be asked may be at work.
        may_end=not use and found.state != "cannot tell",
    )


def _is_used(queue: PoolQueue, name: str, use: str) -> bool:
    return use not in ("", _JUST_BEGUN) and time.time() - queue.free_since(name) > _SETTLES_S


def _gone_usd(found: sessions.ObservedSession, since: float) -> float:
    """What starts of a session have cost that are over, as far as they were this pool's."""
    body = found.record.body
    spans = body.earlier_spans if found.is_live else body.starts()
    spans_usd = sum(
        ((each.ended_at or each.started_at) - each.started_at) / 3600 * each.usd_per_hour
        for each in spans
        if each.started_at >= since
    )
    machines = (each for each in found.machines if each.requested_at >= since)
    is_current = body.handle if found.is_live else None
    return spans_usd + sum(each.spent_usd(time.time()) for each in machines if each.job != is_current)
