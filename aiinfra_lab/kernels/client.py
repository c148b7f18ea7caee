"""Running code in a kept kernel from another process, and showing here what it puts out there."""

from __future__ import annotations

import contextlib
import queue
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..errors import Failed, Unavailable
from ..files import until
from ..host.frames import MessageChannel
from ..show import in_notebook
from ..units import show_duration
from . import recovery
from .kept import KeptKernel, KernelState
from .recovery import OUTPUTS, Execution, Output
from .shim import LEASE_MOVED

READY_S = 30.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# How late the end of a kernel is noticed while its code is waited for; each look opens two small files.
_CHECK_S = 0.25
KEEPER_AGAIN_S = 30.0
UNSEEN = {
    "silent": True,
    "store_history": False,
    "allow_stdin": False,
    "stop_on_error": False,
    "user_expressions": {},
}
"""What makes a request to run code one that nobody sees and that counts for nothing."""
INTERRUPT_S = 10.0
"""For code that was interrupted to end."""
_MEMORY = "a system that is short of memory ends what takes most of it so: take less, or a machine with more; then "


def execute(
    kernel: KeptKernel | str,
    code: str,
    on_output: Callable[[Output], None] | None = None,
    timeout_s: float | None = None,
    *,
    interrupt: bool = False,
) -> dict[str, Any]:
    """Run code in a kept kernel after what it runs now, and return the kernel's reply.

    An error of the code is in the reply (`status` error, `ename`, `evalue`, `traceback`) and among the outputs.

    kernel: the kernel, or the URI of the thing that it belongs to, e.g. gpu:trainer
    on_output: gets every output as it comes; without it they are shown here
    timeout_s: how long to wait; then Unavailable, and the code goes on
    interrupt: Ctrl-C while waiting also interrupts the code; otherwise it goes on

    Unavailable when no such kernel lives, Failed when its kernel ends or is restarted in the middle.
    """
    kept = kernel if isinstance(kernel, KeptKernel) else KeptKernel.of(kernel)
    with connected(kept) as client:
        return RunningCode(kept, client, on_output or republish, timeout_s).run(code, interrupt=interrupt)


def follow(kernel: KeptKernel, on_output: Callable[[Output], None] | None = None) -> Execution | None:
    """Show what the kernel's newest code has put out, from its beginning, and go on until it is over.

    The code of whom does not matter, nor whether the kernel still lives. None when it has run nothing yet. Ctrl-C ends
    the waiting, and not the code.
    """
    show = on_output or republish
    if not kernel.is_alive():
        return _shown(recovery.newest(kernel), show)
    with connected(kernel) as client:  # whatever is published from here on arrives; all before it was written down
        found = _shown(recovery.newest(kernel), show)
        if found is not None and not found.is_over:
            seen = {each["header"]["msg_id"] for each in found.messages}
            RunningCode(kernel, client, show, None).follow(found.id, seen)
        return found


def _shown(found: Execution | None, show: Callable[[Output], None]) -> Execution | None:
    for output in found.outputs if found else ():
        show(output)
    return found


def wake(kernel: KeptKernel) -> None:
    """Have the kernel's keeper look at what it was given to do: it turns at every heartbeat that is asked of it."""
    with _sending(kernel, "hb_port") as (_, socket):
        socket.send(b"look")


def send_control(kernel: KeptKernel, message: str, **content: Any) -> None:
    """Send a message to the kernel's control channel, which is read also while the kernel is busy."""
    with _sending(kernel, "control_port") as (session, socket):
        session.send(socket, message, content=content)


def renew(kernel: KeptKernel) -> None:
    """Have the keeper read its lease again, which was moved; nothing where there is none now."""
    if kernel.is_alive():
        with contextlib.suppress(Unavailable):
            send_control(kernel, LEASE_MOVED)


def send_code(kernel: KeptKernel, code: str, within_s: float) -> None:
    """Have the kernel run code of ours that nobody sees and that counts for nothing; wait at most so long for it."""
    with _sending(kernel, "shell_port") as (session, socket):
        session.send(socket, "execute_request", content={"code": code, **UNSEEN})
        socket.poll(int(within_s * 1000))


