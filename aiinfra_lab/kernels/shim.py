"""The sockets at which Jupyter's clients find a kernel that is kept elsewhere: an ordinary local one, for them.

Clients end a kernel by a `shutdown_request`, and every notebook that closes sends one. At a session it means: detach.
With `restart` set it asks for a fresh kernel in the same session. Everything else passes as it is, both ways.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..host.frames import UNREADABLE, Message, MessageChannel
from ..host.kernel import DELIMITER
from .kept import CHANNELS

LEASE_MOVED = "aiinfra_lease_moved"
"""A message of our own on the control channel: the lease is to be read again."""

_AT_ONCE = 200
RETRY_S = 0.01
_PATIENCE_S = 10.0  # for a client that takes no outputs; then it loses them, and no other is kept waiting
_LENIENT_S = 60.0
_NOBODY = "aiinfra-keeper"  # the address of no client
_OF_CLIENTS = (MessageChannel.SHELL, MessageChannel.STDIN, MessageChannel.CONTROL)


_KERNEL_INFO = {
    "protocol_version": "5.4",
    "implementation": "ipython",
    "implementation_version": "",
    "language_info": {
        "name": "python",
        "version": "",
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
    },
    "banner": "",
    "help_links": [],
    "debugger": True,
    "supported_features": ["debugger"],
}


class Shim:
    """Binds a kernel's sockets in a folder. key: signs its messages. on_shutdown: the command that a request to shut
    down means here, empty for none."""

    def __init__(self, sockets: Path, key: str, *, on_shutdown: bytes = b"") -> None:
        import zmq
        from jupyter_client.session import Session

        self._zmq, self._on_shutdown = zmq, on_shutdown
        # A context of our own: `term` waits for every socket of it, and the shared one may have others'.
        self._context = zmq.Context()
        self._session = Session(key=key.encode(), signature_scheme="hmac-sha256")
        self._sockets: dict[int, Any] = {each: self._bound(zmq.ROUTER, sockets, int(each)) for each in _OF_CLIENTS}
        self._outputs = self._bound(zmq.PUB, sockets, int(MessageChannel.IOPUB))
        self._outputs.setsockopt(zmq.XPUB_NODROP, 1)
        self._beat = self._bound(zmq.ROUTER, sockets, CHANNELS["hb_port"])
        self.is_kernel_there = True  # while it is not, who asks for it is answered here, and everything else waits
        self.is_asked_to_renew = False  # whether somebody has moved the lease
        self._info: dict[str, Any] = {}  # what the kernel has last said of itself
        self._working_on: set[str] = set()
        self._waiting: deque[list[bytes]] = deque()
        self._blocked_at = self._lenient_until = 0.0

    @property
    def sockets(self) -> list[Any]:
        """What to wait for: each is readable when a client has sent something."""
        return [*self._sockets.values(), self._beat]

    @property
    def is_behind(self) -> bool:
        """Whether a client takes no outputs now; `publish` is to be called again after RETRY_S."""
        return bool(self._waiting)

    def receive(self) -> Iterator[tuple[MessageChannel, list[bytes]]]:
        """What clients have sent; for `COMMAND` what it means here."""
        for parts in self._received(self._beat):
            self._beat.send_multipart(parts)
        for channel in _OF_CLIENTS:
            for parts in self._received(self._sockets[channel]):
                if not self.is_kernel_there and self._introduced(channel, parts):
                    continue
                if self._working_on and self._info and channel is MessageChannel.SHELL and self._known(parts):
                    continue
                if channel is not MessageChannel.CONTROL and not _may_end(channel, parts):
                    yield channel, parts
                elif (meaning := self._meaning(channel, parts)) is not None:
                    yield meaning

    def deliver(self, message: Message) -> None:
        """Give the clients what the kernel has sent."""
        self._note(message)
        if message.channel == MessageChannel.IOPUB:
            self._waiting.append(message.parts)
            self.publish()
        elif (found := self._sockets.get(message.channel)) is not None:
            with contextlib.suppress(self._zmq.ZMQError):  # a client that reads no replies
                found.send_multipart(message.parts, self._zmq.NOBLOCK)

    def publish(self) -> None:
        """Send the outputs that wait, in order, as far as clients take them."""
        while self._waiting:
            try:
                self._outputs.send_multipart(self._waiting[0], self._zmq.NOBLOCK)
            except self._zmq.Again:
                now = time.monotonic()
                self._blocked_at = self._blocked_at or now
                if now - self._blocked_at > _PATIENCE_S:
                    self._outputs.setsockopt(self._zmq.XPUB_NODROP, 0)
                    self._lenient_until = now + _LENIENT_S
                    continue
                return
            self._waiting.popleft()
            self._blocked_at = 0.0
        if self._lenient_until and time.monotonic() > self._lenient_until:
            self._outputs.setsockopt(self._zmq.XPUB_NODROP, 1)
            self._lenient_until = 0.0

    def announce(self, kind: str, content: dict[str, Any], parent: dict[str, Any] | None = None) -> None:
        """Publish a message of our own, as if the kernel had. parent: the header of the request that it is about."""
        message = self._session.msg(kind, content, parent={"header": parent or {}})
        self.deliver(
            Message(MessageChannel.IOPUB, time.time(), [f"kernel.{kind}".encode(), *self._session.serialize(message)])
        )

    def refuse(self, channel: MessageChannel, parts: list[bytes], problem: str) -> None:
        """Answer a message that does not reach the kernel by an error, as the kernel would; dropped when nobody has
        signed it, or nobody waits for an answer."""
        if not (kind := self._kind(parts)) or not kind.endswith("_request"):
            return
        try:
            header = json.loads(parts[_start(parts) + 2])
            self._session.pack(header)
        except UNREADABLE:
            return
        text = f"the request is too large for the way to its kernel: {problem}"
        error = {"ename": "MessageTooLarge", "evalue": text, "traceback": [f"MessageTooLarge: {text}"]}
        self._announce_state("busy", header)
        if kind == "execute_request":
            self.announce("error", error, header)
        answer = {"status": "error", "execution_count": 0, **error}
        self._reply(channel, parts, {"header": header}, kind.replace("_request", "_reply"), answer)
        self._announce_state("idle", header)

    def request(self, kind: str, content: dict[str, Any]) -> list[str]:
        """A request of our own to the kernel, whose reply no client gets."""
        message = self._session.serialize(self._session.msg(kind, content))
        return [_NOBODY, *(part.decode() for part in message)]

    def close(self) -> None:
        """Close the sockets."""
        for found in (*self.sockets, self._outputs):
            found.close(linger=200)
        self._context.term()

    def _bound(self, kind: int, sockets: Path, number: int) -> Any:
        found = self._context.socket(kind)
        found.bind(f"ipc://{sockets}/k-{number}")
        return found

    def _received(self, found: Any) -> Iterator[list[bytes]]:
        for _ in range(_AT_ONCE):
            try:
                yield found.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                return

    def _meaning(self, channel: MessageChannel, parts: list[bytes]) -> tuple[MessageChannel, list[bytes]] | None:
        """A message of the control channel, or a request to shut down on the shell channel, where earlier clients send
        it: that is answered here, and is a command or nothing."""
        if (kind := self._kind(parts)) is None:  # the kernel would not listen to it either
            return None
        if kind == LEASE_MOVED:
            self.is_asked_to_renew = True
            return None
        if kind != "shutdown_request":
            return channel, parts
        if (request := self._request(parts)) is None:
            return None
        restart = bool(request["content"].get("restart"))
        self._reply(channel, parts, request, "shutdown_reply", {"status": "ok", "restart": restart})
        command = b"restart" if restart else self._on_shutdown
        return (MessageChannel.COMMAND, [command]) if command else None

    def _introduced(self, channel: MessageChannel, parts: list[bytes]) -> bool:
        """Answer a client that asks what kernel this is, while it is not there: it would wait for the machine, and with
        it whoever has opened a notebook. Whether it was answered."""
        if self._kind(parts) != "kernel_info_request":
            return False
        if (request := self._request(parts)) is None:
            return True
        self._announce_state("busy", request["header"])
        self._reply(channel, parts, request, "kernel_info_reply", {"status": "ok", **_KERNEL_INFO})
        self._announce_state("idle", request["header"])
        self._announce_state("starting", {})  # last: what a notebook shows
        return True

    def _known(self, parts: list[bytes]) -> bool:
        """Answer a client that asks a kernel at work what kernel this is, by what it said before. Else a server that is
        started anew keeps its pages waiting until the cell is over. Whether it was answered."""
        if self._kind(parts) != "kernel_info_request":
            return False
        if (request := self._request(parts)) is not None:
            self._reply(MessageChannel.SHELL, parts, request, "kernel_info_reply", self._info)
        return True

    def _kind(self, parts: list[bytes]) -> str | None:
        """What a client's message is, empty where its header does not say; None when it is not signed by our key, and
        then nothing of it is read."""
        at = _start(parts)
        if at < 1 or not hmac.compare_digest(parts[at + 1], self._session.sign(parts[at + 2 : at + 6])):
            return None
        return _kind(parts[at + 2])

    def _request(self, parts: list[bytes]) -> dict[str, Any] | None:
        """A message that is answered here; None when it cannot be, or when it comes a second time."""
        try:
            request: dict[str, Any] = self._session.deserialize(parts[_start(parts) + 1 :])
            self._session.pack(request["header"])  # the answer repeats it
        except UNREADABLE:
            return None
        return request if isinstance(request["content"], dict) else None

    def _reply(
        self, channel: MessageChannel, parts: list[bytes], request: dict[str, Any], kind: str, content: dict[str, Any]
    ) -> None:
        addresses = parts[: _start(parts)]
        self._session.send(self._sockets[channel], kind, content, parent=request, ident=addresses)

    def _note(self, message: Message) -> None:
        """Follow what the kernel works on, and keep what it says of itself."""
        at = _start(message.parts)
        with contextlib.suppress(*UNREADABLE):
            if message.channel == MessageChannel.IOPUB and message.parts[0].endswith(b"status"):
                parent = json.loads(message.parts[at + 3])
                state = json.loads(message.parts[at + 5])["execution_state"]
                if state in ("starting", "restarting"):
                    self._working_on.clear()
                elif parent["msg_type"] == "execute_request":
                    (self._working_on.add if state == "busy" else self._working_on.discard)(parent["msg_id"])
            elif at >= 0 and _kind(message.parts[at + 2]) == "kernel_info_reply":
                info = dict(json.loads(message.parts[at + 5]))
                self._session.pack(info)  # it is repeated
                self._info = info

    def _announce_state(self, state: str, parent: dict[str, Any]) -> None:
        self.announce("status", {"execution_state": state}, parent)


def _may_end(channel: MessageChannel, parts: list[bytes]) -> bool:
    """Whether a message of the shell channel may ask the kernel to end, as far as shows without reading it."""
    at = _start(parts)
    return channel is MessageChannel.SHELL and 0 <= at < len(parts) - 2 and b"shutdown_request" in parts[at + 2]


def _start(parts: list[bytes]) -> int:
    """Where a message begins: behind the addresses are delimiter, signature, header, parent header, metadata and
    content. -1 when that is none."""
    at = parts.index(DELIMITER) if DELIMITER in parts else -1
    return at if at >= 0 and len(parts) >= at + 6 else -1


def _kind(header: bytes) -> str:
    try:
        return str(json.loads(header)["msg_type"])
    except UNREADABLE:
        return ""
