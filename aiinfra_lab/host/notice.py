"""When the machine will be taken away, where its provider has said so.

A file says it, which whoever has the machine writes: `notice` in the core's folder, or what `AIINFRA_NOTICE` names; or
the instance metadata service of AWS, version 2. Only a machine of AWS's has one; anywhere else nothing is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from . import processes

_ENDPOINT = "//169.254.169.254"  # link-local, and the same on every machine
_PATH = "/latest/meta-data/spot/instance-action"
# Who has made the machine, as its firmware says.
_MAKER = Path("/sys/class/dmi/id/sys_vendor")
_TOKEN_S = 21600


FILE = "AIINFRA_NOTICE"
_LOOK_S, _ASK_S = 1.0, 5.0  # the file is looked at more often than the service is asked


class NoticeWatch:
    """Looks for a notice beside the loop that must not wait for it. heard: when the machine is taken, in epoch seconds;
    0 while nobody has said so.

    folder: where the file `notice` may come. wake: called once it is heard
    """

    def __init__(self, folder: Path | None = None, wake: Callable[[], object] = lambda: None) -> None:
        self.heard = 0.0
        self._folder, self._wake = folder, wake
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        ask_at = 0.0
        while not self.heard:
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + _ASK_S
                self.heard = notice() or 0.0
            self.heard = self.heard or _written(self._folder and self._folder / "notice") or 0.0
            if not self.heard:
                time.sleep(_LOOK_S)
        self._wake()


class MachineNotice:
    """The same for code that runs on the machine and asks often: by the file alone, which the core writes too."""

    def __init__(self) -> None:
        named = os.environ.get(FILE)
        self._path = Path(named).expanduser() if named else None
        self._heard, self._look_at = False, 0.0

    def is_heard(self) -> bool:
        """Whether the machine will be taken away."""
        if self._path is not None and not self._heard and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            self._heard = _written(self._path) is not None
        return self._heard


def wake_loop() -> None:
    """Have the loop of this process turn that waits for its signals."""
    processes.signal_process(os.getpid(), signal.SIGCHLD)


def _written(path: Path | None) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        return float(path.read_text()) if path else None
    return None


class _Token:
    """The last token, and until when it is good."""

    text, good_until = "", 0.0


def notice(within_s: float = 1.0) -> float | None:
    """When the machine is taken, in epoch seconds; None when nobody has said that it is. Asks for so long at most, for
    each of two questions, and raises nothing."""
    if (named := os.environ.get(FILE)) and (at := _written(Path(named).expanduser())) is not None:
        return at
    endpoint = _endpoint()
    if endpoint is None:
        return None
    try:
        return _asked(endpoint, within_s)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None  # it is asked again


def _endpoint() -> str | None:
    """Where the service is; None where there is none."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    if named := os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return named
    try:
        return _ENDPOINT if "Amazon EC2" in _MAKER.read_text() else None
    except OSError:
        return None


def _asked(endpoint: str, within_s: float) -> float | None:
    if time.monotonic() > _Token.good_until:
        _renew(endpoint, within_s)
    status, body = _request(endpoint, within_s, "GET", _PATH, {"X-aws-ec2-metadata-token": _Token.text})
    if status == 401:  # it does not know the token any more: a new one is asked for with the next question
        _Token.good_until = 0.0
    if status != 200:
        return None
    return datetime.strptime(json.loads(body)["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()


def _renew(endpoint: str, within_s: float) -> None:
    lasts = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
    status, _Token.text = _request(endpoint, within_s, "PUT", "/latest/api/token", lasts)
    if status != 200:
        raise ValueError("no token is given")
    _Token.good_until = time.monotonic() + _TOKEN_S - 60


def _request(endpoint: str, within_s: float, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    # By no proxy: the service refuses what came through one.
    where = urlsplit(endpoint)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=within_s)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
