"""Rented machines whatever fails, and what they cost: over clouds in memory, and clocks that are set."""

import contextlib
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.errors import LabError, Unavailable
from aiinfra_lab.gpu import Offer, reaping, renting, sim
from aiinfra_lab.gpu.record import Limits, MachineRecord, SessionRecord
from aiinfra_lab.gpu.renting import Instance, LaunchSpec
from aiinfra_lab.gpu.sim import SimCloud, SimInstance, SimMachines
from aiinfra_lab.jobs import JobRecord, record
from aiinfra_lab.jobs.home import make_home_id
from aiinfra_lab.kernels import KeptKernel, Place, kept
from aiinfra_lab.kernels.reach import LocalReach
from aiinfra_lab.store import Record, open_store
from tests.fakes import rented_life
from tests.fakes.rented import Faults, SetClock
from tests.fakes.rented_life import Course, Life, drawn, end_job, singles, write_job

from .rows import Figure, at_most, exactly, row

LIVES, HISTORIES, PROCESSES = 1000, 2000, 2
TICK_S = 60.0
STORE = Path(__file__).parents[1] / "fakes/memory_store"


@row("gpu.2", "faults at every call to a provider and every commit", "0 machines left, 0 foreign touched, 0 twice")
def leaks(full: bool) -> Iterator[Figure]:
    """Each fault at each call alone, then some by chance; then one pass of a reaper."""
    with _workspace():
        lives, count = list[Life](), 0
        for faults, course in _courses(10 * LIVES if full else LIVES):
            count += len(faults.at)
            lives.append(life := Life(faults, course))
            life.lead()
            _forget()
    calls = sum(len(life.faults.calls) for life in lives)
    note = f"{len(lives):,} lives, {count:,} faults, {calls:,} calls and commits"
    yield Figure("machines that are left", sum(len(life.left) for life in lives), "machines", exactly(0), note=note)
    yield Figure("machines of others that were touched", sum(len(life.touched) for life in lives), "", exactly(0))
    yield Figure("machines beside another one", sum(len(life.cloud.doubles) for life in lives), "", exactly(0))
    again = [life for life in lives if life.course.comes_back]
    left = sum(len(life.left_over) for life in again)
    reaped = sum(len(life.left_over) for life in lives) - left
    note = f"{len(again):,} lives; the others left it {reaped}"
    yield Figure("left to the reaper by keepers that are started again", left, "machines", exactly(0), note=note)


def _courses(many: int) -> Iterator[tuple[Faults, Course]]:
    yield from singles()
    yield from (drawn(random.Random(seed)) for seed in range(many))


