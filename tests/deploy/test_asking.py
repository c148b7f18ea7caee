"""Many are asked side by side, and whoever looks waits for none of them longer than for one."""

import threading

import pytest

from aiinfra_lab.deploy.asking import side_by_side
from aiinfra_lab.errors import NotFound, Unavailable
from tests.conftest import until


@pytest.fixture
def hangs():
    """Blocks until the test is over, and counts how often it was called."""
    end, calls = threading.Event(), []

    def hang():
        calls.append(1)
        end.wait(30)

    hang.calls, hang.end = calls, end.set
    yield hang
    end.set()


def test_each_gets_its_own_answer_or_problem(workspace):
    problem = NotFound("there is no b", "look")

    def fail():
        raise problem

    assert side_by_side("x", {"a": lambda: 1, "b": fail, "c": lambda: 3}) == {"a": 1, "b": problem, "c": 3}


def test_one_that_hangs_keeps_no_answer_from_the_others(workspace, hangs):
    found = side_by_side("x", {"slow": hangs, "quick": lambda: 1}, within_s=0.3)
    assert (found["quick"], type(found["slow"])) == (1, Unavailable)


def test_they_are_asked_at_the_same_time(workspace):
    all_there = threading.Barrier(8, timeout=30)
    assert len(side_by_side("x", {str(one): all_there.wait for one in range(8)}, within_s=30)) == 8


def test_one_that_still_hangs_is_not_asked_again(workspace, hangs):
    for _ in range(3):
        assert isinstance(side_by_side("x", {"slow": hangs}, within_s=0.1)["slow"], Unavailable)
    assert len(hangs.calls) == 1


def test_one_that_has_answered_late_is_asked_again(workspace, hangs):
    side_by_side("x", {"late": hangs}, within_s=0.1)
    hangs.end()
    until(lambda: side_by_side("x", {"late": lambda: 2}, within_s=0.1) == {"late": 2})


def test_a_mistake_of_ours_is_raised(workspace):
    with pytest.raises(ZeroDivisionError):
        side_by_side("x", {"a": lambda: 1 / 0})
