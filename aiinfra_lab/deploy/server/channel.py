"""Whole messages between an endpoint's process and those of its models, and the end of either is heard at once.

A SEQPACKET socket keeps messages apart, and its end of file is the death notice. The kernel bounds a message by its
send buffer, so that a long one is put into memory of its own and goes as the descriptor of that.
"""

from __future__ import annotations

import os
import select
import socket

# Half of what a send buffer holds without any setting: an empty one takes it at once.
INLINE_BYTES = 64 << 10
_BY_DESCRIPTOR = b"\0"  # no message begins with it: each is an array or a map of MessagePack


class Channel:
    """One end of such a socket."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._buffer = bytearray(INLINE_BYTES)
        self._view = memoryview(self._buffer)
        self._room = socket.CMSG_SPACE(4)  # for one descriptor

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and the socket for the process at its other end."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(here), there

    def send(self, message: bytes) -> None:
        """Send one message. OSError when the other end is gone."""
        if len(message) <= INLINE_BYTES:
            self.socket.send(message)
            return
        memory = os.memfd_create("message")
        try:
            rest = memoryview(message)
            while rest:
                rest = rest[os.write(memory, rest) :]
            socket.send_fds(self.socket, [_BY_DESCRIPTOR], [memory])
        finally:
            os.close(memory)

    def receive(self) -> bytes | memoryview | None:
        """The next message, which is good until the one after it is received; None when the other end is gone."""
        try:
            size, extra, _, _ = self.socket.recvmsg_into([self._buffer], self._room)
        except ConnectionResetError:  # it ended with a message of ours unread
            return None
        if not size:
            return None
        if not extra:
            return self._view[:size]
        memory = int.from_bytes(extra[0][2], "little")
        try:
            return _whole(memory)
        finally:
            os.close(memory)

    @property
    def has_message(self) -> bool:
        """Whether something came that was not received yet, be it the end."""
        poll = select.poll()  # `select` takes no descriptor above 1,023
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Let go of it: the other end hears that."""
        self.socket.close()


def _whole(memory: int) -> bytes:
    size = os.fstat(memory).st_size
    parts, at = [], 0
    while at < size:
        parts.append(os.pread(memory, size - at, at))
        at += len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)
