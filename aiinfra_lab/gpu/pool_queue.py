"""Who waits for a session of a pool, and who has one: first come, first served, in all processes of this folder.

A client is a file that it holds for as long as it waits or works: the file's number is its place, and a lock goes with
its process, however that ends. A folder and not the store, since a session can be used from this folder alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from .. import files, modes

_ENDING = ".client"


class PoolClient(msgspec.Struct, frozen=True):
    """Somebody in the queue. number: less for who came first. member: the session that it has; empty while it waits.

    context: what it works for, as `config.context` says. since: when it came, in epoch seconds.
    """

    number: int
    since: float
    context: str = ""
    member: str = ""


class PoolQueue:
    """The clients of one pool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody comes, gets a session or is to end one meanwhile."""
        with files.lock(self.folder / "queue.lock"):
            yield

    def clients(self) -> list[PoolClient]:
        """All that live, the first that came first."""
        found = (_read(path) for path in self._paths() if files.is_locked(path))
        return [client for client in found if client is not None]

    @contextlib.contextmanager
    def join(self, context: str) -> Iterator[PoolPlace]:
        """Be the last in the queue, until the block is left."""
        with self.changing():
            paths = self._paths()
            for path in paths:
                if not files.is_locked(path):  # of a process that has ended
                    path.unlink(missing_ok=True)
            number = max((_number(path) for path in paths), default=0) + 1
            path = self.folder / f"{number:012}{_ENDING}"
            held = files.take_lock(path)
            assert held is not None  # nobody else knows of it
            place = PoolPlace(self, path, held, PoolClient(number, time.time(), context))
        try:
            yield place
        finally:
            place.leave()

    def note_free(self, member: str) -> None:
        """Nobody has it from now on: what its kernel has just done was no other use."""
        with files.lab_errors(self.folder):
            (self.folder / f"{member}.free").touch(modes.OWNER_ONLY)

    def free_since(self, member: str) -> float:
        """When it was noted so, in epoch seconds; 0 when it never was."""
        try:
            return (self.folder / f"{member}.free").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _paths(self) -> Sequence[Path]:
        return sorted(self.folder.glob(f"*{_ENDING}"))


class PoolPlace:
    """A client's own place in the queue."""

    def __init__(self, queue: PoolQueue, path: Path, held: IO[bytes], client: PoolClient) -> None:
        self._queue, self._path, self._held, self.client = queue, path, held, client
        self._write()

    def take(self, member: str) -> None:
        """Have that session. Within `changing`."""
        self.client = msgspec.structs.replace(self.client, member=member)
        self._write()

    def leave(self) -> None:
        """Leave the queue, and the session that it has."""
        if self.client.member:
            with contextlib.suppress(OSError):  # what is lost is a moment
                self._queue.note_free(self.client.member)
        self._path.unlink(missing_ok=True)
        self._held.close()

    def _write(self) -> None:
        """A line more: the file stays the one that is locked, and readers take the last whole line."""
        self._held.write(msgspec.json.encode(self.client) + b"\n")
        self._held.flush()


def _number(path: Path) -> int:
    return int(path.name.removesuffix(_ENDING))


def _read(path: Path) -> PoolClient | None:
    with contextlib.suppress(FileNotFoundError, IndexError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes().split(b"\n")[-2], type=PoolClient)
    return None
