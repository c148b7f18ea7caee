"""Messages between processes: whole, of any length, and the end is heard."""

import fcntl
import os
import resource
import socket
from pathlib import Path

import pytest

from aiinfra_lab.deploy.server.channel import INLINE_BYTES, Channel


@pytest.fixture
def ends():
    here, there = Channel.pair()
    other = Channel(there)
    yield here, other
    here.close()
    other.close()


@pytest.mark.parametrize("size", [1, INLINE_BYTES, INLINE_BYTES + 1, 5 << 20])
def test_a_message_comes_whole_whatever_its_length(ends, size):
    here, there = ends
    message = os.urandom(1024) * (size // 1024) + bytes([1]) * (size % 1024)
    here.send(message)
    assert there.receive() == message


def test_messages_keep_their_borders_and_their_order(ends):
    here, there = ends
    for message in (b"one", b"2" * (INLINE_BYTES + 1), b"three"):
        here.send(message)
    assert [bytes(there.receive()) for _ in range(3)] == [b"one", b"2" * (INLINE_BYTES + 1), b"three"]


def test_the_end_of_the_other_is_heard_after_what_it_sent(ends):
    here, there = ends
    here.send(b"last")
    here.close()
    assert (bytes(there.receive()), there.receive()) == (b"last", None)


def test_an_end_with_a_message_unread_is_an_end_too(ends):
    here, there = ends
    here.send(b"never read")
    there.close()
    assert here.receive() is None
    with pytest.raises(OSError, match=r"pipe|reset"):
        here.send(b"nobody hears it")


def test_no_descriptor_is_left_behind(ends):
    here, there = ends
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(20):
        here.send(b"x" * (INLINE_BYTES + 1))
        there.receive()
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_what_came_is_seen_on_a_high_descriptor_too(ends):
    here, there = ends
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this machine lets no process have 2,048 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    high = Channel(socket.socket(fileno=fcntl.fcntl(there.socket.fileno(), fcntl.F_DUPFD, 1500)))
    assert not high.has_message
    here.send(b"one")
    assert high.has_message
    high.close()
