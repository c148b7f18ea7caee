"""A cloud in a clock: machines with prices, zones that are full, boots that take time, spot machines that are taken.

Its kernels are real, and run on this machine; only the renting is made up. It is for workshops, for notebooks that show
what a cloud does without one, and for tests. Nothing is paid.

The state of a machine follows from what was written down when it was launched and from the time. A process stands for
each: when its machine is gone, it ends what runs on it.

`python -m aiinfra_lab.gpu.sim run|off FOLDER ID`
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from .. import files, jobs, modes
from ..config import Settings, settings
from ..host import processes
from ..host.notice import FILE as NOTICE
from ..host.spec import read_state
from ..jobs.home import home_id
from ..kernels import KeptKernel, Place, keeper
from ..units import parse_duration
from .base import NoCapacity, Offer
from .renting import Instance, LaunchSpec, RentingMachines
from .sim_reach import SimReach

_ZONES = ("sim-1a", "sim-1b", "sim-1c")
_LOOK_S = 0.1
_POLITE_S = 6.0
_DEAREST_SPOT = 0.6  # of the price on demand
_END_S = 0.3  # from a request to the end of a machine


class SimType(msgspec.Struct, frozen=True):
    """A kind of machine, and what an hour of it costs on demand; about what clouds asked in 2025.

    count: of accelerators, a share of one where it has less.
    """

    name: str
    gpu: str
    memory_gib: float | None
    usd_per_hour: float
    count: float = 1.0


TYPES = (
    SimType("sim.cpu", "cpu", None, 0.04),
    SimType("sim.t4", "T4", 16.0, 0.53),
    SimType("sim.l4.quarter", "L4", 6.0, 0.22, 0.25),
    SimType("sim.l4", "L4", 24.0, 0.80),
    SimType("sim.a10g", "A10G", 24.0, 1.01),
    SimType("sim.a100.1g", "A100-80GB-1g.10gb", 10.0, 0.56),
    SimType("sim.a100", "A100-80GB", 80.0, 3.43),
    SimType("sim.h100", "H100", 80.0, 6.88),
)


class SimInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it was launched. Times in epoch seconds; taken_at: when its spot machine is taken, None for never;
    asked_at: when its end was asked for, or it ended itself."""

    id: str
    owner: str
    session: str
    token: str
    type: str
    zone: str
    spot: bool
    usd_per_hour: float
    created_at: float
    boots_at: float
    expires_at: float
    taken_at: float | None = None
    asked_at: float | None = None

    def gone_at(self) -> float:
        asked = math.inf if self.asked_at is None else self.asked_at + _END_S
        return min(asked, self.expires_at, math.inf if self.taken_at is None else self.taken_at)

    def at(self, now: float) -> Instance:
        """What it does at that time."""
        gone_at = self.gone_at()
        state = "pending" if now < self.boots_at else "running"
        why = "boots" if state == "pending" else ""
        if now >= gone_at:
            is_taken = gone_at == self.taken_at
            why = "its spot machine was taken" if is_taken else "deadline" if gone_at == self.expires_at else "stopped"
            state = "gone"
        elif self.asked_at is not None:
            state = "ending"
        return Instance(
            id=self.id,
            session=self.session,
            token=self.token,
            state=state,  # type: ignore[arg-type]
            why=why,
            is_taken=state == "gone" and gone_at == self.taken_at,
            created_at=self.created_at,
            expires_at=self.expires_at,
            usd_per_hour=self.usd_per_hour,
            ended_at=gone_at if state == "gone" else None,
        )


