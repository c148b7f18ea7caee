"""A cloud in memory that rents machines, as strict as EC2, and a clock that is set and never slept.

What it has made is listed some seconds later, and until then it knows no such machine; a token stands for one request
with its parameters, and is refused once its machine is gone. Each call to it, and each commit to a store, may fail in
the ways in which calls fail; `Faults` says which one does.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from aiinfra_lab.config import Settings, settings
from aiinfra_lab.errors import Failed, Unavailable
from aiinfra_lab.gpu import Offer
from aiinfra_lab.gpu.base import NoCapacity
from aiinfra_lab.gpu.renting import Clock, Instance, LaunchSpec, RentingMachines
from aiinfra_lab.kernels import Place
from aiinfra_lab.kernels.reach import LocalReach

FOREIGN = "somebody-else"
Fault = Literal["killed before", "killed after", "error before", "lost answer", "throttled", "no capacity", "empty"]
FAULTS: tuple[Fault, ...] = ("killed before", "killed after", "error before", "lost answer", "throttled")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class SetClock:
    """A clock that goes on when somebody waits. ahead_s: by how much the time of day is wrong."""

    at: float = 1_800_000_000.0
    ahead_s: float = 0.0
    until: Callable[[], None] = lambda: None

    def clock(self) -> Clock:
        return Clock(lambda: self.at + self.ahead_s, lambda: self.at, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.until()


@dataclass
class Faults:
    """Which call fails and how. at: by their names, `*` for any; the how-manieth of these, from 0, and how."""

    at: dict[tuple[str, int], Fault] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    away: bool = False

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        count = self.calls.count(name)
        self.calls.append(name)
        fault = self.at.get((name, count)) or self.at.get(("*", len(self.calls) - 1))
        if fault and threading.current_thread() is not threading.main_thread():
            # A reaper asks in threads: none of them is a process that could be killed.
            fault = {"killed before": "error before", "killed after": "lost answer"}.get(fault, fault)  # type: ignore[assignment]
        if self.away and name != "commit":
            raise Unavailable("the cloud does not answer", "try again")
        match fault:
            case "killed before":
                raise Killed
            case "error before":
                raise Unavailable("the connection was refused", "try again")
            case "throttled":
                raise Unavailable("RequestLimitExceeded", "try again")
            case "no capacity" if name == "launch":
                raise NoCapacity("InsufficientInstanceCapacity", "try again")
        yield
        match fault:
            case "killed after":
                raise Killed
            case "lost answer":
                raise Unavailable("no answer within 10 s", "try again")

    def is_empty(self) -> bool:
        """Whether the list that was asked for last lacks everything."""
        count = self.calls.count("instances") - 1
        return "empty" in (self.at.get(("instances", count)), self.at.get(("*", len(self.calls) - 1)))


@dataclass
class Rented:
    """A machine. Times in epoch seconds of the cloud's clock; request: what it was asked for with."""

    id: str
    owner: str
    session: str
    token: str
    request: tuple[Any, ...]
    usd_per_hour: float
    created_at: float
    listed_at: float
    runs_at: float
    expires_at: float
    taken_at: float | None = None
    asked_at: float | None = None
    end_s: float = 3.0

    def gone_at(self) -> float:
        ends = [self.expires_at]
        ends += [self.taken_at] if self.taken_at is not None else []
        ends += [self.asked_at + self.end_s] if self.asked_at is not None else []
        return min(ends)

    def is_gone(self, now: float) -> bool:
        return now >= self.gone_at()


class FakeCloud:
    """Its machines, and what it was asked for. lag_s: until a machine is listed. boot_s: until it runs."""

    def __init__(self, time: SetClock, *, lag_s: float = 8.0, boot_s: float = 12.0) -> None:
        self.time, self.lag_s, self.boot_s = time, lag_s, boot_s
        self.machines: list[Rented] = []
        self.ended: list[str] = []
        self.takes_after_s: list[float] = []  # of the next machines: after how long each is taken away
        self.doubles: list[str] = []

    def run(self, spec: LaunchSpec) -> Rented:
        request = (spec.owner, spec.session, spec.offer, spec.deadline_at)
        for each in self.machines:
            if each.token == spec.token:
                if each.request != request:
                    raise Failed("IdempotentParameterMismatch", "use another token")
                if each.is_gone(self.time.at):
                    raise Failed("IdempotentInstanceTerminated", "use another token")
                return each
        living = [each for each in self.machines if each.session == spec.session and not each.is_gone(self.time.at)]
        self.doubles += [each.id for each in living if each.owner == spec.owner and each.asked_at is None]
        now = self.time.at
        made = Rented(
            id=f"i-{len(self.machines):04x}",
            owner=spec.owner,
            session=spec.session,
            token=spec.token,
            request=request,
            usd_per_hour=spec.offer.usd_per_hour,
            created_at=now,
            listed_at=now + self.lag_s,
            runs_at=now + self.boot_s,
            expires_at=_end_of(spec, now),
            taken_at=now + self.takes_after_s.pop(0) if self.takes_after_s else None,
        )
        self.machines.append(made)
        return made

    def living(self, *owners: str) -> list[Rented]:
        found = [each for each in self.machines if not each.is_gone(self.time.at)]
        return [each for each in found if not owners or each.owner in owners]

    def known(self, instance_id: str) -> Rented | None:
        """One that is not listed yet is not known either."""
        return next((each for each in self.machines if each.id == instance_id and each.listed_at <= self.time.at), None)


