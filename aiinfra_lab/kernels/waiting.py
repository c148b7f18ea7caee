"""A host core that the pool has forked before anybody knows for which kernel: it waits for its spec.

To fork it and what belongs to it takes longer than to plan a step. So whoever will need one has it forked meanwhile.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from ..host.spec import HostSpec
from ..modes import users_umask
from ..pool import asking, match, wanted

_LISTENING = b"listening\n"


class WaitingCore:
    """One of them, which ends without a spec when it is discarded, or this process ends."""

    def __init__(self, core: asking.Forked, spec: int, answer: int, fixed: Mapping[str, str]) -> None:
        self._core, self._spec, self._answer, self._fixed = core, spec, answer, fixed

    @classmethod
    def forked(cls, env: Mapping[str, str]) -> WaitingCore | None:
        """Returns when it is there; None where the pool has forked none."""
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            ends = [os.pipe(), os.pipe()]
            spec, answer = ends[0][1], ends[1][0]
            for each in (spec, answer):
                ours.callback(os.close, each)
            for each in (ends[0][0], ends[1][1], null := os.open(os.devnull, os.O_WRONLY)):
                theirs.callback(os.close, each)
            streams = (ends[0][0], ends[1][1], null)
            folder, umask = str(Path.cwd()), users_umask()
            core = asking.fork("keep", ["aiinfra-keep"], env=env, cwd=folder, umask=umask, descriptors=streams)
            if core is None:
                return None
            ours.pop_all()
            return cls(core, spec, answer, match.read_at_start(env))

    def begin(self, spec: HostSpec) -> bool:
        """Have it keep the kernel of that spec; returns whether an owner may connect. What does not listen has ended,
        or finds the one that is spawned instead."""
        is_fit = match.read_at_start(spec.env) == self._fixed
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._spec, "wb") as writer:  # it was killed
            writer.write(spec.dump() if is_fit else b"")
        with os.fdopen(self._answer, "rb") as reader:
            listens = reader.read(len(_LISTENING)) == _LISTENING
        self._core.leave()
        return listens

    def discard(self) -> None:
        """It is not needed."""
        os.close(self._spec)
        os.close(self._answer)
        self._core.leave()


class _Ahead:
    """At most one, which is being forked or waits. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forking: threading.Thread | None = None
        self._core: WaitingCore | None = None

    def have(self) -> None:
        with self._lock:
            if self._forking is None:
                run = contextvars.copy_context().run  # in which the settings are
                self._forking = threading.Thread(target=run, args=(self._fork,), daemon=True)
                self._forking.start()

    def take(self) -> WaitingCore | None:
        with self._lock:
            if self._forking is not None:
                self._forking.join()
            core, self._core, self._forking = self._core, None, None
            return core

    def _fork(self) -> None:
        with contextlib.suppress(OSError):
            self._core = WaitingCore.forked(os.environ) if wanted.pool() else None


_ahead = _Ahead()


def have_one() -> None:
    """Have one forked in the background, unless one waits already; nothing where there is no pool."""
    _ahead.have()


def discard() -> None:
    """The one that waits, if any, is not needed."""
    if (core := _ahead.take()) is not None:
        core.discard()


def begin(spec: HostSpec) -> bool:
    """Whether a core out of the pool keeps the kernel of that spec now, and listens: the one that waits, or another
    one."""
    if (core := _ahead.take()) is not None and core.begin(spec):
        return True
    core = WaitingCore.forked(spec.env)
    return core is not None and core.begin(spec)
