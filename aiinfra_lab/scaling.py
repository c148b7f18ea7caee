"""The autoscaler's rule, and its simulation: how many replicas a load wants. Pure: no clock, no input, no output.

A replica is a session of a pool or one process of an endpoint; the load is what `per_replica` counts: work that waits
or runs, or requests per second. What the rule does, and whose it is:

- The target comes from the load alone, ceil(load / per_replica), and never from "one more" (Kubernetes HPA for values
  that are averaged; SkyServe's request rate; its QueueLengthAutoscaler adds one at a time and is late). Work that runs
  counts beside work that waits, as in Ray Serve: a queue alone shrinks by being served, and the target with it. So
  what is starting counts too, as in Ray's autoscaler: asked again for the same load, the rule gives the same number.
  Work that comes in while nothing is ready yet is load like any other.
- A load within the tolerance of what the target is made for changes nothing (HPA, 10 %).
- Down goes only to the highest, up only to the lowest number that was wanted in a window (HPA's stabilization: 300 s
  down, 0 s up); what the last look before it wanted counts at its beginning. Windows that nobody watched begin anew
  with the target, as HPA's do when its controller restarts.
- To zero only after a time without any work, and from zero at once (KEDA's cooldownPeriod and activation).
- A load that could not be measured keeps the target and begins the windows anew (HPA scales down on no missing metric).
- A replica at work is not taken away: the target is never below how many are (Ray ends idle nodes only).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from .errors import UsageProblem

_ROUNDING = 1e-9

Reason = Literal["steady", "up", "down", "to zero", "waiting to go down", "waiting to go up", "cannot tell"]


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """Between which numbers, and how eagerly.

    per_replica: how much load one replica is to have. tolerance: the share by which the load may miss it.
    up_s, down_s: for how long more, or less, must have been wanted. idle_to_zero_s: without any work; with min 0 only.
    """

    min: int = 0
    max: int = 1
    per_replica: float = 1.0
    tolerance: float = 0.1
    up_s: float = 0.0
    down_s: float = 300.0
    idle_to_zero_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max or self.max < 1:
            raise UsageProblem(
                f"a pool of {self.min} to {self.max} replicas cannot be",
                "give a min of 0 or more and a max that is at least min, and at least 1",
            )
        if not 0 < self.per_replica < math.inf:
            raise UsageProblem(f"{self.per_replica:g} is no load for one replica", "give more than 0, as in 2")
        if not 0 <= self.tolerance < 1:
            raise UsageProblem(f"{self.tolerance:g} is no tolerance", "give a share below 100%, as in 10%")
        for seconds in (self.up_s, self.down_s, self.idle_to_zero_s):
            if not 0 <= seconds < math.inf:
                raise UsageProblem(f"{seconds:g} s is no time to wait", "give 0 or more seconds, as in 300")

    def within(self, replicas: int) -> int:
        """The nearest number that the policy allows."""
        return max(self.min, min(self.max, replicas))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured at one moment. load: None where it could not be. busy: replicas that are at work."""

    at_s: float
    load: float | None
    busy: int = 0

    @property
    def is_known(self) -> bool:
        """Whether it is a measurement at all."""
        return self.load is not None and 0 <= self.load < math.inf


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What the rule remembers. wanted: (when, how many) of the windows. idle_since_s: None unless there is no work."""

    target: int
    wanted: tuple[tuple[float, int], ...]
    idle_since_s: float | None = None

    @classmethod
    def begin(cls, target: int, at_s: float) -> ScalingState:
        """Of a pool that has so many replicas now, of which nothing else is known."""
        return cls(target, ((at_s, target),))


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there are to be, why, and what the next decision is to be given."""

    target: int
    reason: Reason
    why: str
    state: ScalingState


