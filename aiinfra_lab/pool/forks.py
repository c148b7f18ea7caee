"""A fork of the pool: what is asked for by whoever connects reaches it by a socket, also where it was forked before."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ..host.__main__ import KeptAhead
from ..host.processes import signal_process
from . import asking, becoming, kernel, match, pages, wanted

_LARGEST = 1 << 24
_HEAD_BYTES = 8
_MOST_DESCRIPTORS = 5  # streams, what takes the exit code, and the connection of who asks
REQUEST_S = 2.0  # for whoever has connected to say what it wants, and for a fork to hear it
_log = logging.getLogger("aiinfra_lab.pool.template")


@dataclass
class ForkRequest:
    """What is asked for, with the descriptors that came with it. Whoever has it closes these.

    data: the facts as they came, JSON. asker: the process that asks
    """

    data: bytes
    facts: dict[str, Any]
    descriptors: list[int]
    asker: int = 0

    def close(self) -> None:
        """It has been passed on, or is refused."""
        for each in self.descriptors:
            os.close(each)

    def pass_on(self, to: socket.socket, connection: socket.socket) -> None:
        """Give it to another process, with the connection of who asks first. OSError where that has ended."""
        descriptors = [connection.fileno(), *self.descriptors]
        socket.send_fds(to, [len(self.data).to_bytes(_HEAD_BYTES, "big")], descriptors)
        to.sendall(self.data)

    @classmethod
    def received(cls, by: socket.socket) -> ForkRequest | None:
        """The one that comes by that socket; None where it was closed. OSError, ValueError or TypeError for what is
        none."""
        head, descriptors, flags, _ = socket.recv_fds(by, _HEAD_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        found = cls(b"", {}, list(descriptors))
        if not head:
            return None
        try:
            peer = struct.unpack("3i", by.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            size = int.from_bytes(head, "big")
            is_cut = len(head) < _HEAD_BYTES or flags & socket.MSG_CTRUNC  # there may be no room for descriptors
            if is_cut or size > _LARGEST or peer[1] != os.getuid():
                raise ValueError("it is none")
            until = math.inf if by.gettimeout() is None else time.monotonic() + REQUEST_S
            data = bytearray()
            while len(data) < size:
                if until < math.inf:  # for all of it, not for each piece
                    by.settimeout(max(0.0, until - time.monotonic()))
                if not (piece := by.recv(min(1 << 16, size - len(data)))):
                    raise ValueError("it ended early")
                data += piece
            found.data, found.facts, found.asker = bytes(data), _read(data), peer[0]
        except BaseException:
            found.close()
            raise
        return found


def _read(data: bytes | bytearray) -> dict[str, Any]:
    try:
        return dict(json.loads(data))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class Fork:
    """One of them, as the pool has it.

    connection: of who has asked for it; None while nobody has, and after that has ended. is_apart: whether it goes on
    when whoever asked for it has ended
    """

    def __init__(self, pid: int, kind: str, orders: socket.socket) -> None:
        self.pid, self.is_apart = pid, kind == "keep"
        self.connection: socket.socket | None = None
        self._orders = orders

    def begin(self, request: ForkRequest, connection: socket.socket) -> bool:
        """Have it be what that asks for; False where it cannot, and ends."""
        try:
            with self._orders:
                self._orders.settimeout(REQUEST_S)
                request.pass_on(self._orders, connection)
        except OSError:  # it was killed, or is stopped
            self.end()
            return False
        connection.setblocking(False)
        self.connection = connection
        return True

    def leave(self) -> None:
        """Have nothing to do with it any more: it ends where nobody has asked for it."""
        self._orders.close()
        if self.connection is not None:
            self.connection.close()

    def end(self) -> None:
        """Have it end at once."""
        signal_process(self.pid, signal.SIGKILL)


class _Kind(Protocol):
    """What a fork of one kind has made before anybody asks for it."""

    def begin(self, request: Mapping[str, Any], streams: Sequence[int]) -> becoming.Work:
        """Be where that is asked for; returns what is left to be done. OSError or ValueError where it cannot be."""

    def discard(self) -> None:
        """Nobody has asked for it."""


class _Plain:
    """What is one process: see `_Kind`."""

    def __init__(self, _taken: socket.socket, _written: Sequence[pages.Range]) -> None:
        becoming.part()

    def discard(self) -> None:
        """See `_Kind`."""


class _Command(_Plain):
    """The command line: see `_Kind`."""

    def __init__(self, taken: socket.socket, written: Sequence[pages.Range]) -> None:
        super().__init__(taken, written)
        self._written = pages.WrittenByCommands(Path(match.folder(), asking.WRITTEN), os.getppid())
        self._written.own(until=taken)

    def begin(self, request: Mapping[str, Any], streams: Sequence[int]) -> becoming.Work:
        """See `_Kind`."""
        becoming.become(request, streams)
        if not wanted.is_on():
            raise ValueError("the workspace wants no pool")
        cli = importlib.import_module("aiinfra_lab.cli")  # by name: it stands on top of the core
        words = request["argv"][1:]

        def work() -> int:
            code: int = cli.main(words)
            if not code:
                with contextlib.suppress(KeyboardInterrupt):  # it is done
                    self._written.learn(words)  # before who has asked for it hears its end: it ends with that
            return code

        return work


class _Kernel(_Plain):
    """A kernel whose client has it by itself: see `_Kind`."""

    def begin(self, request: Mapping[str, Any], streams: Sequence[int]) -> becoming.Work:
        """See `_Kind`."""
        becoming.become(request, streams)
        return lambda: kernel.run(request["argv"][3:], debugger=True)


class _HostCore:
    """A host core with its guards, and the process that becomes its kernel: see `_Kind` and `host.__main__.Ahead`."""

    def __init__(self, taken: socket.socket, written: Sequence[pages.Range]) -> None:
        self._written = written
        self._processes = KeptAhead(self, (taken.fileno(),))

    def seed(self) -> kernel.Seed:
        """See `Ahead`."""
        return kernel.Seed(self._written)

    def take_place(self, place: Any) -> None:
        """See `Ahead`. What is for the terminal of who has asked for it is not for them."""
        ignored = [*place["adjustable"]["ignored"], *becoming.OF_TERMINAL]
        becoming.take_place({**place, "adjustable": {**place["adjustable"], "ignored": ignored}})

    def begin(self, request: Mapping[str, Any], streams: Sequence[int]) -> becoming.Work:
        """See `_Kind`. There is one stream, for its answer."""
        place = {name: request[name] for name in ("adjustable", "cwd", "umask")}
        self.take_place(place)
        _, spec = request["argv"]
        return lambda: self._processes.keep(spec.encode(), place, *streams)

    def discard(self) -> None:
        """See `_Kind`."""
        self._processes.discard()


_Make = Callable[[socket.socket, Sequence[pages.Range]], _Kind]
_KINDS: dict[str, _Make] = {"cli": _Command, "kernel": _Kernel, "keep": _HostCore}
AHEAD = ("keep", "cli")  # of which one waits for whoever asks next


def fork(kind: str, leave: Callable[[], object], written: Sequence[pages.Range]) -> Fork:
    """Fork one, which waits for its request. KeyError for no kind, OSError where there can be no more processes.

    leave: called in the fork, which is to keep nothing of the pool's open. written: what a kernel writes to until its
    first cell is done
    """
    make = _KINDS[kind]
    orders, taken = socket.socketpair()
    with taken:
        try:
            pid = os.fork()
        except OSError:
            orders.close()
            raise
        if pid == 0:
            orders.close()
            _be(make, leave, taken, written)
    return Fork(pid, kind, orders)


def _be(make: _Make, leave: Callable[[], object], taken: socket.socket, written: Sequence[pages.Range]) -> NoReturn:
    """Be a fork until its end."""
    try:
        leave()
        becoming.leave_template()
        found = make(taken, written)
        with taken:
            request = ForkRequest.received(taken)
        if request is None:
            found.discard()
            os._exit(0)
        _serve(found, request)
    except BaseException:  # noqa: BLE001  # nothing of the template may go on here
        _log.exception("a fork that nobody has yet ends")
    os._exit(1)


def _serve(found: _Kind, request: ForkRequest) -> None:
    number, *streams, report = request.descriptors
    with socket.socket(fileno=number) as connection:
        try:
            work = found.begin(request.facts, streams)
        except BaseException as problem:  # noqa: BLE001  # whoever asks spawns it then
            found.discard()
            answer(connection, {"no": str(problem)})
            os._exit(0)
        answer(connection, {"pid": os.getpid()})
    if not _is_confirmed(report):
        found.discard()
        os._exit(0)
    becoming.run(work, report)


def answer(connection: socket.socket, facts: Mapping[str, Any]) -> None:
    """Answer whoever asks, unless that has ended."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(facts).encode() + b"\n")


def _is_confirmed(report: int) -> bool:
    """Whether who has asked for this fork has not given it up meanwhile, and gone another way."""
    with contextlib.suppress(OSError):
        return os.read(report, len(asking.CONFIRMED)) == asking.CONFIRMED
    return False
