"""Which bodies are not tried again, and until when."""

import pytest

from aiinfra_lab.deploy.server import blamed
from aiinfra_lab.deploy.server.blamed import MOST_BLAMED, BlamedBodies


@pytest.fixture
def bodies():
    return BlamedBodies()


def test_one_is_refused_once_it_has_cost_two_processes(bodies):
    bodies.blame(b"a")
    assert (bodies.lost(b"a"), bodies.refusal(b"a")) == (1, "")
    bodies.blame(b"a")
    assert "not tried again within 120 s" in bodies.refusal(b"a")
    assert bodies.refusal(b"b") == ""


def test_an_answer_clears_it(bodies):
    bodies.blame(b"a")
    bodies.clear(b"a")
    bodies.blame(b"a")
    assert (bodies.lost(b"a"), bodies.refusal(b"a")) == (1, "")


def test_it_is_tried_again_after_a_while(bodies, monkeypatch):
    monkeypatch.setattr(blamed, "BLAMED_S", -1.0)
    bodies.blame(b"a", 2)
    assert (bodies.lost(b"a"), bodies.refusal(b"a")) == (0, "")


def test_of_too_many_the_one_that_was_blamed_longest_ago_is_forgotten(bodies):
    for at in range(MOST_BLAMED):
        bodies.blame(b"%d" % at)
    bodies.blame(b"0")  # it is known: nothing is forgotten for it
    bodies.blame(b"new")
    assert [bodies.lost(body) for body in (b"0", b"1", b"2", b"new")] == [2, 0, 1, 1]
