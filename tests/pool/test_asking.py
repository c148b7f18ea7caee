"""How who has asked for a fork hears of its end."""

import json
import socket
from collections.abc import Iterator

import pytest

from aiinfra_lab.pool.asking import Forked

Ends = tuple[Forked, socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A fork, the pool's end of the connection, and its own."""
    (to_pool, pool), (to_it, it) = socket.socketpair(), socket.socketpair()
    with to_pool, pool, to_it, it:
        yield Forked(to_pool, to_it, 1, b""), pool, it


def test_its_own_word_is_enough(ends: Ends) -> None:
    forked, _, it = ends
    assert forked.poll() is None
    it.sendall(b'{"code": 3}\n')
    assert forked.wait(10) == forked.poll() == 3


def test_of_one_that_was_killed_the_pool_knows_how(ends: Ends) -> None:
    forked, pool, it = ends
    it.close()
    assert forked.wait(0.05) is None
    pool.sendall(json.dumps({"code": -15}).encode() + b"\n")
    assert forked.wait(10) == -15


def test_one_that_goes_on_without_its_pool_says_how_it_ends(ends: Ends) -> None:
    forked, pool, it = ends
    alone = []
    pool.close()
    assert forked.wait(0.05, alone=lambda: alone.append(1)) is None
    it.sendall(b'{"code": 0}\n')
    assert (forked.wait(10), alone) == (0, [1])


def test_one_that_was_killed_with_its_pool_was_killed(ends: Ends) -> None:
    forked, pool, it = ends
    it.close()
    pool.close()
    assert forked.wait(10) == -9
