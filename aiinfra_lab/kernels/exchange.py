"""Files that code here and the code of a kernel exchange, by the folder that `exchanges` describes.

The keeper brings them, over cuts of its connection and after it was killed itself.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import files, modes
from ..errors import LabError, Unavailable
from .client import await_keeper, wake
from .exchanges import FOLDER
from .kept import KeptKernel

_REMOVALS = 5
_WAIT_S, _ASK_S = 0.005, 1.0
_OLD_S = 30.0  # a keeper that does not look within that time does not know how


class Exchange:
    """The exchange of a kernel that this process has begun, see `exchanging`."""

    note: Callable[[str], object] = staticmethod(lambda _: None)
    """Gets what is waited for, when that is not the kernel."""

    def __init__(self, kernel: KeptKernel, folder: Path) -> None:
        self._kernel, self._folder = kernel, folder

    @property
    def folder(self) -> Path:
        """Where its files are here."""
        return self._folder

    @property
    def paths(self) -> dict[str, str]:
        """Where code there finds what was sent, `in`, and is to put what is fetched, `out`."""
        found: dict[str, str] = json.loads(self._await("paths").read_text())
        return found

    def paths_of_parts(self) -> dict[str, str]:
        """The same of an exchange NAME_PART, which lives as long as this one; `{part}` is in the place of its name."""
        name, found = self._folder.name, self.paths
        ends = {way: f"{name}{path[-len(way) - 1]}{way}" for way, path in found.items()}  # by a dot, or a slash here
        return {way: path.removesuffix(ends[way]) + ends[way].replace(name, "{part}") for way, path in found.items()}

    def keep(self) -> None:
        """Have it not be over for some minutes when this process is killed: another one will go on with it."""
        (self._folder / "kept").touch(modes.OWNER_ONLY)

    def send(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Bring these bytes there, unless that was done; returns when they are. Unavailable when they cannot be."""
        if (self._folder / "sent").exists():
            return
        with open(self._folder / "in", "wb", opener=modes.opener) as file:
            for piece in pieces:
                file.write(piece)
        (self._folder / "send").touch(modes.OWNER_ONLY)
        self._await("sent")

    def forget_sent(self) -> None:
        """It was read there: the disk has room again."""
        (self._folder / "in").unlink(missing_ok=True)

    def fetch(self, size: int) -> bytearray:
        """What code there has put at `out`, which has that size. Unavailable when it cannot come."""
        data = bytearray(size)  # memory that becomes that of the values
        with self.fetch_file(size).open("rb") as file:
            file.readinto(data)
        return data

    def fetch_file(self, size: int) -> Path:
        """The same as a file, which goes with the exchange."""
        files.write(self._folder / "wanted", str(size), flush=False)
        self._await("come")
        return self._folder / "out"

    def _await(self, name: str) -> Path:
        path, asked_at, began = self._folder / name, -_ASK_S, time.monotonic()
        while not path.exists():
            if (problem := self._folder / "problem").exists():
                what = f"variables cannot go between here and {self._kernel.uri}: {problem.read_text()}"
                raise Unavailable(what, "see to that, and run the cell again; the session goes on")
            if time.monotonic() - asked_at >= _ASK_S:
                asked_at = time.monotonic()
                self._ask(name, asked_at - began)
            time.sleep(_WAIT_S)
        return path

    def _ask(self, name: str, waited_s: float) -> None:
        """Have the keeper look, and see that there is one."""
        await_keeper(self._kernel)
        wake(self._kernel)
        state = self._kernel.state()
        if state.unreached_at:
            self.note(f"waits for its host, which is not reached ({state.unreached})")
        elif name == "paths" and waited_s > _OLD_S:
            fix = f"start the session again: {self._kernel.command('stop')}, then {self._kernel.command('start')}"
            raise Unavailable(f"the keeper of {self._kernel.uri} is of an earlier version", fix)


@contextmanager
def exchanging(kernel: KeptKernel, name: str = "") -> Iterator[Exchange]:
    """Exchange files with the code of a kernel; all of them are removed at the end.

    name: of one that a killed process has left, see `keep`, or NAME_PART for a part of one
    """
    folder = kernel.folder / FOLDER / (name or secrets.token_hex(8))
    files.make_private_folder(folder)
    owner = files.take_lock(folder / "owner")
    try:
        yield Exchange(kernel, folder)
    finally:
        for _ in range(_REMOVALS):  # the keeper may have been about to write into it
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
        if owner is not None:
            owner.close()
        with contextlib.suppress(LabError):
            wake(kernel)  # so that its host removes its files, too
