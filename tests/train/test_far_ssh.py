"""Training on a machine with a real sshd that has nothing of the workspace, also when the link breaks in the middle."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab import gpu, train
from aiinfra_lab.store import open_store
from aiinfra_lab.train import history, record
from aiinfra_lab.train.record import TrainingRun
from tests.conftest import until
from tests.sshd import SshHost, needs_sshd

from .conftest import CODE
from .test_run import LOOP

pytestmark = needs_sshd


@pytest.fixture
def far(rows, workspace, tmp_path) -> Iterator[SshHost]:
    """A machine that the settings name, with a session on it."""
    host = SshHost(1, tmp_path / "far")
    lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    gpu.start("far", on="ssh")
    yield host
    host.set_link("up")
    gpu.stop("far")
    host.remove()


def body(name: str) -> TrainingRun:
    return open_store().get(TrainingRun, name).body


def test_its_record_and_its_files_are_those_of_a_run_here(rows, far, capsys):
    code = CODE + "\nprint('learned', run.params.epochs)"
    there = train.run("delay", rows=rows, code=code, params={"epochs": 2}, on="gpu:far")
    assert "learned 2" in capsys.readouterr().out
    here = train.run("delay", rows=rows, code=code, params={"epochs": 2})
    own = {"on", "planned_by", "started_at", "ended_at", "tracked_as", "files"}
    fields = [name for name in TrainingRun.__struct_fields__ if name not in own]
    assert [name for name in fields if getattr(body("delay@1"), name) != getattr(body("delay@2"), name)] == []
    assert there.on == "gpu:far"
    files = [body(f"delay@{version}").files for version in (1, 2)]
    assert [*files[0]] == [*files[1]]  # torch writes into the ONNX file where the code that exported it lies
    assert files[0]["weights.safetensors"] == files[1]["weights.safetensors"]
    points = [
        [(each.name, each.step, each.value) for each in history.read(run.path / history.FILE)] for run in (there, here)
    ]
    assert points[0] == points[1]
    names = [
        {path.relative_to(run.path).as_posix() for path in run.path.rglob("*")} - {"far.json"} for run in (there, here)
    ]
    assert names[0] == names[1]
    assert train.log("delay@1").lines == train.log("delay@2").lines == ("learned 2",)


@pytest.mark.slow
def test_a_link_that_is_cut_for_20_s_costs_no_measurement(rows, far):
    def cut() -> None:
        until(lambda: record.runs("delay") and train.show("delay").checkpoint is not None)
        far.set_link("down")
        time.sleep(20)
        far.set_link("up")

    cutting = threading.Thread(target=cut)
    cutting.start()
    code = LOOP.format(then="time.sleep(0.3)")
    run = train.run("delay", rows=rows, code=code, params={"epochs": 100}, on="gpu:far")
    cutting.join()
    points = [point for point in history.read(run.path / history.FILE) if point.name == "loss"]
    assert [(point.step, point.value) for point in points] == [(step, 1 / (step + 1)) for step in range(100)]
    assert (run.state, run.checkpoint) == ("done", 99)


def test_code_finds_the_modules_beside_the_notebook_where_the_project_is_synced(rows, workspace, tmp_path):
    host = SshHost(1, tmp_path / "far", tmp_path / "home")
    (tmp_path / "home").mkdir()
    try:
        lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
        (workspace / "aiinfra.toml").write_text("\n".join(lines))
        gpu.start("far", on="ssh", sync=True)
        (workspace / "losses.py").write_text("import torch\n\n\ndef of_step(step):\n    return 1.0 / step\n")
        code = "import losses\nrun.log(loss=losses.of_step(2))\n" + CODE
        train.run("delay", rows=rows, code=code, params={"epochs": 1}, on="gpu:far")
        logged = [each.value for each in history.read(record.folder("delay@1") / history.FILE) if each.name == "loss"]
        assert logged[0] == 0.5
        gpu.stop("far")
    finally:
        host.remove()
