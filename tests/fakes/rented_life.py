"""The life of one rented session as its keeper leads it, over a cloud in memory and a clock that is set."""

import contextlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, Unavailable
from aiinfra_lab.gpu import reaping
from aiinfra_lab.gpu.record import MachineRecord
from aiinfra_lab.gpu.renting import LaunchSpec
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.store import Record, open_store, update
from tests.fakes.rented import (
    FOREIGN,
    OFFERS,
    FakeCloud,
    Fault,
    Faults,
    Killed,
    RentedMachines,
    SetClock,
    faulty_commits,
)

CALLS = ("launch", "instances", "end", "move_end", "place_on", "offers", "commit")
ASK_AGAIN_S = 5.0
RELEASE_S = 600.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Course:
    """What happens besides faults. comes_back: whether a keeper that was killed is started again; else only a reaper
    comes. for_s: how long it is wanted. takes_after_s: after how long each of its machines is taken away. moves:
    whether its deadline is moved meanwhile. looks: whether somebody looks for orphans meanwhile. ahead_s: how wrong the
    clock here is."""

    comes_back: bool = True
    for_s: float = 60.0
    lag_s: float = 8.0
    takes_after_s: tuple[float, ...] = ()
    moves: bool = False
    looks: bool = False
    ahead_s: float = 0.0


@dataclass
class Life:
    """A session, its cloud, and machines of others beside it."""

    faults: Faults = field(default_factory=Faults)
    course: Course = field(default_factory=Course)

    def __post_init__(self) -> None:
        self.name = f"far{next(_numbers)}"
        self.job, self.time = f"gpu-{self.name}-0a1b2c3d", SetClock(ahead_s=self.course.ahead_s)
        self.kernel = KeptKernel.of(f"gpu:{self.name}")
        self.cloud = FakeCloud(self.time, lag_s=self.course.lag_s)
        self.owner = make_home_id(settings().home)
        self.machines = RentedMachines(settings(), self.cloud, self.faults, self.owner)
        self.deadline_at = self.machines.clock.now() + 7200
        write_job(self.job, self.name, self.deadline_at)
        self.kept = self._others()
        self.cloud.takes_after_s = list(self.course.takes_after_s)

    def _others(self) -> set[str]:
        """Machines that must not be touched: of somebody else, and of another session of this workspace."""
        neighbour = f"near{self.name}"
        write_job(f"gpu-{neighbour}-0a1b2c3d", neighbour, self.deadline_at)
        tokens = [(FOREIGN, self.name, f"gpu-{self.name}-0a1b2c3d-99"), (FOREIGN, "other", "gpu-other-0")]
        tokens.append((self.owner, neighbour, f"gpu-{neighbour}-0a1b2c3d-0"))
        made = [self.cloud.run(LaunchSpec(name, owner, token, OFFERS[0], 4e9, Path())) for owner, name, token in tokens]
        now = self.machines.clock.now()
        body = MachineRecord(
            session=neighbour,
            job=f"gpu-{neighbour}-0a1b2c3d",
            provider="fake",
            gpu="T4",
            usd_per_hour=0.5,
            requested_at=now,
            instance=made[-1].id,
        )
        open_store().commit([Record.new(tokens[-1][2], body)])
        self.time.at += 60
        return {each.id for each in made}

    def lead(self) -> None:
        """All of it, up to one pass of a reaper."""
        with faulty_commits(open_store(), self.faults):
            begun_at = self.time.at
            while True:
                try:
                    self._keep(begun_at)
                except Killed:
                    if self.course.comes_back:
                        self.time.sleep(2.0)
                        continue
                break
            if self.course.looks:
                with contextlib.suppress(LabError, Killed):
                    reaping.end(self._looked().orphans, 5.0, self._providers, self.machines.clock)
        end_job(self.job)
        self.faults.at.clear()
        self.time.sleep(self.machines.listed_s + 1)
        self.left_over = [each.id for each in self._own_living()]
        reaping.end(self._looked().orphans, 120.0, self._providers, self.machines.clock)
        for record in open_store().list(MachineRecord, about=f"gpu:near{self.name}"):
            open_store().commit([record.with_(ended_at=self.time.at, ended_by="the test is over")])

    @property
    def _providers(self) -> dict[str, RentedMachines]:
        return {"fake": self.machines}

    def _looked(self) -> reaping.Findings:
        return reaping.look(self._providers)

    def _own_living(self) -> list:
        return [each for each in self.cloud.living(self.owner) if each.id not in self.kept]

    @property
    def left(self) -> list[str]:
        """Its machines that live."""
        return [each.id for each in self._own_living()]

    @property
    def touched(self) -> set[str]:
        """Machines of others whose end was asked for."""
        return self.kept & set(self.cloud.ended)

    def records(self) -> list[MachineRecord]:
        found = open_store().list(MachineRecord, about=f"gpu:{self.name}")
        return [record.body for record in found]

    # ---- as `kernels/keeper.py` does ----

    def _keep(self, begun_at: float) -> None:
        rental = self.machines.source(self.kernel, OFFERS[0], self.job)
        until, moved = begun_at + self.course.for_s, not self.course.moves
        has_place = False
        with contextlib.suppress(LabError):
            while self.time.at < until:
                try:
                    if not has_place:
                        rental.obtain(self._report)
                        has_place = True
                    if not moved:
                        moved = True
                        self.deadline_at += 600
                        with contextlib.suppress(Unavailable):
                            self.machines.renew(self.job, self.deadline_at)
                    self.time.sleep(ASK_AGAIN_S)
                    if self.course.looks:
                        with contextlib.suppress(Unavailable):
                            self.looked = self._looked()
                            self.orphaned = [each.instance.id for each in self.looked.orphans]
                            assert not self.orphaned, self.looked.orphans
                    if (loss := rental.lost()) is not None:
                        has_place = False
                        if not loss.may_replace:
                            break
                except Unavailable:
                    self.time.sleep(ASK_AGAIN_S)
        gives_up_at = self.time.at + RELEASE_S
        while self.time.at < gives_up_at:
            try:
                rental.release()
                return
            except LabError:
                self.time.sleep(ASK_AGAIN_S)

    def _report(self, what: str) -> None:
        self.step = what


