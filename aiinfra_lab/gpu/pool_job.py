"""`python -m aiinfra_lab.gpu.pool_job gpu:NAME pool`: the job that sees to a pool.

Every second it decides how many sessions there are to be, starts and ends some, and hands out the budget. What it knows
is in the sessions' own records and in the pool's folder: one that was killed is started again and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from .. import files, jobs, logs, modes
from ..cost import budgets
from ..cost.billing import PER_SECOND
from ..errors import Conflict, LabError, NotFound, UsageProblem
from ..kernels import KeptKernel
from ..kernels.errand import send_off
from ..nouns import Budget
from ..providers import chosen, make
from ..scaling import Decision, ScalingState, decide
from ..store import Event, Record, open_store, patiently, update
from ..uris import Uri
from . import offers, pool_members, pool_rules, sessions, starting
from .base import Machines
from .pool_members import PoolView
from .pool_queue import PoolQueue
from .pool_record import IDLE_S, PoolRecord, PoolState, folder_of, read_state, write_state
from .pool_rules import Member
from .record import Limits, SessionRecord

_log = logging.getLogger("aiinfra_lab.gpu.pool_job")  # __name__ is __main__ here

_LOOK_S = 1.0
_ASK_AGAIN_S = 10.0  # for an end that was asked for
_LOST_AT_ONCE_S = 30.0
_PRICE_S = 30.0  # for which a price that was asked for counts
# A session ends by itself when nobody has sent it anything for so long, also when nobody sees to its pool any more.
_LONGEST_IDLE_S = 3600.0
_RENEW_S = 3600.0
_NEVER_S = 30 * 86_400.0


@dataclass(slots=True)
class _Start:
    """A session that is being brought up: what it may cost, and since when."""

    budget_usd: float | None
    usd_per_hour: float
    begun_at: float
    future: Future[starting.Started]


class PoolKeeper:
    """What sees to one pool, in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.queue = name, PoolQueue(folder_of(name))
        self.pool = _record(name)
        self.state = read_state(name)
        if self.state.at < self.pool.body.started_at:
            self.state = PoolState()
        self.starts: dict[int, _Start] = {}
        self.asked_at: dict[int, float] = {}
        self.ready_at: dict[str, float] = {}
        self.price: tuple[float, float] = (0.0, 0.0)  # until when it counts, and of an hour
        self.is_to_end = False

    def keep(self) -> None:
        """See to it until the pool is over."""
        self.adopt()
        while self.pool.body.is_open:
            jobs.beat()
            try:
                self.pool = _record(self.name)
                if why := self._why_over():
                    self.finish(why)
                else:
                    self.turn(time.time())
            except LabError as problem:
                _log.warning("%s", problem)
                self._note(problem=problem.what, fix=problem.fix)
            time.sleep(_LOOK_S)

    def adopt(self) -> None:
        """Take over what a job left that was killed: starts that were not written down whole, ends that were not asked
        for."""
        for record in pool_members.records(self.pool):
            with contextlib.suppress(LabError):  # it is seen to when its provider answers
                owned = [handle for handle, of in self._machines(record).list_owned().items() if of == record.name]
                if record.body.is_open and record.body.handle is None:
                    # Nobody else starts it: what has not come further never will.
                    if owned:
                        sessions.bind(record, owned[0])
                    else:
                        sessions.close(record, "its start was cut off")
                elif owned and not record.body.is_open:
                    starting.ask_to_end(record)

    def turn(self, now: float) -> None:
        """Look once, decide, and begin what follows; nothing of it is waited for."""
        self._take_starts(now)
        view = pool_members.view(self.pool, self.queue)
        self.warn(view)
        self._note_ready(view, now)
        members = [*view.members, *self._pending(view.members)]
        decision = self._decide(members, len(view.waiting), now)
        body = self.pool.body
        change = pool_rules.change(decision.target, body.max, members, self._not_free(), body.places)
        for number in change.end:
            self._end(number)
        self._ask_again(view, now)
        if change.start and now >= self.state.retry.next_at:
            self._start(change.start, view, members, now)
        self._keep_limits(view, members)

    def finish(self, why: str) -> None:
        """End all of its sessions, also those that work, wait until they are gone, and write the end."""
        records = pool_members.records(self.pool)
        found = sessions.observe_all(records)
        for each in found:
            number = pool_members.number_of(self.pool, each.record.name)
            is_due = time.time() - self.asked_at.get(number, 0.0) > _ASK_AGAIN_S
            if is_due and (each.is_live or sessions.has_machine(each.record)):
                self.asked_at[number] = time.time()
                starting.ask_to_end(sessions.request_stop(each.record))
        self._take_starts(time.time())
        is_gone = not any(each.is_live or sessions.has_machine(each.record) for each in found)
        if is_gone and not self.starts:
            self.warn()
            close(self.pool, why)
            self.pool = _record(self.name)

    def warn(self, view: PoolView | None = None) -> None:
        """Have its budget warned of while nobody looks, as a session's keeper does of a session that is on its own."""
        view = view or pool_members.view(self.pool, self.queue)
        budget = budget_of(self.pool, view.spent_usd)
        if budget is not None and (text := budgets.warn(budget)):
            _log.warning("%s", text)

    # ---- deciding ----

    def _why_over(self) -> str:
        body = self.pool.body
        if self.is_to_end or body.stop_requested_at is not None:
            return "stopped"
        return "deadline" if body.until_at is not None and time.time() >= body.until_at else ""

    def _decide(self, members: Sequence[Member], waiting: int, now: float) -> Decision:
        policy = self.pool.body.policy
        windows = self.state.windows or ScalingState.begin(policy.min, now)
        decision = decide(policy, windows, pool_rules.measure(members, waiting, policy.per_replica, now))
        self._note(
            target=decision.target, why=decision.why, windows=pool_rules.shortened(decision.state), problem="", fix=""
        )
        return decision

    def _note(self, **changes: Any) -> None:
        """Write down what was decided, for whoever looks."""
        self.state = replace(self.state, **changes, at=time.time())
        files.make_folder(folder_of(self.name))
        write_state(self.name, self.state)

    def _note_ready(self, view: PoolView, now: float) -> None:
        """What a kernel does while it begins is no use of it. One that is lost at once counts as a start that failed:
        else a machine on which none can live would be paid again every minute."""
        for name in {*self.ready_at} - {each.record.name for each in view.found}:
            began, record = self.ready_at.pop(name), sessions.get(name)
            is_wanted = record is not None and record.body.stop_requested_at is None
            if record is not None and is_wanted and now - began < _LOST_AT_ONCE_S:
                what = f"{record.uri} ended as soon as it was there: {record.body.ended_by}"
                self._note(retry=self.state.retry.failed(now, now, what, f"`%gpu show {name}` says more"))
        for each in view.found:
            name = each.record.name
            if each.state == "running" and name not in self.ready_at:
                self.ready_at[name] = now
                if self.queue.free_since(name) < each.record.body.started_at:
                    self.queue.note_free(name)

    def _not_free(self) -> set[int]:
        """The numbers whose names sessions have that are none of the pool's."""
        return {
            number
            for record in open_store().list(SessionRecord, is_open=True, skip_unreadable=True)
            if (number := pool_members.number_of(self.pool, record.name))
            and not pool_members.is_member(self.pool, record)
        }

    # ---- starting ----

    def _pending(self, members: Sequence[Member]) -> list[Member]:
        """Those that are being started and have no record yet."""
        written = {each.number for each in members}
        return [
            Member(number, "starting", start.usd_per_hour, 0.0, start.budget_usd)
            for number, start in self.starts.items()
            if number not in written
        ]

    def _start(self, numbers: Sequence[int], view: PoolView, members: list[Member], now: float) -> None:
        """Begin to start these, as far as the money lasts; one alone while the last start has failed."""
        body = self.pool.body
        left_s = None if body.until_at is None else body.until_at - now
        if left_s is not None and left_s < PER_SECOND.least_s:
            return
        for number in numbers[: 1 if self.state.retry.failures else None]:
            price, budget = 0.0, None
            if body.budget_usd is not None:
                try:
                    price = self._usd_per_hour(now)
                except LabError as problem:
                    self._note(retry=self.state.retry.failed(now, now, problem.what, problem.fix))
                    return
                budget = pool_rules.share_usd(body.budget_usd, view.gone_usd, members, body.max, price)
                if price and not budget:
                    self._no_money(members)
                    return
            request = self._request(number, price, budget if price else None, left_s)
            begun = _Start(request.budget_usd, price, now, send_off(partial(starting.bring_up, request)))
            self.starts[number] = begun
            members.append(Member(number, "starting", price, 0.0, begun.budget_usd))

    def _request(
        self, number: int, price: float, budget: float | None, left_s: float | None
    ) -> starting.SessionRequest:
        body = self.pool.body
        if budget is not None and left_s is not None:
            # What may cost more in its time than its share is not taken; it is given more time with the next share.
            left_s = min(left_s, max(PER_SECOND.least_s, budget / price * 3600 // 60 * 60))
        name = pool_members.name_of(self.pool, number)
        return starting.SessionRequest(name, body.gpu, body.spot, left_s, budget, body.provider, self._idle_s())

    def _idle_s(self) -> float:
        """Of a session: so that its host looks what it is used for, and it ends when nobody sees to its pool."""
        if self.pool.body.min:
            return _NEVER_S
        return max(_LONGEST_IDLE_S, 3 * (self.pool.body.idle_s or IDLE_S))

    def _usd_per_hour(self, now: float) -> float:
        """What an hour of the next session may cost."""
        until, price = self.price
        if now > until:
            price = usd_per_hour(self._request(0, 0.0, None, None))
            self.price = now + _PRICE_S, price
        return price

    def _no_money(self, members: Sequence[Member]) -> None:
        """What is left pays no further session; without any there will be none."""
        if members:
            self._note(problem="what is left of its budget pays no other session", fix=self._more())
        else:
            self.finish("budget")

    def _more(self) -> str:
        return f"`%gpu start {self.name} --budget {2 * (self.pool.body.budget_usd or 0.0):g}` gives it more"

    def _take_starts(self, now: float) -> None:
        """What has become of those that were being started."""
        for number, start in [*self.starts.items()]:
            if not start.future.done():
                continue
            del self.starts[number]
            record, retry = sessions.get(pool_members.name_of(self.pool, number)), self.state.retry
            problem = start.future.exception()
            if problem is None:
                self._note(retry=retry.succeeded(start.begun_at))
            elif record is not None and record.body.is_open:
                _log.warning("%s: %s", record.uri, problem)  # it may come to be still
            elif record is None or record.body.stop_requested_at is None or record.body.started_at < start.begun_at:
                what, fix = (problem.what, problem.fix) if isinstance(problem, LabError) else (repr(problem), "")
                _log.warning("a start failed: %s", problem)
                self._note(retry=retry.failed(start.begun_at, now, what, fix))

    # ---- ending ----

    def _end(self, number: int) -> None:
        """End a session unless somebody has just got it, or sent it something."""
        name = pool_members.name_of(self.pool, number)
        with self.queue.changing():
            record = sessions.get(name)
            is_held = any(client.member == name for client in self.queue.clients())
            if record is None or not record.body.is_open or is_held or KeptKernel.of(record.uri).state().use:
                return
            record = sessions.request_stop(record)
        self.asked_at[number] = time.time()
        send_off(partial(starting.ask_to_end, record))

    def _ask_again(self, view: PoolView, now: float) -> None:
        for found, member in zip(view.found, view.members, strict=True):
            is_due = now - self.asked_at.get(member.number, 0.0) > _ASK_AGAIN_S
            if member.state == "stopping" and is_due:
                self.asked_at[member.number] = now
                send_off(partial(starting.ask_to_end, found.record))

    # ---- limits ----

    def _keep_limits(self, view: PoolView, members: Sequence[Member]) -> None:
        """No session may outlive its pool, or cost more than what the pool has; one that works gets what is there."""
        body = self.pool.body
        shares = (
            {} if body.budget_usd is None else pool_rules.new_budgets(body.budget_usd, view.gone_usd, members, body.max)
        )
        for found, member in zip(view.found, view.members, strict=True):
            if found.state != "running":
                continue
            now = found.record.body
            budget = None if body.budget_usd is None else shares.get(member.number, now.budget_usd)
            until_at = starting.rented_until(found.record, (self._until_at(now, member), budget))
            is_same_end = until_at == now.until_at or (
                until_at is not None and now.until_at is not None and abs(until_at - now.until_at) < 1.0
            )
            if budget != now.budget_usd or not is_same_end:
                self._move(found, member, until_at, budget)

    def _until_at(self, now: SessionRecord, member: Member) -> float | None:
        """When a session is to end: with its pool. Of a pool without an end one that works gets more time."""
        body = self.pool.body
        if body.until_at is not None or now.until_at is None:
            return body.until_at
        is_short = now.until_at - time.time() < min(_RENEW_S, (now.until_at - now.started_at) / 2)
        return time.time() + now.until_at - now.started_at if is_short and member.is_busy else now.until_at

    def _move(
        self, found: sessions.ObservedSession, member: Member, until_at: float | None, budget: float | None
    ) -> None:
        price = member.usd_per_hour
        # Since when it would have cost what it has, at that price.
        since = time.time() - member.spent_usd / price * 3600 if price else found.record.body.started_at
        try:
            limits = Limits.of(price, since, until_at, budget, found.record.body.idle_s)
        except UsageProblem:  # nothing is left
            starting.ask_to_end(sessions.request_stop(found.record))
            return
        record = sessions.move(found.record, limits)
        if handle := record.body.handle:
            send_off(lambda: self._machines(record).renew(handle, record.body.deadline_at))

    def _machines(self, record: Record[SessionRecord]) -> Machines:
        machines: Machines = make("gpu.machines", record.body.provider)
        return machines


def usd_per_hour(request: starting.SessionRequest) -> float:
    """What an hour of the session may cost that would be started now; see `starting` for what is raised."""
    provider = request.on or chosen("gpu.machines")
    found = offers.offers_of(make("gpu.machines", provider), request.gpu or offers.CPU)
    return starting._choose(found, request, provider).dearest_usd_per_hour


def budget_of(pool: Record[PoolRecord], spent_usd: float) -> Budget | None:
    """What a pool as a whole lives on; None for one without a budget."""
    if not pool.body.budget_usd:
        return None
    fix = f"`%gpu start {pool.name} --budget {2 * pool.body.budget_usd:g}` gives it more"
    return Budget(pool.uri, pool.body.started_at, pool.body.budget_usd, spent_usd, fix)


def close(pool: Record[PoolRecord], why: str) -> None:
    """Write down the end of this start of a pool."""

    def change(body: PoolRecord) -> PoolRecord | None:
        is_this = body.is_open and body.started_at == pool.body.started_at
        return replace(body, ended_at=time.time(), ended_by=why) if is_this else None

    patiently(lambda: update(open_store(), PoolRecord, pool.name, change, Event("gpu stop", pool.uri)))


def _record(name: str) -> Record[PoolRecord]:
    found = patiently(lambda: open_store().get(PoolRecord, name))
    if found is None:
        raise NotFound(f"there is no pool gpu:{name}", f"`%gpu start {name} --max 4` starts it")
    return found


def main(subject: str) -> int:
    """See to that pool until it is over; the exit code of the job."""
    logs.configure()
    uri = Uri.parse(subject, noun=SessionRecord.kind)
    # The sessions that it starts are told by this from others of such a name.
    os.environ["AIINFRA_CONTEXT"] = str(uri)
    files.make_folder(folder_of(uri.name))
    held = files.take_lock(folder_of(uri.name) / "job.lock")
    if held is None:
        raise Conflict(f"{uri} is seen to already", f"look at it with `%gpu show {uri.name}`")
    with held:
        keeper = PoolKeeper(uri.name)

        def end(*_: object) -> None:
            keeper.is_to_end = True

        signal.signal(signal.SIGTERM, end)
        keeper.keep()
    return 0


if __name__ == "__main__":
    modes.keep_to_owner()
    sys.exit(main(sys.argv[1]))
