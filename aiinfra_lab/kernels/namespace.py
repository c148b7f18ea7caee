"""The namespace of a kernel whose machine is taken away: saved here when that is announced, put back on the next one.

The kernel itself writes and reads it, see `values.namespace`; here nobody opens the file. It comes by an exchange, as
variables of cells do, and goes by one that stays until the next kernel has read it.
"""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import queue
import shutil
import time
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from .. import files, modes
from ..errors import LabError, Unavailable
from .base import Place
from .client import RunningCode, connected, wake
from .errand import send_off
from .exchange import exchanging
from .exchanges import FOLDER
from .kept import KeptKernel
from .reach import LocalReach
from .values import sent

_log = logging.getLogger(__name__)

FILE = "namespace"  # in the kernel's folder; of its exchange, too
_LOOK_S = 0.05
_LAST_S = 1.0  # before the machine goes, within which nothing more is begun
_STALE_S = 600.0
_READ_S = 900.0  # for the next kernel to have read it, behind what clients have sent


class SavedNamespace:
    """Of one kept kernel, by its keeper. most_bytes: 0 for one that is not to be saved.

    What takes its time is done in threads, as a client of the kernel that others do not see.
    """

    def __init__(self, kernel: KeptKernel, most_bytes: int) -> None:
        self._kernel, self._most_bytes = kernel, most_bytes
        self._file, self._folder = kernel.folder / FILE, kernel.folder / FOLDER / FILE
        self._saving: Future[None] | None = None
        self._saved_of = 0  # whose: the number of the kernel
        self._lock: IO[bytes] | None = None
        self._is_awaited, self._offered = False, 0
        if self._folder.is_dir():  # a keeper that was killed has begun to send it
            self._hold()

    def save(self, incarnation: int, notice_at: float, left_s: float) -> None:
        """Begin to save it, and again after each cell until the machine is taken. Once for each kernel.

        notice_at: when that is by its machine's clock, and left_s until then
        """
        if self._most_bytes and incarnation != self._saved_of:
            self._saved_of = incarnation
            until = time.monotonic() + left_s
            self._saving = send_off(lambda: self._save(incarnation, notice_at, until))

    def first_request(self, place: Place, where: str, lost_at: float) -> str:
        """The code that the next kernel runs first, which puts back what was saved. where: what its user is told first.
        lost_at: when the machine was lost, in epoch seconds"""
        if self._saving is not None:
            with contextlib.suppress(TimeoutError):
                self._saving.exception(_LOOK_S * 100)  # what has come is moved to its place
        size, path = 0, ""
        with contextlib.suppress(OSError):
            found = self._file.stat()
            if found.st_mtime < lost_at - _STALE_S:  # its machine was not taken then, and much has been run since
                raise FileNotFoundError
            size, self._offered = found.st_size, found.st_ino
            self._offer()
            path = f"{place.folder}/{FOLDER}/{FILE}.in"
            if isinstance(place.reach, LocalReach):
                path = str(self._folder / "in")
        self._is_awaited = True
        return f"{sent.source()}\n__import__('aiinfra_values').namespace.restore({path!r}, {size}, {where!r})"

    def forget_when_read(self) -> None:
        """The next kernel has begun: remove what was saved once it has read that; nothing when none waits for it."""
        if self._is_awaited or self._lock is not None:
            self._is_awaited = False
            send_off(self._forget)

    def close(self) -> None:
        """Remove it all."""
        self._file.unlink(missing_ok=True)
        self._remove_exchange()

    def _save(self, incarnation: int, notice_at: float, until: float) -> None:
        try:
            with connected(self._kernel) as client:
                while self._is_time(until):
                    self._save_once(client, incarnation, notice_at, until)
                    while not _ran(client):
                        if not (self._is_time(until) and self._is_there(incarnation)):
                            return
        except Exception as problem:  # noqa: BLE001  # nobody waits for it; the text of others' errors may hold values
            why = problem.what if isinstance(problem, LabError) else type(problem).__name__
            _log.warning("the namespace of %s is not saved: %s", self._kernel.uri, why)

    def _is_time(self, until: float) -> bool:
        return time.monotonic() < until - _LAST_S

    def _is_there(self, incarnation: int) -> bool:
        state = self._kernel.state()
        return state.incarnation == incarnation > state.crashed

    def _save_once(self, client: Any, incarnation: int, notice_at: float, until: float) -> None:
        with exchanging(self._kernel) as exchange:
            path = exchange.paths["out"]
            if not self._is_there(incarnation):
                raise Unavailable("its machine was gone before", "run again what is needed")
            ask = f"__import__('aiinfra_values').namespace.save({path!r}, {self._most_bytes}, {notice_at - _LAST_S})"
            is_there = f"getattr(__import__('sys').modules.get('aiinfra_values'), 'DIGEST', '') == {sent.digest()!r}"
            left_s = until - time.monotonic()
            answer = self._run(client, "pass", f"{is_there} and {ask}", left_s) or self._run(
                client, sent.source(), ask, left_s
            )
            found = json.loads(answer)
            if found["problem"]:
                raise Unavailable(found["problem"], "keep in files what must not be lost")
            is_whole = self._fetch(exchange.folder, found["size"], incarnation, until)
            if (out := exchange.folder / "out").exists() and (is_whole or not self._file.exists()):
                files.publish(out, self._file, replace=True, flush=False)

    def _run(self, client: Any, code: str, expression: str, left_s: float) -> Any:
        running = RunningCode(self._kernel, client, lambda _: None, left_s)
        content: dict[str, Any] = {"silent": True, "store_history": False, "user_expressions": {"it": expression}}
        reply = running.run(code, interrupt=False, **content)
        found = reply.get("user_expressions", {}).get("it", {})
        if found.get("status") != "ok":
            kind = found.get("ename") or reply.get("ename")
            raise Unavailable(f"its kernel raised {kind}", "keep in files what must not be lost")
        return ast.literal_eval(found["data"]["text/plain"])

    def _fetch(self, folder: Path, size: int, incarnation: int, until: float) -> bool:
        """Whether all of it is here."""
        files.write(folder / "wanted", str(size), flush=False)
        wake(self._kernel)
        while not (folder / "come").exists():
            if (folder / "problem").exists() or time.monotonic() > until or not self._is_there(incarnation):
                return False
            time.sleep(_LOOK_S)
        return True

    def _offer(self) -> None:
        """Have it brought to the next host."""
        files.make_private_folder(self._folder)
        self._hold()
        for name in ("paths", "sent", "problem", "in"):  # of a machine that was lost before it was read there
            (self._folder / name).unlink(missing_ok=True)
        os.link(self._file, self._folder / "in")
        (self._folder / "send").touch(modes.OWNER_ONLY)

    def _hold(self) -> None:
        if self._lock is None:
            self._lock = files.take_lock(self._folder / "owner")

    def _forget(self) -> None:
        with contextlib.suppress(LabError):
            with connected(self._kernel) as client:  # behind the first request
                self._run(client, "pass", "None", _READ_S)
            with contextlib.suppress(OSError):
                if self._file.stat().st_ino == self._offered:  # else it was saved again, since that machine goes too
                    self._file.unlink()
            self._remove_exchange()

    def _remove_exchange(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _ran(client: Any) -> bool:
    """Whether somebody has run a cell just now."""
    try:
        return bool(client.get_iopub_msg(timeout=_LOOK_S * 10)["msg_type"] == "execute_input")
    except queue.Empty:
        return False
