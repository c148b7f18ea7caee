"""When a keeper syncs the project's files, without a host: what it asked for is counted."""

import os
import time

from aiinfra_lab.errors import Unavailable
from aiinfra_lab.kernels import KeptKernel, Place, project
from aiinfra_lab.kernels.project import ProjectCopy
from aiinfra_lab.kernels.reach import LocalReach
from aiinfra_lab.kernels.sync import SyncReport
from tests.conftest import until


def test_a_sync_that_was_cut_is_tried_again_though_nobody_has_asked(workspace, monkeypatch):
    tries: list[float] = []

    def cut_once(*_: object) -> SyncReport:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise Unavailable("the connection ended", "sync again")
        return SyncReport()

    monkeypatch.setattr(ProjectCopy, "_sync", cut_once)
    monkeypatch.setattr(project, "_AGAIN_S", 0.1)
    monkeypatch.setattr(project, "QUIET_S", 0.1)
    _, wakeup = os.pipe()
    copy = ProjectCopy(KeptKernel.of("gpu:trainer"), workspace, has_files=True, has_packages=False)
    place = Place(LocalReach(workspace), str(workspace), [], str(workspace), {}, None)

    def turn() -> None:
        copy.turn(place, 7, wakeup)

    until(lambda: turn() or len(tries) == 2)
    for _ in range(20):
        turn()
        time.sleep(0.02)
    assert len(tries) == 2
