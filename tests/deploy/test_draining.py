"""The last answers of a server that ends."""

import socket

from tests.conftest import PATIENCE_S, until

from .test_protocol import Running, post, read_to_the_end


def test_of_several_answers_that_are_due_while_draining_the_last_says_that_it_is_the_last():
    running = Running()
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as busy:
        busy.sendall(post("/slow", b"first") + post("/", b"second") + post("/slow", b"third"))
        until(lambda: running.echo.seen == 3)
        running.call(running.server.drain)
        _, first, second, third = read_to_the_end(busy).split(b"HTTP/1.1 200 OK")
    assert [b"connection: close" in answer for answer in (first, second, third)] == [False, False, True]
    running.stop()
