"""What the sinks that ask a server share: a bound on each connection, few attempts, and reasons without secrets.

What a client raises may quote a URL or what it sent: only its kind and its number are written, and no cause is kept.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..config import Settings, settings
from ..errors import Denied, LabError, UsageProblem

BOUND_S = 30.0
"""All attempts together, pauses included."""
_PAUSES_S = (0.25, 1.0)
_USUAL_TIMEOUT_S = 10.0

T = TypeVar("T")


class Again(Exception):
    """An attempt that is worth another. after_s: how long the server asks to wait before."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


def timeout_s(where: Settings | None = None) -> float:
    """How long one attempt may take (`alerts.timeout_s`)."""
    found = (where or settings()).get("alerts.timeout_s", _USUAL_TIMEOUT_S)
    if not 0 < found <= BOUND_S:
        raise UsageProblem(f"alerts.timeout_s = {found} is no time for an attempt", f"write seconds up to {BOUND_S:g}")
    return found


def attempt(step: Callable[[], T], problem: Callable[[str], LabError]) -> T:
    """What `step` returns, called again while it raises Again, three times at most; then the problem with its reason.

    A server that asks to wait for longer than there is time is not asked again now.
    """
    until_at = time.monotonic() + BOUND_S
    for pause_s in (*_PAUSES_S, None):
        try:
            return step()
        except Again as again:
            reason, wait_s = again.reason, max(pause_s or 0.0, again.after_s)
        if pause_s is None or time.monotonic() + wait_s >= until_at:
            break
        time.sleep(wait_s)
    raise problem(reason) from None


@contextlib.contextmanager
def cut_after(seconds: float, connection: Callable[[], socket.socket | None]) -> Iterator[None]:
    """End the connection, with a TimeoutError, when the block takes longer: a socket's own time-out counts anew with
    each byte that trickles in."""
    is_over = threading.Event()

    def cut() -> None:
        is_over.set()
        if (found := connection()) is not None:
            with contextlib.suppress(OSError):
                # Of an SSLSocket its own would take away what the thread that reads works on.
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if is_over.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def is_this_machine(host: str) -> bool:
    """Whether a host's name or address means the machine that this runs on."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def reason_of(problem: Exception) -> str:
    """Why a connection failed, in words that hold nothing of what was sent."""
    if isinstance(problem, TimeoutError) or isinstance(problem.__context__, TimeoutError):
        return "it does not answer in time"
    if isinstance(problem, socket.gaierror):
        return "no address is known for its name"
    if isinstance(problem, ssl.SSLError):
        return f"no encrypted connection: {problem.reason or type(problem).__name__}"
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    return f"it ends the connection ({type(problem).__name__})"


def untrusted(server: str, problem: ssl.SSLCertVerificationError) -> Denied:
    """The server's certificate is not to be trusted; to try again would not help."""
    return Denied(
        f"the certificate of {server} cannot be trusted: {problem.verify_message}",
        "if it is of an authority of your own: `export SSL_CERT_FILE=…` with that authority's certificate",
    )
