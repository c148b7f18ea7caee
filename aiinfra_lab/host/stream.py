"""One connection of the stream: what came in part, what is still to be sent, and how far both sides are.

Both ends use it. A message is sent from its journal, so that the next connection goes on where this one was cut.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from .frames import Decoder, Frame, Kind, frame, frame_head
from .journal import Journal, JournalEntry

_BUFFER_BYTES = 1 << 20
_TURN_BYTES = 1 << 21  # sent at one time: what comes meanwhile waits in memory
_JOINED_BYTES = 1 << 14
_AT_ONCE = 64  # pieces
_READ_BYTES = 1 << 18
_LITTLE_BYTES = 1 << 16  # so much may wait in front of a message that goes at once


class Stream:
    """reads, writes: file descriptors, which may be one; they become non-blocking. close: called once at the end."""

    def __init__(self, reads: int, writes: int, close: Callable[[], object]) -> None:
        self.reads, self.writes, self.close = reads, writes, close
        for each in {reads, writes}:
            os.set_blocking(each, False)
        self.sent, self.acknowledged, self.is_greeted = 0, 0, False
        self.moved_at = time.monotonic()  # when something came, or what was full took more: a cut shows by its age
        self._decoder = Decoder()
        self._out: deque[bytes | memoryview] = deque()
        self._waits = 0  # how many bytes are to be sent
        self._backlog: Iterator[JournalEntry] | None = None
        self._later: deque[Callable[[], bytes]] = deque()

    def receive(self) -> Iterator[Frame]:
        """The frames that have come. OSError when the other side is gone, ValueError when it is none of ours."""
        try:
            data = os.read(self.reads, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError("the other side has gone")
        self.moved_at = time.monotonic()
        yield from self._decoder.feed(data)

    def put(self, data: bytes | memoryview) -> None:
        """Have a frame sent that is not numbered; nothing for none."""
        if not data:  # it would stay in front for ever
            return
        self._out.append(data)
        self._waits += len(data)

    def put_later(self, make: Callable[[], bytes]) -> None:
        """Have a frame made and sent once nothing else is to be sent: pieces of files keep no message waiting."""
        self._later.append(make)

    def go_on_after(self, number: int) -> None:
        """The other side has told what it has: messages may be sent now, from the next one on."""
        self.sent, self.is_greeted = number, True

    def acknowledge(self, number: int) -> None:
        """Tell what has been received, once for all that came together."""
        if number > self.acknowledged and self.is_greeted:
            self.acknowledged = number
            self.put(frame(Kind.RECEIVED, number))

    def pass_on(self, number: int, *pieces: bytes) -> None:
        """Take a record that was just written, when all before it have been sent; else it is read again later."""
        if self.is_greeted and self.sent == number - 1 and self._waits < _BUFFER_BYTES:
            self._put_message(number, pieces)

    def send(self, journal: Journal) -> None:
        """Send as much as the other side takes now, or as belongs into one turn. OSError when it is gone."""
        left = _TURN_BYTES
        while left > 0:
            self._fill(journal)
            if not self._out:
                return
            try:
                taken = os.writev(self.writes, list(islice(self._out, _AT_ONCE)))
            except BlockingIOError:
                return
            self._forget(taken)
            left -= taken
            if self._out:
                self.moved_at = time.monotonic()

    def _forget(self, taken: int) -> None:
        """So many bytes have been sent."""
        self._waits -= taken
        while taken:
            first = self._out.popleft()
            if taken < len(first):
                self._out.appendleft(memoryview(first)[taken:])
                return
            taken -= len(first)

    def is_behind(self, journal: Journal) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out or self._later) or (self.is_greeted and self.sent < journal.last)

    def _fill(self, journal: Journal) -> None:
        """Read from the journal what has not been sent, a buffer at a time."""
        while self.is_greeted and self.sent < journal.last and self._waits < _BUFFER_BYTES:
            if self._backlog is None:
                self._backlog = journal.after(self.sent)
            record = next(self._backlog, None)
            if record is None:
                # At its end the journal was read as far as it is written: what is missing is lost, and shows as a gap.
                self.sent, self._backlog = journal.last, None
            elif record.number > self.sent:
                self._put_message(record.number, (record.payload,))
        while self._later and self._waits < _LITTLE_BYTES:
            self.put(self._later.popleft()())

    def _put_message(self, number: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Small ones are joined, since each piece costs time; of a large one nothing is copied."""
        size = sum(map(len, pieces))
        whole = (frame_head(Kind.MESSAGE, number, size), *pieces)
        for each in (b"".join(whole),) if size < _JOINED_BYTES else whole:
            self.put(each)
        self.sent = number
