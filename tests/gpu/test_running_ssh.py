"""One cell in a session on a machine with a real sshd: variables over a link that is cut, and a bare host."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aiinfra_lab import gpu
from aiinfra_lab.errors import Interrupted, Unavailable
from aiinfra_lab.kernels import CellFailed, KeptKernel
from tests.conftest import until
from tests.gpu.test_running import interrupted
from tests.kernels.test_keeper import kill_keeper
from tests.kernels.value_kinds import ARRAYS, PICKLED, PLAIN, ROWS, TENSORS, same
from tests.sshd import SshHost, needs_sshd

pytestmark = needs_sshd

MB = 1_000_000


@pytest.fixture
def far(workspace, tmp_path) -> Iterator[SshHost]:
    """A machine that the settings name, with a session on it."""
    host = SshHost(1, tmp_path / "far")
    lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    gpu.start("trainer", on="ssh")
    yield host
    host.set_link("up")
    gpu.stop("trainer")
    host.remove()


@pytest.fixture
def there(far) -> Path:
    """The folder of the exchanges on that machine."""
    home = gpu.run("trainer", "import os; home = os.path.expanduser('~')", outputs="home")["home"]
    job = gpu.sessions.find("trainer").body.handle
    return Path(home) / ".cache" / "aiinfra-lab" / "sessions" / str(job) / "exchange"


def size(path: Path, pattern: str) -> int:
    return sum(each.stat().st_size for each in path.glob(pattern))


def in_the_middle(how_far: Callable[[], int], marks: list[int], act: Callable[[], None]) -> None:
    """Do that, beside what goes on here, each time that so much has passed."""

    def watch() -> None:
        for mark in marks:
            until(lambda mark=mark: how_far() >= mark)
            act()

    threading.Thread(target=watch).start()


def cut(far: SshHost) -> None:
    far.set_link("down")
    time.sleep(1)
    far.set_link("up")
    far.move()


@pytest.mark.parametrize("kind", [PLAIN, ARRAYS, TENSORS, ROWS, PICKLED])
def test_every_kind_comes_back_as_it_was(far, kind):
    back = gpu.run("trainer", "", inputs=kind, outputs=[*kind]).values
    odd = {"instance", "partial"}  # which know no equality
    assert [name for name in kind if name not in odd and not same(back[name], kind[name])] == []


def test_200_mb_go_there_over_a_link_that_is_cut_twice(far, there):
    rows = np.random.default_rng(1).integers(0, 255, 200 * MB, np.uint8)
    modes: set[int] = set()

    def cut_and_look() -> None:
        modes.update(path.stat().st_mode & 0o777 for path in [there, *there.iterdir()])
        cut(far)

    in_the_middle(lambda: size(there, "*.in"), [30 * MB, 120 * MB], cut_and_look)
    run = gpu.run("trainer", "import hashlib\nh = hashlib.sha256(rows).hexdigest()", inputs={"rows": rows}, outputs="h")
    assert run["h"] == hashlib.sha256(rows).hexdigest()
    assert modes == {0o600, 0o700}
    until(lambda: list(there.iterdir()) == [])


def test_200_mb_come_back_over_a_link_that_is_cut_twice(far):
    here = KeptKernel.of("gpu:trainer").folder / "exchange"
    in_the_middle(lambda: size(here, "*/out"), [30 * MB, 120 * MB], lambda: cut(far))
    code = f"import numpy as np\nout = np.random.default_rng(1).integers(0, 255, {200 * MB}, np.uint8)"
    back = gpu.run("trainer", code, outputs="out")["out"]
    assert np.array_equal(back, np.random.default_rng(1).integers(0, 255, 200 * MB, np.uint8))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_keeper_that_is_killed_on_the_way_goes_on_there(far, there, way):
    rows = np.random.default_rng(1).integers(0, 255, 100 * MB, np.uint8)
    folder, pattern = (there, "*.in") if way == "there" else (KeptKernel.of("gpu:trainer").folder, "exchange/*/out")
    in_the_middle(lambda: size(folder, pattern), [30 * MB], lambda: kill_keeper("trainer"))
    assert np.array_equal(gpu.run("trainer", "", inputs={"rows": rows}, outputs="rows")["rows"], rows)
    until(lambda: list(there.iterdir()) == [])


def test_messages_pass_while_variables_do(far, there):
    """What the kernel prints is not kept waiting by the pieces of a large value."""
    gpu.run("trainer", "big = bytes(100_000_000)")
    waits: list[float] = []

    def ask() -> None:
        while not waits or waits[-1] >= 0:
            began = time.monotonic()
            gpu.run("trainer", "pass")
            waits.append(time.monotonic() - began)
            if size(KeptKernel.of("gpu:trainer").folder / "exchange", "*/out") == 0 and len(waits) > 3:
                return

    asking = threading.Thread(target=ask)
    asking.start()
    assert len(gpu.run("trainer", "", outputs="big")["big"]) == 100_000_000
    asking.join()
    assert max(waits) < 5


def test_a_full_disk_there_is_an_error_of_the_cell(far, there):
    far.run("mkdir", "-p", str(there))
    far.run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(there))
    with pytest.raises(Unavailable, match="on the machine of the kernel: No space left on device"):
        gpu.run("trainer", "ran = 1", inputs={"rows": bytes(30 * MB)})
    with pytest.raises(Unavailable, match="on the machine of the kernel: No space left on device"):
        gpu.run("trainer", f"rows = bytes({30 * MB})", outputs="rows")
    assert gpu.run("trainer", "a = 'ran' in globals()", outputs="a")["a"] is False
    until(lambda: far.run("ls", str(there)) == "")


def test_a_full_disk_here_is_an_error_of_the_cell(far):
    here = KeptKernel.of("gpu:trainer").folder / "exchange"
    here.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(here)], check=True)
    try:
        with pytest.raises(Unavailable, match="the disk is full"):
            gpu.run("trainer", "ran = 1", inputs={"rows": bytes(30 * MB)})
        with pytest.raises(Unavailable, match="cannot go between here and gpu:trainer: No space left on device"):
            gpu.run("trainer", f"rows = bytes({30 * MB})", outputs="rows")
        assert gpu.run("trainer", "a = 'ran' in globals()", outputs="a")["a"] is False
        assert list(here.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(here)], check=True)


def test_an_error_has_the_traceback_from_there(far):
    with pytest.raises(CellFailed, match=r"^ZeroDivisionError: division by zero") as problem:
        gpu.run("trainer", "def ratio():\n    return 1 / 0\nratio()", inputs={"a": 1}, outputs="b")
    assert "line 2" in "\n".join(problem.value.trace)


def test_ctrl_c_interrupts_the_cell_there(far):
    problem = interrupted(4, "import time\ntime.sleep(100)", inputs={"a": 1})
    assert isinstance(problem, Interrupted)
    assert problem.what == "the cell was interrupted in gpu:trainer"
