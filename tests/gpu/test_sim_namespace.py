"""What a session still has when its machine is taken away, and what its next cell says of that."""

import re
import threading
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab import files, gpu, kernels
from aiinfra_lab.config import settings
from aiinfra_lab.gpu import sim_faults
from aiinfra_lab.gpu.sim import SimMachines
from aiinfra_lab.kernels import KeptKernel
from aiinfra_lab.kernels.namespace import FILE
from tests.conftest import until
from tests.kernels.test_keeper import kill_keeper

NAMES = """
import random, socket
import numpy as np
factor = 2
def area(x):
    return factor * x
class Point:
    def __init__(self, x): self.x = area(x)
rows = np.arange(1000.0)
view = {'rows': rows}
point = Point(3)
sock = socket.socket()
"""


@pytest.fixture
def session(workspace) -> Iterator[KeptKernel]:
    gpu.start("far", on="sim", spot=True, for_="1h")
    yield KeptKernel.of("gpu:far")
    gpu.stop("far")


def run(code: str) -> str:
    printed: list[str] = []
    reply = kernels.execute("gpu:far", code, lambda output: printed.append(output["content"].get("text", "")))
    assert reply["status"] == "ok", reply
    return "".join(printed)


def is_saved(session: KeptKernel) -> bool:
    return (session.folder / FILE).exists()


def announce(session: KeptKernel, notice_s: float = 90) -> None:
    """Have the machine's provider say that it takes it, long before it does."""
    machines = SimMachines(settings())
    files.write(machines.cloud.folder / session.state().machine / "notice", str(time.time() + notice_s))


def taking(notice_s: float) -> threading.Thread:
    thread = threading.Thread(target=sim_faults.take, args=("far", notice_s))
    thread.start()
    return thread


def test_the_next_machine_has_the_names_and_says_which_not(session):
    run(NAMES)
    machine = session.state().machine
    announce(session)
    until(lambda: is_saved(session))
    sim_faults.take("far")
    code = "factor = 3\nprint(area(1), point.x, Point(1).x, view['rows'] is rows, rows.sum(), random.__name__)"
    said, shown = run(code).splitlines()
    assert re.fullmatch(
        r"\[gpu:far is on another machine since \d\d:\d\d \(its spot machine was taken\); 9 of 10 names are back; "
        r"`sock` could not be saved \(socket\.socket\)\]",
        said,
    )
    assert shown == "3 6 3 True 499500.0 random"
    assert session.state().machine != machine
    assert run("print(1)") == "1\n"
    until(lambda: not is_saved(session) and not (session.folder / "exchange" / FILE).exists())


def test_what_is_run_after_the_notice_is_saved_too(session):
    run("x = 1")
    announce(session)
    until(lambda: is_saved(session))
    before = (session.folder / FILE).stat().st_ino
    run("x = 2\ny = 3")
    until(lambda: (session.folder / FILE).stat().st_ino != before)
    sim_faults.take("far")
    assert run("print(x, y)").endswith("; 2 of 2 names are back]\n2 3\n")


def test_a_cell_that_runs_until_the_machine_is_taken_leaves_an_empty_kernel(session):
    run("x = 1")
    thread = taking(4)
    with pytest.raises(kernels.MachineLost):
        run("import time; time.sleep(600)")
    thread.join()
    assert run("print('x' in globals())").endswith("; its kernel begins empty]\nFalse\n")


def test_a_cell_that_ends_in_time_is_waited_for(session):
    announce(session)
    run("import time; time.sleep(4); x = 1")
    until(lambda: is_saved(session))
    sim_faults.take("far")
    assert run("print(x)").endswith("; 2 of 2 names are back]\n1\n")


def test_a_namespace_goes_from_machine_to_machine(session):
    run("x = [1]\ndef more(): x.append(len(x) + 1)")
    for number in (2, 3):
        until(lambda: not is_saved(session))
        announce(session)
        until(lambda: is_saved(session))
        sim_faults.take("far")
        assert run("more(); print(x)").endswith(f"; 2 of 2 names are back]\n{[*range(1, number + 1)]}\n")


def test_a_keeper_that_was_killed_has_it_all_the_same(session):
    run("x = 1")
    announce(session)
    until(lambda: is_saved(session))
    kill_keeper("far")
    until(lambda: not session.is_alive())
    sim_faults.take("far")
    assert run("print(x)").endswith("; 1 of 1 names is back]\n1\n")


def test_what_has_no_room_is_named_and_nothing_is_saved_where_that_is_switched_off(workspace):
    (workspace / "aiinfra.toml").write_text("[gpu]\nnamespace_bytes = 100_000\n")
    gpu.start("far", on="sim", spot=True, for_="1h")
    run("large, small = bytes(10**6), bytes(10**3)")
    announce(session := KeptKernel.of("gpu:far"))
    until(lambda: is_saved(session))
    sim_faults.take("far")
    lost = "`large` could not be saved (1.0 MB, for which there is no room)"
    assert run("print(len(small))").endswith(f"; 1 of 2 names are back; {lost}]\n1000\n")
    gpu.stop("far")
    (workspace / "aiinfra.toml").write_text("[gpu]\nnamespace_bytes = 0\n")
    gpu.start("far", on="sim", spot=True, for_="1h")
    run("small = 1")
    taking(6).join()
    assert run("print('small' in globals())").endswith("; its kernel begins empty]\nFalse\n")
    gpu.stop("far")
