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
from .kept import KeptKernel

Output = dict[str, Any]
"""One output as Jupyter's messages have it: `msg_type`, `content`, `metadata`."""

_OUTPUTS = ("stream", "display_data", "update_display_data", "execute_result", "clear_output", "error")
_LOOK_S = 0.25


def execute(
    session: str,
    code: str,
    on_output: Callable[[Output], None] | None = None,
    timeout_s: float | None = None,
    *,
    interrupt: bool = False,
) -> dict[str, Any]:
    """Run code in a session's kernel after what it runs now, and return the kernel's reply.

    An error of the code is in the reply (`status` error, `ename`, `evalue`, `traceback`) and among the outputs.

    session: NAME or gpu:NAME
    on_output: gets every output as it comes; without it they are shown here
    timeout_s: how long to wait; then Unavailable, and the code goes on
    interrupt: Ctrl-C while waiting also interrupts the code; otherwise it goes on

    Unavailable when no such session lives, Failed when its kernel ends or is restarted in the middle.
    """
    kept = KeptKernel.of(session)
    with _client(kept) as client:
        return _Execution(kept, client, on_output or republish, timeout_s).run(code, interrupt=interrupt)


def send_control_message(kept: KeptKernel, message: str, **content: Any) -> None:
    """Send a message to the kernel's control channel, where it arrives also while the kernel is busy."""
    import zmq
    from jupyter_client.session import Session

    info = kept.connect()
    session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
    socket: Any
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        # ms: closing at once must not drop the message, nor wait for ever for a keeper that is gone.
        socket.linger = 1000
        socket.connect(f"ipc://{info['ip']}-{info['control_port']}")
        session.send(socket, message, content=content)


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
def _client(kept: KeptKernel) -> Iterator[Any]:
    """A connected client whose output channel is known to be open."""
    from jupyter_client.blocking.client import BlockingKernelClient

    if not kept.alive():
        raise gone(kept)
    client: Any = BlockingKernelClient()
    client.load_connection_info(kept.connect())
    client.start_channels(hb=False)
    try:
        _await_outputs(kept, client)
        yield client
    finally:
        client.stop_channels()


def _await_outputs(kept: KeptKernel, client: Any) -> None:
    """Wait until outputs arrive: what a kernel published before a client was subscribed is lost to that client.

    The control channel answers also while a cell runs, and every answer is announced on the output channel.
    """

    def hears() -> bool:
        client.control_channel.send(client.session.msg("kernel_info_request"))
        try:
            client.get_iopub_msg(timeout=_LOOK_S)
        except queue.Empty:
            if not kept.alive():
                raise gone(kept) from None
            return False
        return True

    fix = f"see what it prints with `%gpu show {kept.name}`; end it with `%gpu stop {kept.name}`"
    until(hears, Unavailable(f"the kernel of gpu:{kept.name} does not answer", fix), within_s=30)


def gone(kept: KeptKernel) -> Unavailable:
    """The error for a session that is not there, with why it ended when that is known."""
    why = kept.state().why
    words = f"the session gpu:{kept.name} has ended ({why})" if why else f"there is no live session gpu:{kept.name}"
    return Unavailable(words, f"start it: `%gpu start {kept.name}`")


class _Execution:
    """One run of code and the messages that belong to it."""

    def __init__(
        self, kept: KeptKernel, client: Any, on_output: Callable[[Output], None], timeout_s: float | None
    ) -> None:
        self._kept, self._client, self._on_output = kept, client, on_output
        self._incarnation = kept.state().incarnation
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._id = ""
        self._looked_at = time.monotonic()

    def run(self, code: str, *, interrupt: bool) -> dict[str, Any]:
        try:
            reply = self._once(code)
            while (
                reply["status"] == "aborted"
            ):  # some notebook's code failed, and all that waited behind it was dropped
                reply = self._once(code)
            return reply
        except KeyboardInterrupt:
            if interrupt:
                send_control_message(self._kept, "interrupt_request")
            raise

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
            if kind in _OUTPUTS:
                self._on_output({"msg_type": kind, "content": content, "metadata": message["metadata"]})

    def _next(self, receive: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """The next message about our code; looks in between whether the kernel still is the one that got it."""
        while True:
            try:
                message = receive(timeout=_LOOK_S)
            except queue.Empty:
                message = None
            if message is not None and message["parent_header"].get("msg_id") == self._id:
                return message
            if time.monotonic() - self._looked_at > _LOOK_S:  # other clients' outputs arrive here too, and often
                self._look()

    def _look(self) -> None:
        name, self._looked_at = self._kept.name, time.monotonic()
        if not self._kept.alive():
            why = self._kept.state().why or "its keeper is gone"
            raise Failed(f"gpu:{name} ended in the middle of the code: {why}", f"start it again: `%gpu start {name}`")
        if self._kept.state().incarnation != self._incarnation:
            raise Failed(f"the kernel of gpu:{name} was restarted in the middle of the code", "run the code again")
        if self._until is not None and time.monotonic() > self._until:
            waited = show_duration(self._timeout_s or 0)
            raise Unavailable(
                f"the code still runs in gpu:{name} after {waited}",
                f"wait longer, or interrupt it from a notebook on the kernel aiinfra-{name}",
            )
