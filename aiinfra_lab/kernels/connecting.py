"""Opening a connection to a core: attempts side by side, of which the first that gets through counts.

An attempt that began while a link was down may wait for something that never comes: it was sent from an address that is
another one now, or is sent again only after seconds. One that begins when the link is back gets through at once.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future

from .errand import Wakeup, send_off
from .reach import ByteStream, Reach

_BACK_OFF_S = (0.0, 0.1, 0.3, 0.5, 1.0)  # after an attempt that has failed
_MANY, _RARELY_S = 30, 2.0  # after so many: a machine that is off for long costs less, and is still found soon
_BRIEF_S = 3.0  # for all attempts but one, where a host is fast; that one gets the time that its host takes
_USUAL_S = 0.5
_LONG_S = 60.0


class Connecting:
    """Attempts to reach one core, `reach.attempts` of them at one time.

    problem: why the last that failed has. took_s: how long it takes to get through, as far as that is known; at most
    twice as long as before, since one that waited for its link says nothing of the host
    """

    def __init__(self, reach: Reach) -> None:
        self.reach, self.problem, self.took_s = reach, "", _USUAL_S
        self.wakeup = Wakeup()  # rung when an attempt is over
        self._attempts: dict[Future[ByteStream], float] = {}  # and when each began
        self._long: Future[ByteStream] | None = None
        self._failures, self._next_at = 0, 0.0

    def due_s(self) -> float:
        """After how long `take` begins another attempt, unless one that is under way ends before."""
        is_full = len(self._attempts) >= self.reach.attempts
        return math.inf if is_full else max(0.0, self._next_at - time.monotonic())

    def take(self) -> ByteStream | None:
        """Begin what is due, without waiting; a connection when there is one, and then no attempt goes on."""
        self.wakeup.clear()
        for attempt in [each for each in self._attempts if each.done()]:
            took_s = time.monotonic() - self._attempts.pop(attempt)
            if (problem := attempt.exception()) is None:
                self.took_s = min(took_s, 2 * max(self.took_s, _USUAL_S))
                self.stop()
                return attempt.result()
            self.failed(str(problem))
        if self.due_s() == 0:
            self._begin()
        return None

    def failed(self, problem: str) -> None:
        """An attempt has failed, or a connection has broken: there is another attempt after a while."""
        self.problem = problem
        self._next_at = min(self._next_at, time.monotonic() + self._pause_s())
        self._failures += 1

    def succeeded(self) -> None:
        """A core has answered: should it break, there is another attempt at once."""
        self.problem, self._failures = "", 0

    def stop(self) -> None:
        """Whatever comes of the attempts under way is of no use any more."""
        for attempt in self._attempts:
            attempt.add_done_callback(_let_go)
        self._attempts.clear()
        self._next_at = min(self._next_at, time.monotonic() + _BACK_OFF_S[-1])

    def close(self) -> None:
        self.stop()
        self.wakeup.close()

    def _begin(self) -> None:
        is_long = self._long not in self._attempts
        brief_s = max(_BRIEF_S, 2 * self.took_s)
        within_s = _LONG_S if is_long else brief_s
        attempt = send_off(lambda: self.reach.connect(within_s))
        attempt.add_done_callback(lambda _: self.wakeup.ring())
        self._attempts[attempt] = time.monotonic()
        if is_long:
            self._long = attempt
        beside = self.reach.attempts - 1
        self._next_at = time.monotonic() + max(brief_s / beside, self._pause_s()) if beside else math.inf

    def _pause_s(self) -> float:
        return _RARELY_S if self._failures >= _MANY else _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]


def _let_go(attempt: Future[ByteStream]) -> None:
    if attempt.exception() is None:
        attempt.result().close()