def write_job(job: str, session: str, deadline_at: float | None, state: str = "starting") -> None:
    """The job of a keeper that goes on."""
    body = JobRecord(
        subject=f"gpu:{session}",
        state=state,  # type: ignore[arg-type]
        started_at=1.0,
        deadline_at=deadline_at,
        home=make_home_id(settings().home),
    )
    open_store().commit([Record.new(job, body)])


def end_job(job: str) -> None:
    """Nobody starts it again."""
    update(open_store(), jobs.JobRecord, job, _ended)


def _ended(body: JobRecord) -> JobRecord:
    return replace(body, state="failed", ended_at=2.0)


def singles() -> Iterator[tuple[Faults, Course]]:
    """Each fault at each of the first calls of each kind, with a keeper that comes back and without."""
    for name, count, fault, comes_back in itertools.product(CALLS, range(4), (*FAULT_KINDS, "empty"), (True, False)):
        if (fault == "empty" and name != "instances") or (fault == "no capacity" and name != "launch"):
            continue
        yield Faults({(name, count): fault}), Course(comes_back, moves=name == "move_end", looks=count % 2 == 1)


FAULT_KINDS: tuple[Fault, ...] = (
    "killed before", "killed after", "error before", "lost answer", "throttled", "no capacity"
)  # fmt: skip


def drawn(dice: random.Random) -> tuple[Faults, Course]:
    """Some faults at calls by chance, in a course by chance."""
    faults: dict[tuple[str, int], Fault] = {}
    for _ in range(dice.randint(1, 5)):
        name = dice.choice((*CALLS, "*"))
        count = dice.randrange(60) if name == "*" else min(dice.randrange(12), dice.randrange(12))
        faults[name, count] = dice.choice((*FAULT_KINDS, "empty"))
    course = Course(
        comes_back=dice.random() < 0.6,
        for_s=dice.choice([2.0, 15.0, 60.0, 200.0]),
        lag_s=dice.uniform(0.0, 25.0),
        takes_after_s=tuple(dice.uniform(0, 90) for _ in range(dice.choice([0, 0, 1, 3]))),
        moves=dice.random() < 0.3,
        looks=dice.random() < 0.3,
        ahead_s=dice.choice([0.0, 0.0, 7200.0, -7200.0]),
    )
    return Faults(faults), course