class SimCloud:
    """The machines of one folder. clock: epoch seconds. room: how many machines of a type a zone has. boot_s: until one
    runs. taken_s: the mean time until a spot machine is taken; None for never."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        room: int = 4,
        boot_s: float = 1.5,
        taken_s: float | None = None,
        seed: int = 0,
    ) -> None:
        self.folder, self.clock, self.room, self.boot_s, self.taken_s = folder, clock, room, boot_s, taken_s
        self._seed = seed

    def usd_per_hour(self, kind: SimType, zone: str, *, spot: bool) -> float:
        """The price now; that of a spot machine changes every hour."""
        if not spot:
            return kind.usd_per_hour
        draw = random.Random(f"{self._seed}/{kind.name}/{zone}/{self.clock() // 3600:.0f}")  # noqa: S311  # no secret
        return round(kind.usd_per_hour * draw.uniform(0.3, _DEAREST_SPOT), 4)

    def launch(self, spec: LaunchSpec, kind: SimType, zone: str) -> SimInstance:
        """Create a machine; that of the token when there is one. NoCapacity when the zone has no room."""
        with self._writing() as machines:
            known = [each for each in machines.values() if each.token == spec.token]
            if known:
                return known[0]
            now = self.clock()
            same = [each for each in machines.values() if (each.type, each.zone) == (kind.name, zone)]
            if sum(each.at(now).state != "gone" for each in same) >= self.room:
                raise NoCapacity(f"{zone} has no room for {kind.name}", "ask for another type, or later")
            usd_per_hour = self.usd_per_hour(kind, zone, spot=spec.offer.spot)
            if usd_per_hour > spec.offer.dearest_usd_per_hour:
                raise NoCapacity(f"{kind.name} in {zone} has become dearer", "look again at what there is")
            number = f"sim-{hashlib.sha256(spec.token.encode()).hexdigest()[:10]}"
            taken_at = None
            if spec.offer.spot and self.taken_s is not None:
                draw = random.Random(f"{self._seed}/{spec.token}")  # noqa: S311  # no secret
                taken_at = now + self.boot_s + draw.expovariate(1 / self.taken_s)
            machines[number] = SimInstance(
                id=number,
                owner=spec.owner,
                session=spec.session,
                token=spec.token,
                type=kind.name,
                zone=zone,
                spot=spec.offer.spot,
                usd_per_hour=usd_per_hour,
                created_at=now,
                boots_at=now + self.boot_s,
                expires_at=spec.deadline_at,
                taken_at=taken_at,
            )
            return machines[number]

    def machines(self) -> list[SimInstance]:
        """All that there ever were."""
        return list(self._read().values())

    def change(self, number: str, **changes: float) -> None:
        """Change a machine; one that never was is fine."""
        with self._writing() as machines:
            if number in machines:
                machines[number] = replace(machines[number], **changes)

    def end(self, number: str) -> None:
        """Ask for the end of a machine; may be repeated."""
        with self._writing() as machines:
            if number in machines and machines[number].asked_at is None:
                machines[number] = replace(machines[number], asked_at=self.clock())

    @contextmanager
    def _writing(self) -> Iterator[dict[str, SimInstance]]:
        files.make_private_folder(self.folder)
        with files.lock(self.folder / "lock"):
            machines = self._read()
            yield machines
            files.write_json(self.folder / "machines.json", msgspec.to_builtins(machines), mode=modes.OWNER_ONLY)

    def _read(self) -> dict[str, SimInstance]:
        try:
            return msgspec.json.decode((self.folder / "machines.json").read_bytes(), type=dict[str, SimInstance])
        except FileNotFoundError:
            return {}


class SimMachines(RentingMachines):
    """See `RentingMachines`. A device is type and zone."""

    name = "sim"
    listed_s = 0.0
    has_our_files = True

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        taken = where.get("gpu.sim_taken_after", "")
        self.cloud = SimCloud(
            where.home / "gpu-sim",
            room=where.get("gpu.sim_room", 4),
            boot_s=parse_duration(where.get("gpu.sim_boot", "1.5s")),
            taken_s=parse_duration(taken) if taken else None,
        )

    def offers(self) -> Sequence[Offer]:
        now = self.cloud.clock()
        living = [(each.type, each.zone) for each in self.cloud.machines() if each.at(now).state != "gone"]
        found = [
            Offer(
                kind.gpu,
                self.cloud.usd_per_hour(kind, zone, spot=spot),
                kind.memory_gib,
                count=kind.count,
                device=f"{kind.name}/{zone}",
                type=kind.name,
                where=zone,
                spot=spot,
                worst_usd_per_hour=kind.usd_per_hour * _DEAREST_SPOT if spot else None,
            )
            for kind in TYPES
            for zone in _ZONES
            for spot in (False, True)
            if living.count((kind.name, zone)) < self.cloud.room
        ]
        return sorted(found, key=lambda offer: offer.usd_per_hour)

    def launch(self, spec: LaunchSpec) -> str:
        kind, zone = spec.offer.device.split("/")
        machine = self.cloud.launch(spec, next(each for each in TYPES if each.name == kind), zone)
        if machine.at(self.cloud.clock()).state != "gone":
            self._switch_on(machine.id)
        return machine.id

    def instances(self, token: str = "") -> Sequence[Instance]:
        now, owner = self.cloud.clock(), home_id(settings().home)
        found = [(each, each.at(now)) for each in self.cloud.machines() if each.owner == owner]
        return [at for each, at in found if (at.token == token if token else at.state != "gone")]

    def end(self, instance_id: str) -> None:
        self.cloud.end(instance_id)

    def move_end(self, instance_id: str, deadline_at: float) -> None:
        self.cloud.change(instance_id, expires_at=deadline_at)

    def place_on(self, instance: Instance, folder: Path) -> Place:
        there = _folder_of(self.cloud.folder, instance.id)
        plain = keeper.here(KeptKernel.of(f"gpu:{instance.session}"))
        return Place(
            reach=SimReach(there),
            folder=str(there),
            argv=plain.argv,
            cwd=plain.cwd,
            env={**plain.env, NOTICE: str(there / "notice")},
            alone_s=None,
            name=instance.id,
            rented=True,
            at_end=_command("off", self.cloud.folder, instance.id),
            projects=str(there / "projects"),
        )

    def _switch_on(self, number: str) -> None:
        """Have a process stand for the machine, which no job of this machine is taken for."""
        where = settings()
        subprocess.run(
            _command("run", self.cloud.folder, number),
            env=jobs.child_environment(where.workspace, where.project),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def _command(verb: str, folder: Path, number: str) -> list[str]:
    return [sys.executable, "-m", "aiinfra_lab.gpu.sim", verb, str(folder), number]


def _folder_of(cloud: Path, number: str) -> Path:
    return cloud / number


def _stand_for(cloud: SimCloud, number: str) -> None:
    """End what runs on the machine when it is gone; nothing where there is such a process already."""
    folder = _folder_of(cloud.folder, number)
    files.make_private_folder(folder)
    if files.take_lock(folder / "power", patience_s=0.0) is None:
        return
    while any(each.id == number and each.at(cloud.clock()).state != "gone" for each in cloud.machines()):
        time.sleep(_LOOK_S)
    until = time.monotonic() + _POLITE_S
    while (state := read_state(folder)) is not None and state.socket:
        late = time.monotonic() > until
        processes.signal_process(state.pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(_LOOK_S)
        if late:
            return  # the core ends with its guard


def main(verb: str, folder: str, number: str) -> int:
    """See this file's beginning."""
    cloud = SimCloud(Path(folder))
    if verb == "off":
        cloud.end(number)
    elif os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _stand_for(cloud, number)
        os._exit(0)
    else:
        os.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
