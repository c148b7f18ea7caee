"""One kernel process, and the sockets by which the core is its only client."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import files, kernel_end, notice, processes
from .frames import UNREADABLE, MessageChannel
from .pump import Pump
from .sent import each_by_itself, sent_as_text
from .spec import HostSpec

Start = Callable[..., Any]
DELIMITER = b"<IDS|MSG>"
_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "hb_port": 4, "control_port": 5}
_KINDS = {
    MessageChannel.SHELL: "DEALER",
    MessageChannel.IOPUB: "SUB",
    MessageChannel.STDIN: "DEALER",
    MessageChannel.CONTROL: "DEALER",
}
# One identity on all: the kernel asks for input on stdin by the address that a request came from on shell.
_IDENTITY = b"aiinfra-host"
# A request waits in the socket until the kernel has begun; one that was answered unheard is repeated soon.
_ASK_S, _ASK_AGAIN_S = 5.0, 0.05
_CONNECT_MS = 5  # between two tries, and up to twice as much
# Messages of one channel, before the others are looked at again, and how much may be in them.
_AT_ONCE, _AT_ONCE_BYTES = 200, 1 << 22
_REST_MS = 20  # within which a reply comes that a kernel has sent before it ended
_REST_LOOK_MS = 1  # between two looks at whether all that it has published is here
_REST_S = 1.0  # without any of what it published, where a process that it left holds its socket open
_SILENT_S, _HELD_LOOK_S = 1.0, 0.1
_REMEMBERED = 1000

# Its socket for outputs holds 1,000 messages (23 is ZMQ_SNDHWM) and drops what comes then, unless whoever reads is as
# fast as it is: of 20,000 lines of 10 kB, 18,000 were lost to a reader that was away for 12 s. So it has no bound.
_LOSE_NOTHING = "(lambda t: t.schedule(lambda: t.socket.setsockopt(23, 0)))(get_ipython().kernel.iopub_thread)"
_END = "end_control_first(get_ipython().kernel)"


class Kernel:
    """A kernel from its start to its end. Each has sockets of its own, so that it gets no message for the one before.

    sockets: a folder for this user only, whose path is short. start: what starts it, as `subprocess.Popen` does; of
    what it gives, is_prepared says that it is a kernel that has no bound on what it publishes, and ends well
    """

    def __init__(
        self, spec: HostSpec, sockets: Path, incarnation: int, context: Any, start: Start = subprocess.Popen
    ) -> None:
        import zmq

        self._zmq, self._key = zmq, spec.key.encode()
        ip = f"{sockets}/k{incarnation}"
        connection = sockets / f"kernel-{incarnation}.json"
        info = {"transport": "ipc", "ip": ip, **_PORTS, "key": spec.key, "signature_scheme": "hmac-sha256"}
        files.write(connection, json.dumps(info).encode())
        # First of all: it takes longer to begin than all below takes, whose sockets connect once it listens.
        self.process = start(
            [part.replace("{connection_file}", str(connection)) for part in spec.argv],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt goes to its group, and what ends the core to ours
            env={
                **({notice.FILE: f"{spec.folder}/notice"} if spec.rented else {}),
                **os.environ,
                **spec.env,
                "JPY_PARENT_PID": str(os.getpid()),
            },  # it ends by itself when the core is gone
            cwd=spec.cwd if Path(spec.cwd).is_dir() else None,
            umask=spec.umask,
        )
        self.pidfd = os.pidfd_open(self.process.pid)
        published = int(MessageChannel.IOPUB)
        self._pump = Pump(f"{ip}-{published}", f"{ip}-p{published}")
        self.sockets = {channel: self._connected(context, channel, ip) for channel in _KINDS}
        self.started_at = time.monotonic()
        self._answers, self._published, self._asked_at = 0, 0, -_ASK_S
        self._held: deque[tuple[list[bytes], float]] = deque()  # replies, and when each came
        self._published_at = 0.0
        self._idle: dict[str, None] = {}  # the requests whose outputs have all come, of late
        self._asked: dict[str, tuple[bytes, str]] = {}  # requests to run code that are not known to have begun
        self._running = ""  # the request whose code runs
        self._unanswered: set[str] = set()  # the requests whose replies have not come
        self._count = 0  # of the code that has begun last
        self._busy: set[str] = set()  # the requests that it works on: of one channel while it is busy with another
        if any("ipykernel" in part for part in spec.argv) and not getattr(self.process, "is_prepared", False):
            content = {
                "code": each_by_itself([_LOSE_NOTHING, sent_as_text(kernel_end, _END)]),
                "silent": True,
                "store_history": False,
                "allow_stdin": False,
            }
            self.send(MessageChannel.SHELL, [DELIMITER, *self._signed("execute_request", content)])

    @property
    def work(self) -> str:
        """What it does now, in words; empty when it waits for something to do."""
        return "its kernel runs code" if self._busy else ""

    @property
    def is_heard(self) -> bool:
        """Whether it answers, and what it publishes arrives: what it published before a subscription is lost to it."""
        return bool(self._answers and self._published)

    def ask(self) -> None:
        """Ask it something on the control channel now and then, until it is heard; every answer is announced too."""
        if not self.is_heard and time.monotonic() - self._asked_at >= (_ASK_AGAIN_S if self._answers else _ASK_S):
            self._asked_at = time.monotonic()
            self._request("kernel_info_request")

    def due_s(self) -> float:
        """Seconds until it is to be asked again, or a reply is kept back no longer."""
        if self._held:
            return _HELD_LOOK_S
        return math.inf if self.is_heard else _ASK_AGAIN_S if self._answers else _ASK_S

    def receive(self, channel: MessageChannel) -> Iterator[list[bytes]]:
        """What has come by a channel, without waiting; the answer to our own first question is kept back, and a reply
        until the outputs before it have come."""
        count = size = 0
        while count < _AT_ONCE and size < _AT_ONCE_BYTES:
            try:
                parts = self.sockets[channel].recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                if channel is MessageChannel.IOPUB:
                    self._pump.has_read_all()
                break
            count, now = count + 1, sum(map(len, parts))
            size += now
            if channel is MessageChannel.IOPUB:
                self._published, self._published_at = self._published + 1, time.monotonic()
                for part in parts:
                    self._pump.has_read(len(part))
                self._note_status(parts)
            if channel in (MessageChannel.SHELL, MessageChannel.CONTROL) and parts[0] == DELIMITER:
                self._answers += channel is MessageChannel.CONTROL  # ours: there is no client's address before it
            elif channel is MessageChannel.SHELL:
                self._unanswered.discard(_parent(parts))
                self._held.append((parts, time.monotonic()))
            else:
                yield parts
        if channel is MessageChannel.SHELL:
            yield from self._replies()

    def handles(self) -> list[Any]:
        """What can be read when something is to be done."""
        return [*self.sockets.values(), self.pidfd, self._pump.stalled]

    def is_due(self, channel: MessageChannel, ready: Container[Any]) -> bool:
        """Whether `receive` is to be called: something has come, a reply is kept back, or an output is so large that
        only a part of it may come until it is seen that nothing whole is there."""
        if channel is MessageChannel.IOPUB and self._pump.stalled in ready:
            return True
        return self.sockets[channel] in ready or (channel is MessageChannel.SHELL and bool(self._held))

    def rest(self, channel: MessageChannel) -> Iterator[list[bytes]]:
        """All that has come by a channel of a kernel that has ended."""
        if channel is MessageChannel.IOPUB:
            yield from self._rest_of_outputs()
            return
        while self.sockets[channel].poll(_REST_MS if self._unanswered else 0):
            yield from self.receive(channel)
        if channel is MessageChannel.SHELL:
            yield from self._replies(is_all=True)

    def _rest_of_outputs(self) -> Iterator[list[bytes]]:
        until, passed = 0.0, -1
        while True:
            # Before the look: what was taken until then is found by it. On a busy machine the pump may be late.
            if passed != self._pump.passed:
                passed, until = self._pump.passed, time.monotonic() + _REST_S
            is_all = self._pump.is_taken or time.monotonic() > until
            self.sockets[MessageChannel.IOPUB].poll(0 if is_all else _REST_LOOK_MS)
            found = [*self.receive(MessageChannel.IOPUB)]  # also where nothing is there: that lets the pump go on
            yield from found
            if is_all and not found:
                return

    def _replies(self, *, is_all: bool = False) -> Iterator[list[bytes]]:
        """The replies, in order, whose outputs have all come. The sockets say nothing of the order between them, so
        that is known by the status behind the outputs; of a kernel that does not publish it, by its silence."""
        while self._held:
            parts, at = self._held[0]
            silent_s = time.monotonic() - max(at, self._published_at)
            if not is_all and _parent(parts) not in self._idle and silent_s < _SILENT_S:
                return
            self._held.popleft()
            yield parts

    def unseen(self) -> list[bytes]:
        """What a kernel that has ended ran at that moment, as it would have published it: its last words are lost when
        it ends at once. Empty when it ran nothing, or that is known."""
        if not self._asked or self._running:
            return []
        header, code = next(iter(self._asked.values()))
        content = {"code": code, "execution_count": self._count + 1}
        return [b"kernel.execute_input", DELIMITER, *self._signed("execute_input", content, header)]

    def _note_request(self, parts: Sequence[bytes]) -> None:
        with contextlib.suppress(*UNREADABLE):
            at = parts.index(DELIMITER)
            header, content = json.loads(parts[at + 2]), json.loads(parts[at + 5])
            if parts[0] != DELIMITER and header["msg_type"].endswith("_request"):
                self._unanswered.add(header["msg_id"])
            if header["msg_type"] == "execute_request" and not content.get("silent"):
                self._asked[header["msg_id"]] = (parts[at + 2], content["code"])

    def _note_status(self, parts: list[bytes]) -> None:
        """Follow what it works on, by the status that it publishes before and after each request."""
        if not parts[0].endswith((b"status", b"execute_input")):
            return
        with contextlib.suppress(*UNREADABLE):
            at = parts.index(DELIMITER)
            parent = json.loads(parts[at + 3])["msg_id"]
            if parts[0].endswith(b"execute_input"):
                self._count, self._running = json.loads(parts[at + 5])["execution_count"], parent
                self._asked.pop(parent, None)
                return
            state = json.loads(parts[at + 5])["execution_state"]
            if state == "busy":
                self._busy.add(parent)
            else:
                self._busy.discard(parent)
                self._asked.pop(parent, None)
                self._running = "" if parent == self._running else self._running
                self._idle[parent] = None
                if len(self._idle) > _REMEMBERED:
                    del self._idle[next(iter(self._idle))]

    def send(self, channel: MessageChannel, parts: Sequence[bytes]) -> None:
        """Pass a client's message on; dropped when the kernel takes none any more."""
        if channel is MessageChannel.SHELL:
            self._note_request(parts)
        with contextlib.suppress(self._zmq.Again):
            self.sockets[channel].send_multipart(parts, self._zmq.NOBLOCK)

    def signal(self, number: int) -> None:
        """A signal to the kernel's process group."""
        processes.signal_group(self.process.pid, number)

    def ask_to_end(self) -> None:
        """Have it shut down, so that its exit handlers run."""
        self._request("shutdown_request", {"restart": False})

    def published(self, kind: str, content: dict[str, Any]) -> list[bytes]:
        """A message as the kernel itself would publish it: for what it can no longer say."""
        return [f"kernel.{kind}".encode(), DELIMITER, *self._signed(kind, content)]

    def instead(self, parts: list[bytes], problem: str) -> list[bytes] | None:
        """What goes to clients in the place of a message that cannot: an output that says so beside the others of its
        cell, or a reply with an error. None when its own parts do not show which."""
        text = f"what the kernel has sent is lost: {problem}"
        with contextlib.suppress(*UNREADABLE):
            at = parts.index(DELIMITER)
            kind = str(json.loads(parts[at + 2])["msg_type"])
            if kind.endswith("_reply"):
                content = {"status": "error", "ename": "MessageTooLarge", "evalue": text, "traceback": [text]}
                return [*parts[: at + 1], *self._signed(kind, content, parts[at + 3])]
            if parts[0].startswith(b"kernel."):
                content = {"name": "stderr", "text": f"\n[{text}]\n"}
                return [b"kernel.stream", DELIMITER, *self._signed("stream", content, parts[at + 3])]
        return None

    def close(self) -> None:
        """Close the sockets to it."""
        for socket in self.sockets.values():
            socket.close(linger=0)
        self._pump.close()
        os.close(self.pidfd)

    def _connected(self, context: Any, channel: MessageChannel, ip: str) -> Any:
        socket = context.socket(getattr(self._zmq, _KINDS[channel]))
        socket.linger = 0
        socket.reconnect_ivl = _CONNECT_MS  # until the kernel listens
        socket.rcvhwm = 0  # what the kernel publishes is written down, never dropped
        if channel is MessageChannel.IOPUB:
            socket.subscribe(b"")
            socket.connect(f"ipc://{ip}-p{int(channel)}")
        else:
            socket.identity = _IDENTITY
            socket.connect(f"ipc://{ip}-{int(channel)}")
        return socket

    def _request(self, kind: str, content: dict[str, Any] | None = None) -> None:
        self.send(MessageChannel.CONTROL, [DELIMITER, *self._signed(kind, content or {})])

    def _signed(self, kind: str, content: dict[str, Any], parent: bytes = b"{}") -> list[bytes]:
        """A message by Jupyter's protocol: signature, header, parent header, metadata, content."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": "aiinfra-host",
            "username": "kernel",
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "msg_type": kind,
            "version": "5.3",
        }
        parts = [json.dumps(header).encode(), parent, b"{}", json.dumps(content).encode()]
        check = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            check.update(part)
        return [check.hexdigest().encode(), *parts]


def _parent(parts: Sequence[bytes]) -> str:
    """The request that a message is about; empty when it does not say so."""
    with contextlib.suppress(*UNREADABLE):
        return str(json.loads(parts[parts.index(DELIMITER) + 3])["msg_id"])
    return ""


def exit_text(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"with exit code {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
