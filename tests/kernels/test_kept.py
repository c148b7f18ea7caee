"""The files of a kept kernel and its entry in the launcher, without a kernel; and a keeper of what is no session."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiinfra_lab import kernels
from aiinfra_lab.errors import Conflict, Unavailable, UsageProblem
from aiinfra_lab.kernels import KeptKernel, KernelState, client, keeper, kept, specs
from tests.conftest import until


@pytest.fixture
def step(workspace: Path) -> KeptKernel:
    """The kernel of a thing of another noun."""
    return KeptKernel.of("recipe:nightly")


def spec_folder(name: str) -> Path:
    return Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name


def test_it_is_found_by_the_uri_of_what_it_belongs_to(step, workspace):
    assert (step.name, step.folder) == ("nightly", workspace / ".aiinfra" / "recipe" / "nightly")
    assert step.workspace == workspace
    assert step == KeptKernel.of(step.uri) == KeptKernel.of("recipe:nightly", workspace)
    with pytest.raises(UsageProblem) as problem:
        KeptKernel.of("nightly")
    assert problem.value.fix == "write NOUN:nightly"


def test_one_process_keeps_it_and_the_error_speaks_of_its_noun(step):
    assert not step.is_alive()
    with step.hold():
        assert step.is_alive()
        with pytest.raises(Conflict) as problem:
            step.hold()
    assert problem.value.fix == "look at it with `%recipe show nightly`"
    assert not step.is_alive()


def test_its_state_is_what_was_written_last_and_for_its_owner_only(step):
    step.hold().close()
    assert step.state() == KernelState()
    step.write_state(KernelState(phase="ready", incarnation=2, kernel="aiinfra-nightly", at=5.0))
    assert (step.state().phase, step.state().incarnation) == ("ready", 2)
    assert (step.folder / "state.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", '{"phase": "dancing"}', "[]"])
def test_a_state_that_cannot_be_read_is_none(step, text):
    step.hold().close()
    (step.folder / "state.json").write_text(text)
    assert step.state() == KernelState()


def test_a_state_of_another_version_is_read_as_far_as_it_is_known(step):
    step.hold().close()
    (step.folder / "state.json").write_text('{"phase": "ready", "kernel_pid": 7, "colour": "red"}')
    assert step.state() == KernelState(phase="ready", kernel_pid=7)


def test_writing_makes_no_folder_where_the_workspace_is_gone(step):
    step.write_state(KernelState(phase="ended"))
    assert not step.folder.exists()


def test_sockets_that_no_file_could_name_are_gone_at_once(step, tmp_path, monkeypatch):
    step.hold().close()
    monkeypatch.setattr(kept, "_LONGEST_ROOT", 1000)
    monkeypatch.setattr(kept.tempfile, "gettempdir", lambda: str(tmp_path))
    before = set(tmp_path.iterdir())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(kept.files, "write_json", refuse)
    with pytest.raises(OSError, match="no space left"):
        step.open_sockets()
    assert set(tmp_path.iterdir()) == before


def test_its_sockets_are_gone_after_closing_which_may_be_repeated(step):
    step.hold().close()
    sockets = step.open_sockets()
    assert step.connection_info()["ip"] == str(sockets / "k")
    step.close_sockets()
    step.close_sockets()
    assert not sockets.exists()
    with pytest.raises(Unavailable) as problem:
        step.connection_info()
    assert problem.value.fix == "look again with `%recipe show nightly`"


@pytest.mark.parametrize("text", ['{"ip": "127.0.0.1"}', '{"ip": 1}', "{}", "[1]", "no JSON"])
def test_closing_deletes_nothing_that_a_connection_file_of_another_kind_names(step, workspace, text):
    step.hold().close()
    (workspace / "work.py").touch()
    step.connection.write_text(text)
    step.close_sockets()
    assert (workspace / "work.py").exists()
    assert not step.connection.exists()


def test_a_long_temporary_folder_does_not_make_the_sockets_unreachable(step, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    step.hold().close()
    sockets = step.open_sockets()
    assert len(str(sockets)) < kept._LONGEST_ROOT
    step.close_sockets()


def test_what_ended_says_why_and_how_it_is_started(step):
    assert client.gone(step).what == "there is no live kernel of recipe:nightly"
    step.hold().close()
    step.write_state(KernelState(phase="ended", why="deadline"))
    assert client.gone(step).what == "recipe:nightly has ended (deadline)"
    assert client.gone(step).fix == "start it: `%recipe start nightly`"


def test_code_for_a_kernel_that_does_not_live_is_refused(step):
    for kernel in (step, "recipe:nightly"):
        with pytest.raises(Unavailable, match="no live kernel of recipe:nightly"):
            kernels.execute(kernel, "1")


def test_nobody_else_may_write_its_entry_in_the_launcher_whatever_the_umask(step, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "share" / "jupyter"))
    before = os.umask(0)
    try:
        specs.write_spec(step, "nightly")
    finally:
        os.umask(before)
    made = [tmp_path / "share", *(tmp_path / "share").rglob("*")]
    assert len(made) == 5
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_its_entry_in_the_launcher_names_it_and_is_swept_when_it_is_gone(step):
    step.hold().close()
    assert specs.write_spec(step, "nightly · step 3") == "aiinfra-nightly"
    spec = json.loads((spec_folder("aiinfra-nightly") / "kernel.json").read_text())
    assert spec["display_name"] == "nightly · step 3"
    assert spec["metadata"]["kernel_provisioner"]["config"]["uri"] == "recipe:nightly"
    with step.hold():
        kernels.sweep(step)
        assert spec_folder("aiinfra-nightly").exists()
    kernels.sweep(step)
    assert not spec_folder("aiinfra-nightly").exists()


def test_entries_of_killed_keepers_are_swept_in_one_workspace_alone(step, workspace, tmp_path):
    living, foreign = KeptKernel.of("gpu:living"), KeptKernel.of("gpu:foreign", tmp_path / "other")
    step.hold().close()
    for kernel in (step, living, foreign):
        specs.write_spec(kernel, "a kernel")
    with living.hold():
        kernels.sweep_launcher(workspace)
    assert not spec_folder("aiinfra-nightly").exists()
    assert spec_folder("aiinfra-living").exists()
    assert spec_folder("aiinfra-foreign").exists()


def test_no_keeper_begins_while_what_the_one_before_left_is_swept(step, monkeypatch):
    step.hold().close()
    seen = []
    monkeypatch.setattr(specs, "remove_spec", lambda kernel: seen.append(kernel.is_alive()))
    kernels.sweep(step)
    assert (seen, step.is_alive()) == ([True], False)


def test_sweeping_makes_no_folder_where_the_workspace_is_gone(step):
    specs.write_spec(step, "a step")
    kernels.sweep(step)
    assert not spec_folder("aiinfra-nightly").exists()
    assert not step.folder.exists()


def test_two_nouns_with_one_name_have_two_entries(step):
    step.hold().close()
    specs.write_spec(step, "a step")
    with step.hold():
        assert specs.spec_name(KeptKernel.of("gpu:nightly")).startswith("aiinfra-nightly-")


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"metadata": {"kernel_provisioner": {"provisioner_name": "x"}}}'])
def test_an_entry_that_is_not_ours_is_left_alone(step, text):
    spec_folder("aiinfra-nightly2").mkdir(parents=True)
    (spec_folder("aiinfra-nightly2") / "kernel.json").write_text(text)
    specs.remove_spec(step)
    assert (spec_folder("aiinfra-nightly2") / "kernel.json").read_text() == text


OWNER = """
import pathlib, sys, time
from aiinfra_lab.kernels import KeptKernel, Lease, keeper

