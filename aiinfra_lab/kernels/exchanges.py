"""The owner's end of the exchange of files between code here and the code of a kernel; see `exchange` for the other.

An exchange is a folder of files in the kernel's own folder, so that a keeper that was killed goes on with it:

    owner         locked by the process that began it; when it is not any more, the exchange is over
    kept          touched now and then by a process that is started again when it is killed: that long it is not over
    paths         where code there finds what came, and puts what is to come back
    in, send      what is to go there, and that it is written; `sent`: it is there
    wanted, out   the size of what is to be fetched, and that as far as it is here; `come`: it is
    problem       why it cannot be

On this machine the files are where both sides look for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import files
from ..host import files as host_files
from ..host.exchange import PIECE_BYTES, pack_piece, unpack_piece
from ..host.frames import Frame, Kind, frame
from ..host.stream import Stream

FOLDER = "exchange"
WINDOW_BYTES = 16 * PIECE_BYTES
_LOOK_S = 5.0  # between two looks whether whoever began an exchange still lives
_LOCKED_AFTER_S = 60.0
_KEPT_S = 600.0


class Exchanges:
    """What a link does for them. folder: where they are."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._is_here = folder, False
        self._host: str | None = ""  # the folder there; None where the host core has none
        self._going_on: dict[str, _Exchange] = {}
        self._is_kept = False  # whether the host knows which go on
        self._looked_at = 0.0

    def greet(self, host: str | None, *, is_here: bool) -> None:
        """A connection was made. host: the folder of the exchanges there; None where the host core knows none. is_here:
        whether that is this machine."""
        self._host, self._is_here = host, is_here
        for each in self._going_on.values():
            each.begin_again()
        self._is_kept = False

    def serve(self, stream: Stream) -> None:
        """See what is asked for, and do what is due."""
        if self._host == "":  # not greeted yet, or by what a core has left
            return
        found = self._found()
        if found != self._going_on.keys():
            for name in self._going_on.keys() - found:
                self._going_on.pop(name).close()
            for name in found - self._going_on.keys():
                self._going_on[name] = _Exchange(self._folder / name, is_here=self._is_here)
            self._is_kept = False
        if self._host and not self._is_kept:
            self._is_kept = True
            stream.put(frame(Kind.KEEP, 0, json.dumps([*self._going_on]).encode()))
        for each in self._going_on.values():
            with each.noting_problems():
                each.serve(stream, self._host)

    def take(self, found: Frame) -> None:
        """What the host has answered."""
        head, data = unpack_piece(found.payload)
        exchange = self._going_on.get(head["name"].partition(".")[0])
        if exchange is not None:
            with exchange.noting_problems():
                exchange.take(found.kind, head, data)

    def close(self) -> None:
        for each in self._going_on.values():
            each.close()

    def _found(self) -> set[str]:
        try:
            with os.scandir(self._folder) as entries:
                found = {each.name for each in entries}
        except OSError:
            return set()
        if found and time.monotonic() - self._looked_at >= _LOOK_S:
            self._looked_at = time.monotonic()
            for name in [name for name in found if _is_left(self._folder / name)]:
                shutil.rmtree(self._folder / name, ignore_errors=True)
                found.remove(name)
        return found