def decide(policy: ScalingPolicy, state: ScalingState, seen: Measurement) -> Decision:
    """The next target. Asked again with the same load it is the same, however few of the replicas are ready yet."""
    current = policy.within(state.target)
    # Of a time that nobody watched nothing is known.
    recent = _recent(policy, state, seen.at_s)
    idle_since_s = state.idle_since_s if recent else None
    recent = recent or ((seen.at_s, current),)
    if seen.load is None or not seen.is_known:
        held = ScalingState(current, (*recent, (seen.at_s, current)))
        return Decision(current, "cannot tell", "the load could not be measured: the last target stays", held)
    wanted = _wanted(policy, current, seen.load, seen.busy)
    target = _stabilized(policy, current, wanted, recent, seen.at_s)
    if seen.load > 0 or seen.busy > 0:
        idle_since_s = None
        target = max(target, 1)  # from zero at once
    else:
        idle_since_s = min(seen.at_s if idle_since_s is None else idle_since_s, seen.at_s)
        is_over = policy.min == 0 and seen.at_s - idle_since_s >= policy.idle_to_zero_s
        target = 0 if is_over else max(target, min(current, 1))
    target = policy.within(max(target, seen.busy))
    after = ScalingState(target, (*recent, (seen.at_s, wanted)), idle_since_s)
    reason = _reason(current, target, wanted)
    return Decision(target, reason, _why(policy, seen, after, wanted, reason), after)


def replicas(policy: ScalingPolicy, load: float) -> int:
    """How many replicas a load wants where none is there yet: what `decide` comes to while it stays as it is."""
    return _wanted(policy, 0, load, 0)


def _recent(policy: ScalingPolicy, state: ScalingState, at_s: float) -> tuple[tuple[float, int], ...]:
    since = at_s - max(policy.up_s, policy.down_s, policy.idle_to_zero_s)
    return tuple(each for each in state.wanted if since <= each[0] <= at_s)


def _wanted(policy: ScalingPolicy, current: int, load: float, busy: int) -> int:
    """What this load alone wants."""
    share = min(load / policy.per_replica, 2.0 * policy.max)
    # 0.3 is a little more than 3 times 0.1, and wants 3.
    wanted = max(math.ceil(share - _ROUNDING), int(load > 0))
    if current and abs(share / current - 1) <= policy.tolerance + _ROUNDING:
        wanted = current
    return policy.within(max(wanted, busy))


def _stabilized(
    policy: ScalingPolicy, current: int, wanted: int, recent: tuple[tuple[float, int], ...], at_s: float
) -> int:
    lowest = wanted
    if policy.up_s:
        # What the last look before the window saw holds where it begins: looks may be further apart than it is long.
        before = [number for when, number in recent if when <= at_s - policy.up_s]
        inside = [number for when, number in recent if at_s > when > at_s - policy.up_s]
        lowest = min([wanted, *(before[-1:] + inside or [current])])
    highest = max([wanted, *(number for when, number in recent if policy.down_s and when >= at_s - policy.down_s)])
    return min(max(current, lowest), highest)


def _reason(current: int, target: int, wanted: int) -> Reason:
    if target > current:
        return "up"
    if target < current:
        return "down" if target else "to zero"
    if wanted == current:
        return "steady"
    return "waiting to go down" if wanted < current else "waiting to go up"