def await_turn(kernel: KeptKernel, note: Callable[[], object]) -> None:
    """Wait until all that the kernel runs, or was sent before, is over, or it is another one.

    note: called again and again meanwhile; what it raises ends the waiting
    """
    incarnation = kernel.state().incarnation
    with _sending(kernel, "shell_port") as (session, socket):
        # Code, since who the kernel is its keeper knows as well.
        session.send(socket, "execute_request", content={"code": "", **UNSEEN})
        while not socket.poll(int(_CHECK_S * 1000)):
            if not kernel.is_alive() or kernel.state().incarnation != incarnation:
                return
            note()


@contextmanager
def _sending(kernel: KeptKernel, port: str) -> Iterator[tuple[Any, Any]]:
    """A session that signs messages, and a socket to one of the kernel's channels."""
    import zmq
    from jupyter_client.session import Session

    info = kernel.connection_info()
    session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
    socket: Any
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        # ms: closing at once must not drop the message, nor wait for ever for a keeper that is gone.
        socket.linger = 1000
        socket.connect(f"ipc://{info['ip']}-{info[port]}")
        yield session, socket


def republish(output: Output) -> None:
    """Show an output of another kernel in this process: in the running cell, or as text where such text goes."""
    kind, content = output["msg_type"], output["content"]
    if in_notebook():
        _publish(kind, content, output["metadata"])
    elif kind == "stream":
        _write(sys.stderr if content["name"] == "stderr" else sys.stdout, content["text"])
    elif kind == "error":
        _write(sys.stderr, "\n".join(content["traceback"]) + "\n")
    elif kind in ("display_data", "execute_result"):
        _write(sys.stdout, content["data"].get("text/plain", "") + "\n")


def _write(stream: TextIO, text: str) -> None:
    """At once; without colours where no terminal shows them."""
    stream.write(text if stream.isatty() else _COLOUR.sub("", text))
    stream.flush()


def _publish(kind: str, content: dict[str, Any], metadata: dict[str, Any]) -> None:
    from IPython import get_ipython

    shell: Any = get_ipython()
    if kind == "stream":
        (sys.stderr if content["name"] == "stderr" else sys.stdout).write(content["text"])
    elif kind == "error":
        sys.stderr.write("\n".join(content["traceback"]) + "\n")
    elif kind == "clear_output":
        shell.display_pub.clear_output(wait=content["wait"])
    else:
        shell.display_pub.publish(
            data=content["data"],
            metadata=content["metadata"] or metadata,
            transient=content.get("transient", {}),  # display ids stay what they are, so that updates find them
            update=kind == "update_display_data",
        )


class _Client:
    """A client of a kernel, by plain sockets: Ctrl-C at any moment loses no message."""

    def __init__(self, kernel: KeptKernel) -> None:
        import zmq
        from jupyter_client.session import Session

        info = kernel.connection_info()
        self.session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
        self._context = zmq.Context()
        self._shell, self._control, self._iopub = (
            self._context.socket(kind) for kind in (zmq.DEALER, zmq.DEALER, zmq.SUB)
        )
        self._iopub.subscribe(b"")
        self._iopub.rcvhwm = 0
        for socket, port in ((self._shell, "shell_port"), (self._control, "control_port"), (self._iopub, "iopub_port")):
            if socket is not self._iopub:
                socket.identity = self.session.bsession
            socket.connect(f"ipc://{info['ip']}-{info[port]}")

    def execute(self, code: str, *, metadata: dict[str, Any] | None = None, **content: Any) -> str:
        """Send a request to run code; its id."""
        usual = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        request = {"code": code, **usual, "stop_on_error": True, **content}
        return self._sent(self._shell, "execute_request", request, metadata)

    def control(self, kind: str) -> str:
        """Send a request without content to the control channel; its id."""
        return self._sent(self._control, kind, {}, None)

    def get_shell_msg(self, timeout: float) -> dict[str, Any]:
        """The next reply; queue.Empty when none comes in that time."""
        return self._next(self._shell, timeout)

    def get_iopub_msg(self, timeout: float) -> dict[str, Any]:
        """The next message that the kernel has published; queue.Empty when none comes in that time."""
        return self._next(self._iopub, timeout)

    def close(self) -> None:
        self._context.destroy(linger=1000)

    def _sent(self, socket: Any, kind: str, content: dict[str, Any], metadata: dict[str, Any] | None) -> str:
        message = self.session.msg(kind, content, metadata=metadata)
        self.session.send(socket, message)
        return str(message["header"]["msg_id"])

    def _next(self, socket: Any, timeout: float) -> dict[str, Any]:
        if not socket.poll(int(timeout * 1000)):
            raise queue.Empty
        return dict(self.session.recv(socket)[1] or {})


