"""A proxy before a kept kernel's control channel.

Clients end a kernel by a `shutdown_request`, and every notebook that closes sends one. Here it means: detach. With
`restart` set it asks for a fresh kernel in the same session. Everything else passes as it is, in both directions.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from .kept import CHANNELS, KERNELS_OWN_CONTROL, KeptKernel

_DELIMITER = b"<IDS|MSG>"


class ControlProxy:
    """Binds the clients' control socket, and passes messages on to the kernel's own."""

    def __init__(self, kernel: KeptKernel, sockets: Path) -> None:
        import zmq
        from jupyter_client.session import Session

        info = kernel.connection_info()
        self._sockets = sockets
        # A context of our own: `term` waits for every socket of it, and the shared one may have others'.
        self._context = zmq.Context()
        self._session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
        self._front = self._context.socket(zmq.ROUTER)
        self._front.bind(f"ipc://{sockets}/k-{CHANNELS['control_port']}")
        self._kernel: Any = None
        self.is_answered = False

    def connect(self) -> None:
        """Connect to a kernel that was just started, and send it a request: `is_answered` once it has replied."""
        import zmq

        self._close_kernel()
        self.is_answered = False
        # It keeps the client's address that ROUTER put in front, by which the answer finds its way back.
        self._kernel = self._context.socket(zmq.DEALER)
        self._kernel.linger = 0
        self._kernel.connect(f"ipc://{self._sockets}/k-{KERNELS_OWN_CONTROL}")
        self._session.send(self._kernel, "kernel_info_request")

    def serve(self, timeout_s: float) -> bool:
        """Pass on what comes within that time; whether a client asked for a restart."""
        import zmq

        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._kernel, zmq.POLLIN)
        ready = dict(poller.poll(int(timeout_s * 1000)))
        if self._kernel in ready:
            self._from_kernel(self._kernel.recv_multipart())
        return self._front in ready and self._from_client(self._front.recv_multipart())

    def shut_down_kernel(self) -> None:
        """Ask the kernel itself to shut down."""
        self._session.send(self._kernel, "shutdown_request", {"restart": False})

    def close(self) -> None:
        """Close the sockets."""
        self._close_kernel()
        self._front.close(linger=200)
        self._context.term()

    def _close_kernel(self) -> None:
        if self._kernel is not None:
            self._kernel.close(linger=200)

    def _from_kernel(self, frames: list[bytes]) -> None:
        if frames[0] == _DELIMITER:  # nobody's address before it: the answer to our own question
            self.is_answered = True
        else:
            self._front.send_multipart(frames)

    def _from_client(self, frames: list[bytes]) -> bool:
        import zmq

        # After the addresses: delimiter, signature, header, parent header, metadata, content.
        at = frames.index(_DELIMITER) if _DELIMITER in frames else -1
        if at < 1 or len(frames) < at + 6 or _kind(frames[at + 2]) != "shutdown_request":
            with contextlib.suppress(zmq.Again):  # a kernel that reads nothing must not hold up the keeper
                self._kernel.send_multipart(frames, zmq.NOBLOCK)
            return False
        try:
            message = self._session.deserialize(frames[at + 1 :])
        except ValueError:  # not signed by our key, or sent twice: the kernel would not listen to it either
            return False
        restart = bool(message["content"].get("restart"))
        answer = {"status": "ok", "restart": restart}
        self._session.send(self._front, "shutdown_reply", answer, parent=message, ident=frames[:at])
        return restart


def _kind(header: bytes) -> str:
    try:
        return str(json.loads(header)["msg_type"])
    except (ValueError, KeyError, TypeError):
        return ""
