"""What runs first in a session's pod: it ends the pod when the session is over there. Nothing here imports it.

Its text goes to `python3 -c` in the image, of Python 3.9 or later. It ends when the host core has, or when none was
begun in time, or at the deadline, which the core moves by a file. When the pod is taken away it says so to the core by
a file, `notice`, and lets it work on and save what is there; it has it end in order before it is killed. It collects
what has lost its parent, as the first process of a container must.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

_LOOK_S = 0.2
_LATE_S = 10.0  # after the deadline, which the core keeps by itself
_WRONG_S = 60.0  # for an owner by whose clock the deadline had passed when the pod began: who comes lives, and counts
_LINGER_S = 60.0  # so long a core that has ended can be asked for what it has left
_IN_ORDER_S = 15.0  # for a core to end its kernel, and for its owner to hear why


class Pod:
    """Its life. folder: of the core. left_s: until its deadline. begin_s: within which a core must be there. grace_s:
    between the request to end and the kill."""

    def __init__(self, folder: str, left_s: float, begin_s: float, grace_s: float) -> None:
        self.folder, self.grace_s = Path(folder).expanduser(), grace_s
        self.end_at, self.begin_by = time.monotonic() + left_s, time.monotonic() + begin_s
        self.lease = 0
        self.over_at: float | None = None
        self.asked_at: float | None = None
        self.is_ending = False

    def ask(self, *_: object) -> None:
        """The pod is taken away, or was deleted."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            with contextlib.suppress(OSError):  # there is no core yet, or no room
                (self.folder / "notice").write_text(f"{time.time() + self._left_s():.3f}", "utf-8")

    def _left_s(self) -> float:
        """For the core to work on, of the time until the kill."""
        return max(self.grace_s - _IN_ORDER_S, self.grace_s / 2)

    def why_over(self) -> str:
        """Why it ends now; empty while it goes on."""
        now, core = time.monotonic(), self._core()
        self._read_lease(now)
        if now > self.end_at + (_LATE_S if core else 0.0):
            return "its deadline has come"
        if core is None:
            return "no session began in it" if self.asked_at or now > self.begin_by else ""
        if core:
            self.over_at = None
            self._end_in_order(core, now)
            return ""
        if self.is_ending:  # until it is killed, so that whoever asks meanwhile sees that it is taken away
            return ""
        self.over_at = self.over_at or now
        return "its session is over" if self.asked_at or now > self.over_at + _LINGER_S else ""

    def _end_in_order(self, core: int, now: float) -> None:
        """Have the core end as late as it can before the kill: until then it works on."""
        if self.asked_at and not self.is_ending and now > self.asked_at + self._left_s():
            self.is_ending = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(core, signal.SIGTERM)

    def _core(self) -> int | None:
        """The process of the core; 0 when it has ended, None when there never was one."""
        try:
            state = json.loads((self.folder / "host.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        is_alive = state["phase"] != "ended" and Path(f"/proc/{state['pid']}").exists()
        return int(state["pid"]) if is_alive else 0

    def _read_lease(self, now: float) -> None:
        """Take the deadline that the core has set last: seconds, from when they were written."""
        path = self.folder / "lease"
        with contextlib.suppress(OSError, ValueError):
            written = path.stat().st_mtime_ns
            if written != self.lease:
                self.end_at = now + float(path.read_text("utf-8"))
                self.lease = written


def limits(left_s: float, by_clock_s: float, begin_s: float) -> tuple[float, float]:
    """Until the deadline, and for a core to begin, given both of what `main` is.

    One that has passed may be so because the pod waited, and then nobody comes; or the clocks of cluster and owner show
    other times, and then the owner comes at once.
    """
    if by_clock_s > 0:
        return min(left_s, by_clock_s), begin_s
    return left_s, min(begin_s, _WRONG_S)


def main(folder: str, left_s: str, deadline_at: str, begin_s: str, grace_s: str) -> None:
    """Live until there is a reason to end, which is written to the pod's log.

    left_s: until the deadline, when this was written; deadline_at: the same by the clock, since a pod may have waited
    """
    pod = Pod(folder, *limits(float(left_s), float(deadline_at) - time.time(), float(begin_s)), float(grace_s))
    signal.signal(signal.SIGTERM, pod.ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not (why := pod.why_over()):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_LOOK_S)
    sys.stdout.write(f"{why}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
