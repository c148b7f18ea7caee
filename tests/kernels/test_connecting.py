"""Attempts side by side, over a reach of this test's own."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from aiinfra_lab.errors import Unavailable
from aiinfra_lab.host.spec import HostSpec
from aiinfra_lab.kernels.connecting import Connecting
from aiinfra_lab.kernels.reach import ByteStream
from tests.conftest import until


@dataclass
class Door:
    """See `Reach`. answers: what each attempt comes to, in their order; the last of them for all that follow."""

    answers: list[Callable[[], ByteStream]]
    attempts: int = 4
    keepalive_s: float | None = 3.0
    within_s: list[float | None] = field(default_factory=list)
    began_at: list[float] = field(default_factory=list)

    def begin(self, spec: HostSpec) -> None:
        raise NotImplementedError

    def connect(self, within_s: float | None = None) -> ByteStream:
        self.began_at.append(time.monotonic())
        self.within_s.append(within_s)
        return self.answers[min(len(self.within_s), len(self.answers)) - 1]()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


class Opened:
    """A connection, which says whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.stream = ByteStream(-1, -1, self._close)

    def _close(self) -> None:
        self.closed += 1


def behind(gate: threading.Event, opened: Opened) -> Callable[[], ByteStream]:
    """An attempt that hangs until then."""

    def wait() -> ByteStream:
        gate.wait()
        return opened.stream

    return wait


def refused() -> ByteStream:
    raise Unavailable("refused", "try again")


def test_an_attempt_that_hangs_keeps_no_other_waiting_and_is_let_go_when_it_comes_late(gate):
    late, first = Opened(), Opened()
    connecting = Connecting(Door([behind(gate, late), lambda: first.stream]))
    until(lambda: connecting.take() is first.stream)
    gate.set()
    until(lambda: late.closed == 1)
    assert first.closed == 0
    connecting.close()


def test_so_many_are_under_way_and_one_of_them_gets_the_time_that_its_host_takes(gate):
    door = Door([behind(gate, Opened())], attempts=3)
    connecting = Connecting(door)
    end_at = time.monotonic() + 4
    while time.monotonic() < end_at:
        connecting.take()
        time.sleep(0.02)
    assert len(door.within_s) == 3
    assert door.within_s[0] > 10
    assert door.within_s[1:] == [3.0, 3.0]
    connecting.close()


def test_one_at_a_time_where_more_would_be_of_no_use(gate):
    door = Door([refused, behind(gate, Opened())], attempts=1)
    connecting = Connecting(door)
    until(lambda: connecting.take() or len(door.within_s) == 2)
    assert connecting.due_s() > 1e9
    assert connecting.problem.startswith("refused")
    connecting.close()


def test_what_fails_at_once_is_tried_again_at_once_and_then_every_second():
    door = Door([refused])
    connecting = Connecting(door)
    until(lambda: connecting.take() or len(door.began_at) == 7)
    assert door.began_at[3] - door.began_at[0] < 1
    assert door.began_at[6] - door.began_at[4] > 1.9
    assert connecting.problem.startswith("refused")
    connecting.succeeded()
    connecting.failed("gone")
    assert connecting.due_s() == 0
    connecting.close()


def test_who_waits_is_woken_when_an_attempt_is_over_and_after_the_end_nothing_is_written(gate):
    connecting = Connecting(Door([behind(gate, Opened()), refused]))
    until(lambda: connecting.take() or len(connecting.reach.within_s) == 2)
    assert select.select([connecting.wakeup.reads], [], [], 10)[0]
    connecting.close()
    reads, writes = os.pipe2(os.O_NONBLOCK)  # it has the numbers that were closed
    gate.set()
    assert select.select([reads], [], [], 0.3)[0] == []
    os.close(reads)
    os.close(writes)


def test_a_host_that_is_slow_gets_more_time_and_one_that_waited_for_its_link_does_not_count_for_much():
    def slow() -> ByteStream:
        time.sleep(1.2)
        return Opened().stream

    connecting = Connecting(Door([slow], attempts=1))
    for longest_s in (1.0, 1.9):
        until(connecting.take)
        assert 1.0 <= connecting.took_s <= longest_s
        connecting.failed("broken")
    connecting.reach.answers = [lambda: Opened().stream]
    until(connecting.take)
    assert connecting.took_s < 1.0
    connecting.close()