@contextmanager
def connected(kernel: KeptKernel) -> Iterator[_Client]:
    """A connected client whose output channel is known to be open."""
    await_keeper(kernel)
    client = _Client(kernel)
    try:
        _await_outputs(kernel, client)
        yield client
    finally:
        client.close()


_client = connected


def _await_outputs(kernel: KeptKernel, client: _Client) -> None:
    """Wait until outputs arrive: what a kernel published before a client was subscribed is lost to that client.

    The control channel answers also while a cell runs, and every answer is announced on the output channel.
    """

    def hears() -> bool:
        client.control("kernel_info_request")
        try:
            client.get_iopub_msg(timeout=_CHECK_S)
        except queue.Empty:
            if not kernel.is_alive():
                raise gone(kernel) from None
            return False
        return True

    fix = f"look at it with {kernel.command('show')}; end it with {kernel.command('stop')}"
    until(hears, Unavailable(f"the kernel of {kernel.uri} does not answer", fix), within_s=READY_S)


def await_keeper(kernel: KeptKernel) -> None:
    """Return once its keeper lives: one that was killed is started again. Unavailable when none comes."""
    until_at = time.monotonic() + KEEPER_AGAIN_S
    while not kernel.is_alive():
        if kernel.state().phase not in ("starting", "ready") or time.monotonic() > until_at:
            raise gone(kernel)
        time.sleep(_CHECK_S / 5)


def gone(kernel: KeptKernel) -> Unavailable:
    """The error for a kernel that is not there, with why it ended when that is known."""
    why = kernel.state().why
    what = f"{kernel.uri} has ended ({why})" if why else f"there is no live kernel of {kernel.uri}"
    return Unavailable(what, f"start it: {kernel.command('start')}")


class MachineLost(Failed):
    """The machine that ran the code is gone, since its provider took it away. Its kernel goes on with the next one."""


