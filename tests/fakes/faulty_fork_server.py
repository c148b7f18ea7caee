"""The fork server, of models that do what a file of ONNX hardly ever does: a row with a certain `temp` has it done.

It adds the faults that a native library can have. All else is the real thing: processes, sockets and models.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiinfra_lab.deploy.server import fork_server, model
from aiinfra_lab.deploy.server.model import LoadedModel

HANG, SPIN, CRASH, LEAK, RAISE, NAP = 901.0, 902.0, 903.0, 904.0, 905.0, 906.0
LEAK_BYTES = 32 << 20
NAP_S = 0.2

_kept: list[bytes] = []
_load = model.load


def load(uri: str, folder: Path) -> LoadedModel:
    """The model, with faults."""
    if "hangs-at-load" in uri:
        time.sleep(3600)
    loaded = _load(uri, folder)
    predict = loaded.predict

    def faulty(values: Sequence[tuple[Any, ...]]) -> Any:
        temps = {row[1] for row in values}
        if HANG in temps:
            time.sleep(3600)
        while SPIN in temps:
            pass
        if CRASH in temps:
            os.kill(os.getpid(), signal.SIGSEGV)
        if LEAK in temps:
            _kept.append(os.urandom(1024) * (LEAK_BYTES // 1024))
        if RAISE in temps:
            raise ValueError("a row of this batch cannot be predicted")
        if NAP in temps:
            time.sleep(NAP_S)
        return predict(values)

    loaded.predict = faulty  # type: ignore[method-assign]
    return loaded


if __name__ == "__main__":
    model.load = load
    failing = iter(range(int(os.environ.get("FAILING_FORKS", "0"))))
    fork = os.fork

    def refused() -> int:
        if next(failing, None) is not None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))  # as where a limit of processes is reached
        return fork()

    os.fork = refused
    fork_server.main(int(sys.argv[1]))