def _end_of(spec: LaunchSpec, now: float) -> float:
    """As a machine of EC2 has it (`infra/machine.sh`): whoever rents it may have a clock that is wrong."""
    last_at = math.inf if spec.lasts_s is None else now + spec.lasts_s
    return spec.deadline_at if now < spec.deadline_at < last_at or last_at == math.inf else last_at


OFFERS = tuple(Offer("T4", 0.5, device=f"t4/zone-{place}") for place in range(3))


class RentedMachines(RentingMachines):
    """See `RentingMachines`. latency_s: of each call."""

    name = "fake"
    latency_s = 0.2

    def __init__(self, where: Settings, cloud: FakeCloud, faults: Faults, owner: str) -> None:
        super().__init__(where)
        self.cloud, self.faults, self.owner = cloud, faults, owner
        self.clock = cloud.time.clock()
        self.answers_after_s = 0.0

    @contextlib.contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.cloud.time.sleep(self.latency_s)
        with self.faults.around(name):
            yield

    def offers(self) -> Sequence[Offer]:
        with self._call("offers"):
            return OFFERS

    def launch(self, spec: LaunchSpec) -> str:
        with self._call("launch"):
            found = self.cloud.run(spec)
        return found.id

    def instances(self, token: str = "") -> Sequence[Instance]:
        with self._call("instances"):
            now = self.cloud.time.at
            mine = [each for each in self.cloud.machines if each.owner == self.owner and each.listed_at <= now]
            found = [each for each in mine if (each.token == token if token else not each.is_gone(now))]
        return [] if self.faults.is_empty() else [self._told(each, now) for each in found]

    def end(self, instance_id: str) -> None:
        with self._call("end"):
            self.cloud.ended.append(instance_id)
            found = self.cloud.known(instance_id)
            if found is not None and found.asked_at is None:
                found.asked_at = self.cloud.time.at

    def move_end(self, instance_id: str, deadline_at: float) -> None:
        with self._call("move_end"):
            found = self.cloud.known(instance_id)
            if found is not None:
                found.expires_at = deadline_at

    def place_on(self, instance: Instance, folder: Path) -> Place:
        with self._call("place_on"):
            found = self.cloud.known(instance.id)
            if found is None or self.cloud.time.at < found.runs_at + self.answers_after_s:
                raise Unavailable("it does not answer yet", "try again")
        return Place(LocalReach(folder), str(folder), (), "/", {}, None, name=instance.id, rented=True)

    def _told(self, each: Rented, now: float) -> Instance:
        state = "pending" if now < each.runs_at else "running" if each.asked_at is None else "ending"
        state = "gone" if each.is_gone(now) else state
        is_taken = state == "gone" and each.gone_at() == each.taken_at
        why = {True: "it was taken", False: "deadline" if each.gone_at() == each.expires_at else "stopped"}[is_taken]
        return Instance(
            id=each.id,
            session=each.session,
            token=each.token,
            state=state,  # type: ignore[arg-type]
            why=why if state == "gone" else "",
            is_taken=is_taken,
            created_at=each.created_at,
            expires_at=each.expires_at,
            ended_at=each.gone_at() if state == "gone" else None,
        )


@contextlib.contextmanager
def faulty_commits(store: Any, faults: Faults) -> Iterator[None]:
    """While this lasts, commits to that store fail as they are told to."""
    commit = store.commit

    def failing(*args: Any, **kwargs: Any) -> Any:
        with faults.around("commit"):
            return commit(*args, **kwargs)

    with mock.patch.object(store, "commit", failing):
        yield


def rented(cloud: FakeCloud, faults: Faults | None = None, owner: str = "") -> RentedMachines:
    """The provider of the current workspace."""
    from aiinfra_lab.jobs.home import make_home_id

    return RentedMachines(settings(), cloud, faults or Faults(), owner or make_home_id(settings().home))