@row(
    "gpu.5", "prices, takings and outages against a budget", "<= one tick over it in all; records within 0.1 % of bills"
)
def money(full: bool) -> Iterator[Figure]:
    """Histories with budgets: prices change, machines are taken, clouds are away and keepers are killed."""
    many = 100_000 if full else HISTORIES
    parts = [range(start, min(start + 500, many)) for start in range(0, many, 500)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        found = [each for part in pool.map(_histories, parts) for each in part]
    over = [max(0.0, each.billed_usd - each.budget_usd) for each in found]
    dearest = max(each.dearest_usd_per_hour for each in found)
    billed, written = sum(each.billed_usd for each in found), sum(each.written_usd for each in found)
    machines = sum(each.machines for each in found)
    note = f"{many:,} histories, {machines:,} machines, {billed:,.0f} USD of {sum(e.budget_usd for e in found):,.0f}"
    tick_usd = dearest * TICK_S / 3600
    yield Figure("more than the budgets, in all", sum(over) / tick_usd, "ticks", at_most(1), note=note)
    worst = max(usd / (each.dearest_usd_per_hour * TICK_S / 3600) for usd, each in zip(over, found, strict=True))
    yield Figure("the worst of one session", worst, "of its own tick", at_most(1))
    yield Figure("records against bills, in all", abs(written - billed) / billed * 100, "%", at_most(0.1))
    errors = [abs(each.written_usd - each.billed_usd) / each.billed_usd * 100 for each in found if each.billed_usd]
    note = f"{sum(error > 0 for error in errors):,} of {len(errors):,} differ at all"
    yield Figure("the worst of one session", max(errors), "%", at_most(0.1), note=note)


@dataclass(frozen=True)
class History:
    """What one session was to cost, was billed, and cost by its records."""

    budget_usd: float
    billed_usd: float
    written_usd: float
    dearest_usd_per_hour: float
    machines: int


def _histories(seeds: Sequence[int]) -> list[History]:
    with _workspace():
        found = []
        for seed in seeds:
            found.append(_history(random.Random(seed), f"far{seed}"))
            _forget()
    return found


class MemoryCloud(SimCloud):
    """The cloud in a clock, without its files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.there: dict[str, SimInstance] = {}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[str, SimInstance]]:
        yield self.there

    def _read(self) -> dict[str, SimInstance]:
        return self.there


@dataclass
class Outages:
    """When the cloud does not answer."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    def over_at(self, now: float) -> float:
        return max((end for begin, end in self.spans if begin <= now < end), default=now)

    def check(self, now: float) -> None:
        if self.over_at(now) > now:
            raise Unavailable("the cloud does not answer", "try again")


class QuietMachines(SimMachines):
    """The cloud in a clock, without processes; each call takes a moment."""

    def __init__(self, cloud: SimCloud, time: SetClock, outages: Outages) -> None:
        super().__init__(settings())
        self.cloud, self.time, self.outages, self.clock = cloud, time, outages, time.clock()

    def _call(self) -> None:
        self.time.sleep(0.2)
        self.outages.check(self.time.at)

    def offers(self) -> Sequence[Offer]:
        self._call()
        return super().offers()

    def launch(self, spec: LaunchSpec) -> str:
        self._call()
        return super().launch(spec)

    def instances(self, token: str = "") -> Sequence[Instance]:
        self._call()
        return super().instances(token)

    def end(self, instance_id: str) -> None:
        self._call()
        super().end(instance_id)

    def place_on(self, instance: Instance, folder: Path) -> Place:
        return Place(LocalReach(folder), str(folder), (), "/", {}, None, name=instance.id, rented=True)

    def _switch_on(self, number: str) -> None:
        pass


def _history(dice: random.Random, name: str) -> History:
    """A session with a budget from its start until all of its machines are gone, and what they cost."""
    time = SetClock(at=1_800_000_000.0 + dice.uniform(0, 1e7))
    taken_s = dice.choice([None, 45.0, 600.0, 7200.0])
    cloud = MemoryCloud(
        Path(), clock=lambda: time.at, boot_s=dice.uniform(1, 9), taken_s=taken_s, seed=dice.randrange(1000)
    )
    outages = Outages()
    machines = QuietMachines(cloud, time, outages)
    offer = dice.choice([each for each in machines.offers() if each.spot or dice.random() < 0.5])
    budget = offer.dearest_usd_per_hour * math.exp(dice.uniform(math.log(0.02), math.log(30)))
    limits = Limits.of(offer.dearest_usd_per_hour, time.at, None, budget)
    length = budget / offer.dearest_usd_per_hour * 3600
    if cloud.taken_s:
        cloud.taken_s = max(cloud.taken_s, length / 20)  # hundreds of machines say no more
    for _ in range(dice.choice([0, 0, 1, 3])):
        begin = time.at + dice.uniform(0, length)
        outages.spans.append((begin, begin + dice.expovariate(1 / 900)))
    job = f"gpu-{name}-0a1b2c3d"
    write_job(job, name, limits.deadline_at)
    fields = {"provider": "sim", "gpu": offer.gpu, "usd_per_hour": offer.usd_per_hour, "started_at": time.at}
    ends = {"budget_usd": budget, "deadline_at": limits.deadline_at, "deadline_by": limits.deadline_by}
    open_store().commit([Record.new(name, SessionRecord(**fields, **ends, is_rented=True, handle=job))])
    time.sleep(dice.uniform(0.2, 3))
    _keep(machines, offer, job, name, dice)
    end_job(job)
    outages.spans.clear()
    time.sleep(dice.uniform(0, 3600))
    reaping.end(reaping.look({"sim": machines}).orphans, 120.0, {"sim": machines}, machines.clock)
    records = [each.body for each in open_store().list(MachineRecord)]
    assert not any(each.is_open for each in records)
    billed = sum((_bill(each) for each in cloud.machines()), Fraction(0))
    written = sum(each.spent_usd(time.at) for each in records)
    return History(budget, float(billed), written, offer.dearest_usd_per_hour, len(cloud.machines()))


def _keep(machines: QuietMachines, offer: Offer, job: str, name: str, dice: random.Random) -> None:
    """As a keeper does; one of ten is killed at some time, and nobody starts it again."""
    time, rental = machines.time, machines.source(KeptKernel.of(f"gpu:{name}"), offer, job)
    dies_at = time.at + dice.uniform(0, 7200) if dice.random() < 0.1 else math.inf
    place: Place | None = None
    with contextlib.suppress(LabError):
        while time.at < min(_deadline(job), dies_at):
            try:
                place = place or rental.obtain(lambda what: _check(time.at, job))
                machine = next(each for each in machines.cloud.machines() if each.id == place.name)
                time.at = max(time.at, min(machine.gone_at(), _deadline(job), dies_at))
                if time.at >= min(_deadline(job), dies_at):
                    break
                time.sleep(dice.uniform(0.5, 9.0))
                while (loss := rental.lost()) is None:
                    time.sleep(5.0)
                if not loss.may_replace:
                    break
                place = None
            except Unavailable:  # asking in between would tell no more
                time.at = min(machines.outages.over_at(time.at) + 5.0, max(time.at, dies_at) + 1.0)
    until = time.at + 600
    while time.at < until and time.at < dies_at:
        try:
            rental.release()
        except LabError:
            time.sleep(5.0)
        else:
            return


def _check(now: float, job: str) -> None:
    if now >= _deadline(job):
        raise LabError("nobody wants it any more", "…")


def _deadline(job: str) -> float:
    found = open_store().get(JobRecord, job)
    return found.body.deadline_at or math.inf


def _bill(machine: SimInstance) -> Fraction:
    """By code of its own: each second that was begun, and a minute at least."""
    seconds = max(60, math.ceil(Fraction(machine.gone_at()) - Fraction(machine.created_at)))
    return seconds * Fraction(repr(machine.usd_per_hour)) / 3600


@contextlib.contextmanager
def _workspace() -> Iterator[None]:
    """One whose store is in memory."""
    with tempfile.TemporaryDirectory() as temporary, mock.patch.object(sys, "path", [str(STORE), *sys.path]):
        home = Path(temporary, "workspace")
        home.mkdir()
        (home / "aiinfra.toml").write_text('[store]\nprovider = "memory"\n')
        variables = {"AIINFRA_WORKSPACE": str(home), "XDG_STATE_HOME": f"{temporary}/state"}
        with mock.patch.dict(os.environ, variables), contextlib.chdir(home), contextlib.ExitStack() as patches:
            # Settings are read again at each call, which is nearly all of the time that a history takes.
            store, where = sys.modules[__name__].open_store(), settings()
            make_home_id(where.home)
            for module in (sys.modules[__name__], renting, reaping, jobs, rented_life):
                patches.enter_context(mock.patch.object(module, "open_store", lambda: store))  # noqa: PT008  # a mock is slow
            for module in (renting, sim, rented_life, record, kept):
                patches.enter_context(mock.patch.object(module, "settings", lambda: where))  # noqa: PT008
            yield


def _forget() -> None:
    """What is over is not listed again by the next."""
    for store in sys.modules["memory_store"].STORES.values():
        store.rows, store.known = {}, {}
