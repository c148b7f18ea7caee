"""gpu.6: a machine that is taken away in the middle of training, and what the run on the next one learns."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from aiinfra_lab import data, features, gpu, train
from aiinfra_lab.gpu import sim_faults
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.train import history, record
from aiinfra_lab.train.results import Run
from tests.train.conftest import FEATURES, flights
from tests.train.test_taken import STEPS

from ._workspaces import workspace
from .rows import Figure, at_most, exactly, row

NAME, GRACE_S, LONGEST_S = "bench", 3.0, 300.0


@row(
    "gpu.6",
    "preemption in the middle of training",
    "losses equal; <= 1 step lost; <= 30 s from the new host",
    ("torch",),
)
def taken(full: bool) -> Iterator[Figure]:
    """On machines of sim, which have nothing of the workspace; the notice comes with the first step."""
    epochs, pause = (6, 1.0) if full else (2, 0.7)
    with workspace():
        session = gpu.start(NAME, on="sim", spot=True, for_="1h").uri
        given: dict[str, Any] = {"rows": _rows(), "code": STEPS, "on": session}
        undisturbed = train.run("delay", params={"epochs": epochs, "pause": 0.0}, **given)
        seen = _Taking()
        seen.start()
        run = train.run("delay", params={"epochs": epochs, "pause": pause}, **given)
        seen.join()
        before, after, whole = _losses(train.show("delay@2")), _losses(run), _losses(undisturbed)
        differ = sum({**before, **after}.get(step) != value for step, value in whole.items())
        note = f"{len(whole)} steps, taken {GRACE_S:g} s after a notice in step {min(after, default=0)}"
        yield Figure("steps whose loss differs", differ, "steps", exactly(0), note=note)
        again = len(before) + len(after) - len(whole)
        yield Figure("steps that were learned twice", again, "steps", at_most(1))
        first_at = min((point.at for point in _points(run)), default=float("inf"))
        note = f"the next machine was there {seen.up_at - seen.taken_at:.1f} s after the notice"
        yield Figure("from the new host to the next step", first_at - seen.up_at, "s", at_most(30), note=note)


class _Taking(threading.Thread):
    """Takes the machine once a step was learned. taken_at: when that was; up_at: when another one was there."""

    taken_at = up_at = 0.0

    def run(self) -> None:
        kept, end_at = KeptKernel.of(f"gpu:{NAME}"), time.time() + LONGEST_S
        machine = kept.state().machine
        while not self._has_learned() and time.time() < end_at:
            time.sleep(0.05)
        self.taken_at = time.time()
        sim_faults.take(NAME, GRACE_S)
        while kept.state().machine in ("", machine) and time.time() < end_at:
            time.sleep(0.02)
        self.up_at = time.time()

    def _has_learned(self) -> bool:
        with contextlib.suppress(Exception):  # it is not there yet
            return len(record.runs("delay")) == 2 and bool(_losses(train.show("delay@2")))
        return False


def _rows() -> str:
    flown = data.add("flights", flights())
    code = f"columns = {list(FEATURES)}\n"
    features.add("delay", data=flown, timestamp="sched_dep", label="late", id_="flight_id", code=code)
    return features.get("delay", rows=flown).uri


def _points(run: Run) -> list[history.Point]:
    return [point for point in history.read(run.path / history.FILE) if point.name == "loss"]


def _losses(run: Run) -> dict[int, float]:
    return {point.step: point.value for point in _points(run)}