def _why(policy: ScalingPolicy, seen: Measurement, after: ScalingState, wanted: int, reason: Reason) -> str:
    if reason == "to zero":
        return f"no work for {policy.idle_to_zero_s:g} s"
    busy = f", and {seen.busy} are at work" if seen.busy and wanted == seen.busy else ""
    most = ", the most there may be" if wanted == policy.max else ""
    load = f"a load of {seen.load:g}, {policy.per_replica:g} each{busy}, wants {wanted}{most}"
    if reason == "waiting to go up":
        return f"{load}; up once more was wanted for {policy.up_s:g} s"
    if reason == "waiting to go down":
        if after.target == 1 and wanted == 0:
            return f"no work; to zero after {policy.idle_to_zero_s:g} s of it"
        return f"{load}; down once less was wanted for {policy.down_s:g} s"
    return load


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick of a simulation, after its decision. waiting and running are jobs; ready and starting are replicas."""

    at_s: float
    target: int
    ready: int
    starting: int
    waiting: int
    running: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What a pool did."""

    tick_s: float
    moments: tuple[Moment, ...]

    @property
    def targets(self) -> list[int]:
        """One a tick."""
        return [moment.target for moment in self.moments]

    @property
    def replica_s(self) -> float:
        """What is to be paid for: from the start of a replica's start to its end."""
        return self.tick_s * sum(moment.ready + moment.starting for moment in self.moments)

    @property
    def reversals(self) -> list[float]:
        """The times between a change of the target and the next one in the other direction, in seconds."""
        changes = [
            (after.at_s, after.target > before.target)
            for before, after in pairwise(self.moments)
            if after.target != before.target
        ]
        return [after[0] - before[0] for before, after in pairwise(changes) if after[1] is not before[1]]


@dataclass(slots=True, eq=False)
class _Replica:
    """ready_at_s: when it takes its first job. free_at_s: when it has done the last one that it took."""

    ready_at_s: float
    free_at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.free_at_s = self.ready_at_s


def simulate(
    policy: ScalingPolicy,
    arrivals: Sequence[int],
    service: float | Callable[[int], float],
    start_up_s: float = 0.0,
    *,
    tick_s: float = 5.0,
    unmeasured: Container[int] = (),
) -> Trajectory:
    """A pool that begins at its min, under the rule. Each replica does one job at a time, the oldest first.

    arrivals: jobs by tick. service: seconds of a job, or of the job with that number. start_up_s: until a replica
    takes jobs. unmeasured: the ticks of which the load is not known.
    """
    pool = [_Replica(0.0) for _ in range(policy.min)]
    state = ScalingState.begin(policy.min, 0.0)
    queue: deque[tuple[int, float]] = deque()
    moments = []
    number = 0
    for tick, arrived in enumerate(arrivals):
        now_s = tick * tick_s
        _serve(pool, queue, service, now_s)  # what became free since then, before what comes now
        queue.extend((number + each, now_s) for each in range(arrived))
        number += arrived
        _serve(pool, queue, service, now_s)
        running = sum(replica.free_at_s > now_s >= replica.ready_at_s for replica in pool)
        load = None if tick in unmeasured else float(len(queue) + running)
        decision = decide(policy, state, Measurement(now_s, load, running))
        state = decision.state
        _resize(pool, decision.target, now_s, start_up_s)
        starting = sum(replica.ready_at_s > now_s for replica in pool)
        counts = (len(pool) - starting, starting, len(queue), running)
        moments.append(Moment(now_s, decision.target, *counts, decision.reason))
    return Trajectory(tick_s, tuple(moments))


def _serve(
    pool: list[_Replica], queue: deque[tuple[int, float]], service: float | Callable[[int], float], now_s: float
) -> None:
    """Hand the waiting jobs to the replicas in the order in which these become free, up to now."""
    while queue and pool:
        first = min(pool, key=lambda replica: replica.free_at_s)
        if first.free_at_s > now_s:
            return
        number, arrived_s = queue.popleft()
        seconds = service(number) if callable(service) else service
        first.free_at_s = max(first.free_at_s, arrived_s) + seconds


def _resize(pool: list[_Replica], target: int, now_s: float, start_up_s: float) -> None:
    pool += [_Replica(now_s + start_up_s) for _ in range(target - len(pool))]
    # What is not ready yet goes first, then what is idle; what works stays.
    for replica in sorted(pool, key=lambda each: -each.ready_at_s):
        is_busy = replica.free_at_s > now_s >= replica.ready_at_s
        if len(pool) > target and not is_busy:
            pool.remove(replica)
