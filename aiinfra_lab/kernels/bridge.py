"""Between clients here and a kernel on its host: what a keeper, or a step of a pipeline, turns until it is over."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..host.frames import UNREADABLE, MessageChannel, TooLargeError
from ..host.spec import HostState
from .link import Gap, Link
from .shim import RETRY_S, Shim

KEEP_BYTES = 1 << 28
"""How much of what a kernel has sent is kept here, compressed."""


class Bridge:
    """shim, link: its two ends. wakeup: a file descriptor that can be read when `turn` is to return at once."""

    def __init__(self, shim: Shim, link: Link, wakeup: int) -> None:
        self.shim, self.link, self._wakeup = shim, link, wakeup

    def turn(self, within_s: float) -> Iterator[HostState]:
        """Wait, at most so long, for something to do, and do it; gives what the host has reported of itself."""
        self._wait(within_s)
        for channel, parts in self.shim.receive():
            try:
                self.link.send(channel, parts)
            except TooLargeError as problem:
                self.shim.refuse(channel, parts, str(problem))
        self.shim.publish()
        if not self.shim.is_behind:
            yield from self.serve()

    def serve(self) -> Iterator[HostState]:
        """What has come from the host, without waiting."""
        for message in self.link.serve():
            if isinstance(message, Gap):
                self._announce(message)
            elif message.channel == MessageChannel.STATE:
                with contextlib.suppress(*UNREADABLE):  # of another version
                    yield HostState.load(message.parts[0])
            else:
                self.shim.deliver(message)

    def close(self) -> None:
        """Let go of both; the host stays as it is."""
        self.link.close()
        self.shim.close()

    def _wait(self, within_s: float) -> None:
        import zmq

        poller = zmq.Poller()
        for each in (*self.shim.sockets, self._wakeup):
            poller.register(each, zmq.POLLIN)
        if self.shim.is_behind:  # what clients do not take stays where it is written down already
            within_s = min(within_s, RETRY_S)
        else:
            for descriptor, writes in self.link.descriptors().items():
                poller.register(descriptor, zmq.POLLIN | (zmq.POLLOUT if writes else 0))
            if (patience_s := self.link.patience_s()) is not None:
                within_s = min(within_s, patience_s)
        poller.poll(int(within_s * 1000) + 1)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)

    def _announce(self, gap: Gap) -> None:
        text = f"\n[{gap.parts[0].decode()} messages of this kernel are lost: its host had no room for them]\n"
        self.shim.announce("stream", {"name": "stderr", "text": text})


def forget(folder: Path) -> None:
    """Remove what an earlier link wrote down."""
    for name in ("sent", "received"):
        shutil.rmtree(folder / name, ignore_errors=True)
