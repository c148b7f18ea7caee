"""When a keeper syncs the project's files, without a host: what it asked for is counted."""

import json
import os
import time

from aiinfra_lab.errors import Unavailable
from aiinfra_lab.kernels import KeptKernel, Place, project
from aiinfra_lab.kernels.project import ProjectCopy
from aiinfra_lab.kernels.reach import LocalReach
from aiinfra_lab.kernels.sync import SyncReport
from tests.conftest import until


def test_a_mistake_in_a_sync_is_an_error_of_whoever_asked_and_no_end_of_the_kernel(workspace, monkeypatch):
    def fail(*_: object) -> SyncReport:
        raise TypeError("a mistake")

    monkeypatch.setattr(ProjectCopy, "_sync", fail)
    _, wakeup = os.pipe()
    kernel = KeptKernel.of("gpu:trainer")
    copy = ProjectCopy(kernel, workspace, has_files=True, has_packages=False)
    asked = kernel.folder / project.FOLDER / "asked" / "token"
    asked.parent.mkdir(parents=True)
    asked.touch()
    answered = asked.parents[1] / "answered" / "token"
    answered.parent.mkdir()
    place = Place(LocalReach(workspace), str(workspace), [], str(workspace), {}, None)
    until(lambda: copy.turn(place, 0, wakeup) or answered.exists())
    kind, what, _ = json.loads(answered.read_text())["problem"]
    assert (kind, what) == ("Failed", "the project's files were not synced: TypeError: a mistake")


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