class _Exchange:
    """One of them, as far as it has come. What both sides have of a file shows in the file."""

    def __init__(self, folder: Path, *, is_here: bool) -> None:
        self._folder, self._is_here = folder, is_here
        self._is_over = (folder / "problem").exists()
        self._file = -1
        self._size = self._put = 0
        self._there: int | None = 0  # how much of it the host has; None until it has answered
        self._is_asked = False
        self._got = self._asked = 0 if is_here else _size(folder / "out")

    def begin_again(self) -> None:
        """Nothing that was sent or asked for may have arrived."""
        self._there, self._is_asked, self._asked = None, False, self._got

    def serve(self, stream: Stream, host: str | None) -> None:
        if self._is_over:
            return
        if host is None:
            raise OSError(0, "its host core is of an earlier version; start the session again")
        if not self._has("paths"):
            self._give_paths(host)
        if self._has("send") and not self._has("sent"):
            self._make("sent") if self._is_here else self._send(stream)
        if self._has("wanted") and not self._has("come"):
            self._make("come") if self._is_here else self._fetch(stream)

    def take(self, kind: int, head: dict[str, Any], data: bytes) -> None:
        if self._is_over:  # what else was on its way
            return
        if why := head.get("problem"):
            raise OSError(0, f"on the machine of the kernel: {why}")
        if kind == Kind.HAS:
            is_first, self._there = self._there is None, int(head["size"])
            self._put = self._there if is_first else max(self._put, self._there)
            if self._file >= 0 and self._there >= self._size:
                self._make("sent")
                self._close_file()
        elif kind == Kind.PIECE and head["at"] == self._got:
            self._append(data, int(head["size"]))

    @contextlib.contextmanager
    def noting_problems(self) -> Iterator[None]:
        """What goes wrong here or there ends this exchange, and whoever waits for it learns why."""
        try:
            yield
        except OSError as problem:
            self._is_over = True
            self.close()
            if self._folder.is_dir():  # else it is over
                (self._folder / "out").unlink(missing_ok=True)  # on a full disk it makes room for the reason
                with contextlib.suppress(OSError):
                    host_files.write(self._folder / "problem", (problem.strerror or str(problem)).encode())

    def close(self) -> None:
        self._close_file()

    def _give_paths(self, host: str) -> None:
        name = self._folder.name
        paths = {"in": f"{host}/{name}.in", "out": f"{host}/{name}.out"}
        if self._is_here:
            paths = {each: str(self._folder / each) for each in paths}
        host_files.write(self._folder / "paths", json.dumps(paths).encode())

    def _send(self, stream: Stream) -> None:
        if self._file < 0:
            self._file = os.open(self._folder / "in", os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.fstat(self._file).st_size
        name = f"{self._folder.name}.in"
        if self._there is None:
            if not self._is_asked:
                self._is_asked = True
                stream.put(frame(Kind.PUT, 0, pack_piece(name=name, at=0)))
            return
        while self._put < self._size and self._put - self._there < WINDOW_BYTES:
            stream.put_later(self._piece(name, self._put))
            self._put = min(self._put + PIECE_BYTES, self._size)

    def _piece(self, name: str, at: int) -> Callable[[], bytes]:
        def make() -> bytes:
            # Nothing once it is over: another file may have its number.
            data = os.pread(self._file, PIECE_BYTES, at) if self._file >= 0 else b""
            return frame(Kind.PUT, 0, pack_piece(data, name=name, at=at)) if data else b""

        return make

    def _fetch(self, stream: Stream) -> None:
        name, whole = f"{self._folder.name}.out", int((self._folder / "wanted").read_text())
        while self._asked < whole and self._asked - self._got < WINDOW_BYTES:
            stream.put(frame(Kind.GET, 0, pack_piece(name=name, at=self._asked)))
            self._asked += PIECE_BYTES

    def _append(self, data: bytes, whole: int) -> None:
        file = os.open(self._folder / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, self._got)
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)
        self._got += len(data)
        if self._got >= whole:
            self._make("come")
        elif not data:
            raise OSError(0, "on the machine of the kernel: a part of it has vanished")

    def _has(self, name: str) -> bool:
        return os.path.lexists(self._folder / name)

    def _make(self, name: str) -> None:
        os.close(os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _is_left(folder: Path) -> bool:
    """Whether whoever began an exchange has ended; between making the folder and locking it nobody takes a minute."""
    if files.is_locked(folder / "owner"):
        return False
    with contextlib.suppress(OSError):  # a part of one, NAME_PART, goes with it
        if time.time() - (folder.with_name(folder.name.partition("_")[0]) / "kept").stat().st_mtime < _KEPT_S:
            return False
    with contextlib.suppress(OSError):
        return time.time() - folder.stat().st_mtime > _LOCKED_AFTER_S
    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