class Owner:
    def display_name(self): return 'a step'
    def lease(self): return Lease(float(sys.argv[1]) or None, 'its step is over')
    def ended(self, state): pathlib.Path('ended').write_text(f'{state.why} {state.exit_code}')

sys.exit(keeper.run(KeptKernel.of('recipe:nightly'), Owner()))
"""


def keep(deadline_at: float) -> subprocess.Popen[bytes]:
    """A keeper whose owner is no session, in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", OWNER, str(deadline_at)])


def test_a_keeper_serves_any_owner_and_tells_it_the_end(step, workspace):
    process = keep(0)
    until(lambda: step.state().phase == "ready")
    outputs: list[kernels.Output] = []
    assert kernels.execute(step, "print(6 * 7)", outputs.append)["status"] == "ok"
    assert outputs[0]["content"]["text"] == "42\n"
    process.terminate()
    assert process.wait(30) == 0
    assert (workspace / "ended").read_text().startswith("stopped ")
    assert (step.state().phase, step.state().why, step.is_alive()) == ("ended", "stopped", False)


def test_a_lease_that_is_over_ends_the_kernel_with_its_reason(step, workspace):
    process = keep(time.time() + 1)
    assert process.wait(60) == keeper.TIME_OVER
    assert (workspace / "ended").read_text().startswith("its step is over ")
    assert not step.connection.exists()
