"""When the pool forks again what waits: out of the way of what was just asked for, and soon enough for what comes."""

import subprocess
import sys
from pathlib import Path

from aiinfra_lab.pool import asking
from aiinfra_lab.pool.refill import FAILED_S, LONG_S, PAUSE_S, Refill

from ..conftest import until
from .test_pool import run
from .test_waiting import all_that_wait

A, B = 100, 200  # processes


def test_at_first_it_forks_at_once() -> None:
    assert Refill().due_at < 0


def test_who_has_asked_once_has_the_cores_to_itself_until_its_end() -> None:
    refill = Refill()
    refill.take_request(A, 10.0)
    assert refill.due_at == 10.0 + LONG_S
    refill.take_end(10.1)
    assert refill.due_at == 10.1
    refill.take_end(10.2)
    assert refill.due_at == 10.1


def test_what_takes_long_does_not_have_the_next_one_wait() -> None:
    refill = Refill()
    refill.take_request(A, 10.0)
    refill.take_end(10.0 + 2 * LONG_S)
    assert refill.due_at == 10.0 + LONG_S


def test_who_asks_again_will_once_more() -> None:
    refill = Refill()
    refill.take_request(A, 10.0)
    refill.take_request(B, 11.0)
    assert refill.due_at == 11.0 + LONG_S
    refill.take_request(A, 12.0)
    assert refill.due_at == 12.0 + PAUSE_S


def test_of_those_who_have_asked_the_last_ones_are_known() -> None:
    refill = Refill()
    for asker in range(1, 100):
        refill.take_request(asker, 10.0)
    refill.take_request(1, 11.0)
    assert refill.due_at == 11.0 + LONG_S


def test_after_a_failure_it_waits() -> None:
    refill = Refill()
    refill.take_failure(10.0)
    assert refill.due_at == 10.0 + FAILED_S


LATE = "from aiinfra_lab.pool import refill, template; refill.LONG_S = 600.0; template.main('numpy')"
CHILDREN = "import psutil, time; children = psutil.Process({pool}).children"


def test_beside_the_first_kernel_none_is_made_to_wait_and_then_one_is(workspace: Path, place: Path) -> None:
    place.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", LATE]) as process:
        until(lambda: asking.order("show"), "the pool does not answer")
        all_that_wait(process.pid)
        cell = CHILDREN.format(pool=process.pid)
        assert run(workspace, f"{cell}\nprint(len(children()))") == ("done", "2\n")  # its own, and the command
        all_that_wait(process.pid)
        more = f"{cell}\nwhile len(children()) < 3: time.sleep(0.02)"  # for who has asked twice
        assert run(workspace, more) == ("done", "")
        asking.order("end")
