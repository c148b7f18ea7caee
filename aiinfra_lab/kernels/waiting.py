"""A host core that the pool has forked before anybody knows for which kernel: it waits for its spec.

To fork it and what belongs to it takes longer than to plan a step. So whoever will need one has it forked meanwhile.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import select
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

from ..host.spec import LISTENING, SIZE_BYTES, HostSpec
from ..modes import users_umask
from ..pool import asking, match, wanted

_log = logging.getLogger(__name__)

_BEGIN_S = 30.0
# What it has imported was compared with what is installed when it was forked: one that has waited for longer is not
# taken, nor are limits and niceness of before.
_FRESH_S = 1.0


class WaitingCore:
    """One of them, which ends without a spec when it is discarded, or this process ends."""

    def __init__(self, core: asking.Forked, spec: int, answer: int, fixed: Mapping[str, str]) -> None:
        self._core, self._spec, self._answer, self._fixed = core, spec, answer, fixed
        self._forked_at = time.monotonic()

    @classmethod
    def forked(cls, env: Mapping[str, str]) -> WaitingCore | None:
        """Returns when it is there; None where the pool has forked none."""
        folder, umask, fixed = str(Path.cwd()), users_umask(), match.read_at_start(env)
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            given, spec = _pipe(theirs, ours)
            answer, report = _pipe(ours, theirs)
            null = theirs.enter_context(Path(os.devnull).open("wb"))
            streams = (given, report, null.fileno())
            core = asking.fork("keep", ["aiinfra-keep"], env=env, cwd=folder, umask=umask, descriptors=streams)
            if core is None:
                return None
            ours.pop_all()
            return cls(core, spec, answer, fixed)

    @property
    def is_fresh(self) -> bool:
        """Whether it is as one that would be forked now."""
        return time.monotonic() - self._forked_at < _FRESH_S

    def begin(self, spec: HostSpec) -> bool:
        """Have it keep the kernel of that spec; returns whether an owner may connect. What does not listen has ended,
        or finds the one that is spawned instead."""
        is_fit = match.read_at_start(spec.env) == self._fixed
        self._give(spec.dump() if is_fit else b"")
        poller = select.poll()
        poller.register(self._answer, select.POLLIN)
        listens = is_fit and bool(poller.poll(_BEGIN_S * 1000)) and os.read(self._answer, 64) == LISTENING
        self._leave()
        return listens

    def discard(self) -> None:
        """It is not needed."""
        self._give(b"")
        self._leave()

    def forget(self) -> None:
        """It is that of the process of which this one is a fork."""
        os.close(self._spec)
        self._leave()

    def _give(self, text: bytes) -> None:
        """With its size: the pipe's end may be open in a fork of this process, too."""
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._spec, "wb") as writer:  # it was killed
            writer.write(len(text).to_bytes(SIZE_BYTES, "big") + text)

    def _leave(self) -> None:
        os.close(self._answer)
        self._core.leave()


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe of which each end is closed by one of these."""
    ends = os.pipe()
    for stack, end in zip((reader, writer), ends, strict=True):
        stack.callback(os.close, end)
    return ends


class _Asked:
    """One that is being forked, in a thread of its own, or waits."""

    def __init__(self) -> None:
        self._lock, self._is_needed = threading.Lock(), True
        self._core: WaitingCore | None = None
        run = contextvars.copy_context().run  # in which the settings are
        self._thread = threading.Thread(target=run, args=(self._fork,), daemon=True)
        self._thread.start()

    @property
    def is_fresh(self) -> bool:
        return self._thread.is_alive() or (self._core is not None and self._core.is_fresh)

    def taken(self) -> WaitingCore | None:
        """It, once it is there; None where there is none, or it has waited for too long."""
        self._thread.join()
        if self._core is not None and not self._core.is_fresh:
            self._core.discard()
            return None
        return self._core

    def discard(self) -> None:
        """Have it end, also one that is not there yet; returns at once."""
        with self._lock:
            self._is_needed, core = False, self._core
        if core is not None:
            core.discard()

    def forget(self) -> None:
        """See `WaitingCore.forget`."""
        if self._core is not None:
            self._core.forget()

    def _fork(self) -> None:
        try:
            core = WaitingCore.forked(os.environ) if wanted.is_on() else None
        except Exception as problem:  # noqa: BLE001  # one will be forked, or spawned, when it is needed
            _log.debug("none is forked: %s", problem)
            return
        with self._lock:
            if self._is_needed:
                self._core = core
                return
        if core is not None:
            core.discard()


class HostCores:
    """Host cores out of the pool for the kernels of who has this, of which one at most waits.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: _Asked | None = None
        _all.add(self)

    def prepare(self) -> None:
        """Have one forked in the background, unless one waits already; nothing where there is no pool."""
        with self._lock:
            old = self._asked
            if old is not None and old.is_fresh:
                return
            self._asked = _Asked()
        if old is not None:
            old.discard()

    def discard(self) -> None:
        """The one that waits, if any, is not needed."""
        if (asked := self._take()) is not None:
            asked.discard()

    def begin(self, spec: HostSpec) -> bool:
        """Whether a core keeps the kernel of that spec now, and listens: the one that waits, or another one."""
        asked = self._take()
        if asked is not None and (core := asked.taken()) is not None and core.begin(spec):
            return True
        another = WaitingCore.forked(spec.env)
        return another is not None and another.begin(spec)

    def part(self) -> None:
        """In a fork of this process: it is the other one's, whose threads are not here."""
        asked, self._lock, self._asked = self._asked, threading.Lock(), None
        if asked is not None:
            asked.forget()

    def _take(self) -> _Asked | None:
        with self._lock:
            asked, self._asked = self._asked, None
            return asked


_all: weakref.WeakSet[HostCores] = weakref.WeakSet()


def _part_all() -> None:
    for each in _all:
        each.part()


os.register_at_fork(after_in_child=_part_all)
