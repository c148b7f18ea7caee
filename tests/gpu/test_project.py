"""The project's files and packages on a machine with a real sshd: the same on both sides, whatever happens between."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab import gpu
from aiinfra_lab.errors import Conflict, LabError
from aiinfra_lab.kernels import CellFailed, KeptKernel, client, project
from aiinfra_lab.kernels.provisioner import in_project
from tests.conftest import until
from tests.kernels.test_keeper import kill_keeper
from tests.sshd import SshHost, needs_sshd

pytestmark = [*needs_sshd, pytest.mark.slow]  # ten seconds each; tests/kernels has each part of it


@pytest.fixture
def far(workspace, tmp_path) -> Iterator[SshHost]:
    """A machine that the settings name, with a home of its own."""
    host = SshHost(1, tmp_path / "far", tmp_path / "home")
    (tmp_path / "home").mkdir()
    lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    (workspace / "helpers.py").write_text("def double(x):\n    return 2 * x\n")
    (workspace / ".env").write_text("SECRET=1\n")
    yield host
    host.set_link("up")
    for each in gpu.ls():
        gpu.stop(each.uri)
    host.remove()


@pytest.fixture
def there(far, tmp_path) -> Path:
    """The folder of the project on that machine, where a session works in it."""
    gpu.start("trainer", on="ssh", sync=True, for_="1h")
    [found] = (tmp_path / "home" / "aiinfra-lab").iterdir()
    return found


def test_code_finds_the_project_there_and_what_it_writes_comes_back(workspace, there):
    code = "import helpers, os\nx = helpers.double(21)\nopen('out.csv', 'w').write('a,b')"
    done = gpu.run("trainer", code, outputs="x")
    assert done["x"] == 42
    assert (workspace / "out.csv").read_text() == "a,b"
    assert "1 file" in str(done.card().lead)
    assert not (there / ".env").exists()
    assert not (there / ".aiinfra" / "gpu").exists()


def test_what_changes_here_is_there_before_the_next_cell(workspace, there):
    gpu.run("trainer", "pass")
    (workspace / "more.py").write_text("y = 5\n")
    (workspace / "helpers.py").unlink()
    assert gpu.run("trainer", "import more\nx = more.y", outputs="x")["x"] == 5
    assert not (there / "helpers.py").exists()


def test_of_what_changed_on_both_sides_both_are_kept_and_that_is_said(workspace, there):
    gpu.run("trainer", "pass")
    (workspace / "helpers.py").write_text("mine = 1\n")
    (there / "helpers.py").write_text("theirs = 1\n")
    done = gpu.run("trainer", "pass")
    [kept] = workspace.glob("helpers.py.conflict-*")
    assert (workspace / "helpers.py").read_text() == "mine = 1\n"
    assert kept.read_text() == "theirs = 1\n"
    assert kept.name in str(done.card().lead)
    shown = gpu.show("trainer").card()
    assert kept.name in str(shown.lead)
    assert ("files", f"synced with ~/aiinfra-lab/{there.name} there") in shown.facts


def test_a_cell_that_fails_brings_its_files_too(workspace, there):
    with pytest.raises(CellFailed, match="ZeroDivisionError"):
        gpu.run("trainer", "open('half', 'w').write('x')\n1 / 0")
    assert (workspace / "half").read_text() == "x"


def test_what_a_notebook_on_the_kernel_wrote_comes_by_itself(workspace, there):
    client.send_code(KeptKernel.of("gpu:trainer"), "open('alone', 'w').write('x')", 30)
    until((workspace / "alone").exists)


def test_a_cut_link_and_a_keeper_that_is_killed_cost_nothing(workspace, far, there):
    far.set_link("down")
    (workspace / "later.py").write_text("z = 1\n")
    code = "from aiinfra_lab import gpu; gpu.run('trainer', 'import later; open(\"seen\", \"w\").write(str(later.z))')"
    running = subprocess.Popen([sys.executable, "-c", code])
    kernel = KeptKernel.of("gpu:trainer")
    until(lambda: kernel.state().unreached_at)
    kill_keeper("trainer")
    time.sleep(1)
    far.set_link("up")
    assert running.wait(120) == 0
    assert (workspace / "seen").read_text() == "1"


def test_a_second_start_sends_nothing_again_and_a_stop_leaves_the_files_there(workspace, there):
    gpu.run("trainer", "open('kept', 'w').write('x')")
    gpu.stop("trainer")
    assert (there / "kept").exists()
    gpu.start("trainer", on="ssh", sync=True, for_="1h")
    assert project.last_report(KeptKernel.of("gpu:trainer")) is None
    assert gpu.run("trainer", "x = open('kept').read()", outputs="x")["x"] == "x"


def test_what_was_written_last_is_here_when_the_time_is_over(workspace, far):
    gpu.start("trainer", on="ssh", sync=True, for_="25s")
    kernel = KeptKernel.of("gpu:trainer")
    last = "import time, threading\nwrite = lambda: (time.sleep(3), open('last', 'w').write('x'))\n"
    last += "threading.Thread(target=write).start()"
    client.send_code(kernel, last, 30)
    until(lambda: gpu.show("trainer").state.startswith("ended"))
    assert (workspace / "last").exists()


def test_more_than_anybody_meant_is_refused_with_what_it_is(workspace, far):
    with (workspace / "aiinfra.toml").open("a") as settings:
        settings.write("\nsync_bytes = 1000\n")
    (workspace / "big").mkdir()
    (workspace / "big" / "file").write_bytes(bytes(5000))
    with pytest.raises(LabError, match=r"big \(4\.9 KiB") as problem:
        gpu.start("trainer", on="ssh", sync=True, for_="1h")
    assert "`/big`" in problem.value.fix
    (workspace / ".aiinfraignore").write_text("/big\n")
    assert gpu.start("trainer", on="ssh", sync=True, for_="1h").state == "running"


def test_a_kernel_that_lives_is_not_given_a_project(workspace, far):
    gpu.start("trainer", on="ssh", for_="1h")
    with pytest.raises(Conflict, match="without --sync") as problem:
        gpu.start("trainer", sync=True)
    assert "--on ssh --sync" in problem.value.fix


def test_a_start_on_one_that_lives_syncs_now(workspace, there):
    (workspace / "new.py").write_text("x = 1\n")
    found = gpu.start("trainer", sync=True)
    assert (there / "new.py").exists()
    assert any("1 file" in note for note in found.notes)


def test_on_this_machine_both_are_said_to_have_no_effect(workspace):
    found = gpu.start("trainer", on="local", sync=True, environment=True, for_="1h")
    assert any("--sync and --environment have no effect" in note for note in found.notes)
    gpu.stop("trainer")


def test_a_notebook_works_in_its_own_folder_of_the_project(workspace, there):
    state = KeptKernel.of("gpu:trainer").state()
    assert eval(in_project(state, str(workspace / "notebooks"))).endswith(f"{there.name}/notebooks")
    assert eval(in_project(state, "/elsewhere")) == "/elsewhere"


@pytest.mark.slow  # downloads and installs packages
def test_the_environment_is_made_there_from_the_lock_and_found_again(workspace, far, tmp_path):
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    wheels = tmp_path / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "-d", str(wheels), "ipykernel", "tabulate"], check=True
    )
    (tmp_path / "home" / ".local" / "bin").mkdir(parents=True)
    (tmp_path / "home" / ".local" / "bin" / "uv").symlink_to(uv)
    settings = tmp_path / "home" / ".config" / "uv"
    settings.mkdir(parents=True)
    (settings / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    (workspace / "requirements.txt").write_text("tabulate\n")
    gpu.start("trainer", on="ssh", environment=True, for_="1h")
    done = gpu.run("trainer", "import sys, tabulate\nx, y = sys.prefix, tabulate.__version__", outputs=("x", "y"))
    assert done["x"].startswith(str(tmp_path / "home"))
    made = [*Path(done["x"]).parent.iterdir()]
    gpu.stop("trainer")
    gpu.start("trainer", on="ssh", environment=True, for_="1h")
    assert sorted(Path(done["x"]).parent.iterdir()) == sorted(made)


def test_a_project_without_a_list_of_packages_says_what_to_make(workspace, far):
    with pytest.raises(LabError, match=r"has none of uv\.lock") as problem:
        gpu.start("trainer", on="ssh", environment=True, for_="1h")
    assert "uv lock" in problem.value.fix
