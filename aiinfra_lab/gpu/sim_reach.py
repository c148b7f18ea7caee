"""The way to a machine of the cloud in a clock: a socket on this machine, which can be cut as a network can."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Literal

from ..errors import Unavailable
from ..kernels.reach import ByteStream, LocalReach

CUT = "cut-until"
_LOOK_S = 0.05


class SimReach(LocalReach):
    """See `Reach`. It is cut until the time (epoch seconds) that the file `cut-until` of its folder holds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = folder / CUT

    def connect(self, within_s: float | None = None) -> ByteStream:
        if self._is_cut():
            raise Unavailable("the network is cut", "it comes back by itself")
        stream = super().connect(within_s)
        # Another descriptor of the same connection: the stream closes its own when it likes.
        watched = socket.socket(fileno=os.dup(stream.reads))
        is_closed = threading.Event()
        threading.Thread(target=self._watch, args=(watched, is_closed), daemon=True).start()

        def close() -> None:
            is_closed.set()
            stream.close()

        return ByteStream(stream.reads, stream.writes, close, stream.problem, stream.is_last)

    def serve(self, what: Literal["sync", "environment"], folder: str) -> ByteStream:
        if self._is_cut():
            raise Unavailable("the network is cut", "it comes back by itself")
        return super().serve(what, folder)

    def _watch(self, watched: socket.socket, is_closed: threading.Event) -> None:
        with watched:
            while not is_closed.wait(_LOOK_S):
                if self._is_cut():
                    watched.shutdown(socket.SHUT_RDWR)
                    return

    def _is_cut(self) -> bool:
        try:
            return time.time() < float(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return False
