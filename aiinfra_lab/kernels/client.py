"""Running code in a kept kernel from another process, and showing here what it puts out there."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import Failed, Unavailable
from ..files import until
from ..show import in_notebook
from ..units import show_duration
from . import recovery
from .kept import KeptKernel
from .recovery import OUTPUTS, Execution, Output

READY_S = 30.0
# How late the end of a kernel is noticed while its code is waited for; each look opens two small files.
_CHECK_S = 0.25


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
    with _client(kept) as client:
        return _Execution(kept, client, on_output or republish, timeout_s).run(code, interrupt=interrupt)


def follow(kernel: KeptKernel, on_output: Callable[[Output], None] | None = None) -> Execution | None:
    """Show what the kernel's newest code has put out, from its beginning, and go on until it is over.

    The code of whom does not matter, nor whether the kernel still lives. None when it has run nothing yet. Ctrl-C ends
    the waiting, and not the code.
    """
    show = on_output or republish
    if not kernel.is_alive():
        return _shown(recovery.newest(kernel), show)
    with _client(kernel) as client:  # whatever is published from here on arrives; all before it was written down
        found = _shown(recovery.newest(kernel), show)
        if found is not None and not found.is_over:
            seen = {each["header"]["msg_id"] for each in found.messages}
            _Execution(kernel, client, show, None).follow(found.id, seen)
        return found


def _shown(found: Execution | None, show: Callable[[Output], None]) -> Execution | None:
    for output in found.outputs if found else ():
        show(output)
    return found


def send_control(kernel: KeptKernel, message: str, **content: Any) -> None:
    """Send a message to the kernel's control channel, which is read also while the kernel is busy."""
    with _sending(kernel, "control_port") as (session, socket):
        session.send(socket, message, content=content)


def send_code(kernel: KeptKernel, code: str, within_s: float) -> None:
    """Have the kernel run code of ours that nobody sees and that counts for nothing; wait at most so long for it."""
    content = {"code": code, "silent": True, "store_history": False, "allow_stdin": False, "stop_on_error": False}
    with _sending(kernel, "shell_port") as (session, socket):
        session.send(socket, "execute_request", content={**content, "user_expressions": {}})
        socket.poll(int(within_s * 1000))


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
    """Show an output of another kernel in this process: in the running cell, or as text on standard error."""
    kind, content = output["msg_type"], output["content"]
    if in_notebook():
        _publish(kind, content, output["metadata"])
    elif kind == "stream":
        sys.stderr.write(content["text"])
    elif kind == "error":
        sys.stderr.write("\n".join(content["traceback"]) + "\n")
    elif kind in ("display_data", "execute_result"):
        sys.stderr.write(content["data"].get("text/plain", "") + "\n")


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


@contextmanager
def _client(kernel: KeptKernel) -> Iterator[Any]:
    """A connected client whose output channel is known to be open."""
    from jupyter_client.blocking.client import BlockingKernelClient

    if not kernel.is_alive():
        raise gone(kernel)
    client: Any = BlockingKernelClient()
    client.load_connection_info(kernel.connection_info())
    client.start_channels(hb=False)
    try:
        _await_outputs(kernel, client)
        yield client
    finally:
        client.stop_channels()


def _await_outputs(kernel: KeptKernel, client: Any) -> None:
    """Wait until outputs arrive: what a kernel published before a client was subscribed is lost to that client.

    The control channel answers also while a cell runs, and every answer is announced on the output channel.
    """

    def hears() -> bool:
        client.control_channel.send(client.session.msg("kernel_info_request"))
        try:
            client.get_iopub_msg(timeout=_CHECK_S)
        except queue.Empty:
            if not kernel.is_alive():
                raise gone(kernel) from None
            return False
        return True

    fix = f"look at it with {kernel.command('show')}; end it with {kernel.command('stop')}"
    until(hears, Unavailable(f"the kernel of {kernel.uri} does not answer", fix), within_s=READY_S)


def gone(kernel: KeptKernel) -> Unavailable:
    """The error for a kernel that is not there, with why it ended when that is known."""
    why = kernel.state().why
    what = f"{kernel.uri} has ended ({why})" if why else f"there is no live kernel of {kernel.uri}"
    return Unavailable(what, f"start it: {kernel.command('start')}")


class _Execution:
    """One run of code and the messages that belong to it."""

    def __init__(
        self, kernel: KeptKernel, client: Any, on_output: Callable[[Output], None], timeout_s: float | None
    ) -> None:
        self._kernel, self._client, self._on_output = kernel, client, on_output
        self._incarnation = kernel.state().incarnation
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._id = ""
        self._seen: set[str] = set()
        self._checked_at = time.monotonic()

    def run(self, code: str, *, interrupt: bool) -> dict[str, Any]:
        try:
            reply = self._once(code)
            # Another client's code failed, and the kernel dropped all that waited behind it.
            while reply["status"] == "aborted":
                reply = self._once(code)
            return reply
        except KeyboardInterrupt:
            if interrupt:
                send_control(self._kernel, "interrupt_request")
            raise

    def follow(self, id_: str, seen: set[str]) -> None:
        """Pass on what else comes of code that somebody has sent, but for those messages."""
        self._id, self._seen = id_, seen
        self._pass_outputs_on()

    def _once(self, code: str) -> dict[str, Any]:
        # Ours must not drop what others have sent, when it fails.
        self._id = self._client.execute(code, allow_stdin=False, stop_on_error=False)
        self._pass_outputs_on()
        return dict(self._next(self._client.get_shell_msg)["content"])

    def _pass_outputs_on(self) -> None:
        """Until the kernel says that it is idle again: every output was sent before that."""
        while True:
            message = self._next(self._client.get_iopub_msg)
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            if kind in OUTPUTS and message["header"]["msg_id"] not in self._seen:
                self._on_output({"msg_type": kind, "content": content, "metadata": message["metadata"]})

    def _next(self, receive: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """The next message about our code; looks in between whether the kernel still is the one that got it."""
        while True:
            try:
                message = receive(timeout=_CHECK_S)
            except queue.Empty:
                message = None
            if message is not None and message["parent_header"].get("msg_id") == self._id:
                return message
            if time.monotonic() - self._checked_at > _CHECK_S:  # other clients' outputs arrive here too, and often
                self._check()

    def _check(self) -> None:
        kernel, self._checked_at = self._kernel, time.monotonic()
        if not kernel.is_alive():
            why = kernel.state().why or "its keeper is gone"
            raise Failed(
                f"{kernel.uri} ended in the middle of the code: {why}", f"start it again: {kernel.command('start')}"
            )
        state = kernel.state()
        if state.crashed >= self._incarnation:
            raise Failed(
                f"{state.crash} in the middle of the code; {kernel.uri} goes on with a new one",
                "run again what it needs, from its first cell on",
            )
        if state.incarnation != self._incarnation:
            raise Failed(f"the kernel of {kernel.uri} was restarted in the middle of the code", "run the code again")
        if self._until is not None and time.monotonic() > self._until:
            waited = show_duration(self._timeout_s or 0)
            raise Unavailable(
                f"the code still runs in {kernel.uri} after {waited}",
                f"wait longer, or interrupt it from a notebook on the kernel {kernel.state().kernel}",
            )