class RunningCode:
    """One run of code and the messages that belong to it.

    has_begun: whether the kernel works, or has worked, on it. reply: the kernel's, once it is over
    """

    def __init__(
        self, kernel: KeptKernel, client: _Client, on_output: Callable[[Output], None], timeout_s: float | None
    ) -> None:
        self._kernel, self._client, self._on_output = kernel, client, on_output
        state = kernel.state()
        self._incarnation, self._machine = _living(state), state.machine
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._id, self._last = "", ""
        self._seen: set[str] = set()
        self._missed: dict[MessageChannel, deque[dict[str, Any]]] = {}
        self._recovered: set[str] = set()
        self._checked_at = time.monotonic()
        self.has_begun = self._is_idle = self._is_warned = False
        self.reply: dict[str, Any] = {}

    def run(
        self, code: str, *, interrupt: bool, metadata: dict[str, Any] | None = None, **content: Any
    ) -> dict[str, Any]:
        """Send it and wait for its end. interrupt: whether Ctrl-C interrupts it there, which is waited for. metadata,
        content: more for the request."""
        try:
            self._once(code, metadata, content)
            # Another client's code failed, and the kernel dropped all that waited behind it.
            while self.reply["status"] == "aborted":
                self._once(code, metadata, content)
        except KeyboardInterrupt:
            if interrupt and self.has_begun:  # what others run there now is none of ours
                send_control(self._kernel, "interrupt_request")
                self._timeout_s, self._until = INTERRUPT_S, time.monotonic() + INTERRUPT_S
                self._finish()
            raise
        return self.reply

    def follow(self, id_: str, seen: set[str]) -> None:
        """Pass on what else comes of code that somebody has sent, but for those messages."""
        self._id, self._seen = id_, seen
        self._pass_outputs_on()

    def _once(self, code: str, metadata: dict[str, Any] | None, content: dict[str, Any]) -> None:
        self._is_idle = False
        # Ours must not drop what others have sent, when it fails.
        self._id = self._client.execute(code, metadata=metadata, stop_on_error=False, **content)
        self._finish()

    def _finish(self) -> None:
        if not self._is_idle:
            self._pass_outputs_on()
        self.reply = dict(self._next(MessageChannel.SHELL)["content"])

    def _pass_outputs_on(self) -> None:
        """Until the kernel says that it is idle again: every output was sent before that."""
        while not self._is_idle:
            message = self._next(MessageChannel.IOPUB)
            kind, content, self._last = message["msg_type"], message["content"], message["header"]["msg_id"]
            self.has_begun = True
            if kind in OUTPUTS and self._last not in self._seen:
                self._on_output({"msg_type": kind, "content": content, "metadata": message["metadata"]})
            self._is_idle = kind == "status" and content["execution_state"] == "idle"

    def _next(self, channel: MessageChannel) -> dict[str, Any]:
        """The next message about our code; looks in between whether the kernel still is the one that got it."""
        receive = self._client.get_iopub_msg if channel is MessageChannel.IOPUB else self._client.get_shell_msg
        while True:
            if missed := self._missed.get(channel):
                return missed.popleft()
            try:
                message = receive(timeout=_CHECK_S)
            except queue.Empty:
                message = None
            is_ours = message is not None and message["parent_header"].get("msg_id") == self._id
            if message is not None and is_ours and message["header"]["msg_id"] not in self._recovered:
                return message
            if time.monotonic() - self._checked_at > _CHECK_S:  # other clients' outputs arrive here too, and often
                self._check()

    def _check(self) -> None:
        kernel, self._checked_at = self._kernel, time.monotonic()
        if not kernel.is_alive():
            self._go_on_with_the_next_keeper()
        state = kernel.state()
        if state.notice_at and not self._is_warned:
            self._is_warned = True
            at = time.strftime("%H:%M:%S", time.localtime(state.notice_at))
            text = f"[{kernel.uri}: its machine will be taken away at {at}; another one takes its place]\n"
            self._on_output({"msg_type": "stream", "content": {"name": "stderr", "text": text}, "metadata": {}})
        if not self._incarnation:  # its machine boots
            self._incarnation, self._machine = _living(state), state.machine
        if state.crashed >= self._incarnation > 0:
            raise (MachineLost if self._machine and state.machine != self._machine else Failed)(
                f"{state.crash} in the middle of the code; {kernel.uri} goes on with a new one",
                f"{_MEMORY if 'SIGKILL' in state.crash else ''}run again what it needs, from its first cell on",
            )
        if self._incarnation and state.incarnation != self._incarnation:
            raise Failed(f"the kernel of {kernel.uri} was restarted in the middle of the code", "run the code again")
        if self._until is not None and time.monotonic() > self._until:
            waited = show_duration(self._timeout_s or 0)
            raise Unavailable(
                f"the code still runs in {kernel.uri} after {waited}",
                f"wait longer, or interrupt it from a notebook on the kernel {kernel.state().kernel}",
            )

    def _go_on_with_the_next_keeper(self) -> None:
        """What the one that was killed had written down, and may not have sent, is read there."""
        kernel = self._kernel
        try:
            await_keeper(kernel)
        except Unavailable:
            why = kernel.state().why or "its keeper is gone"
            raise Failed(
                f"{kernel.uri} ended in the middle of the code: {why}", f"start it again: {kernel.command('start')}"
            ) from None
        for channel in (MessageChannel.IOPUB, MessageChannel.SHELL):
            found = deque(recovery.messages(kernel, channel, self._id))
            if channel is MessageChannel.IOPUB and any(each["msg_id"] == self._last for each in found):
                while found.popleft()["msg_id"] != self._last:
                    pass
            self._missed[channel] = found
            self._recovered |= {each["msg_id"] for each in found}


def _living(state: KernelState) -> int:
    """The kernel that gets what is sent now; 0 while it still has to be started, since then what is sent waits."""
    return state.incarnation if state.incarnation > state.crashed else 0
