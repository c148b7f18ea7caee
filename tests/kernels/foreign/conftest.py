"""One session for a file of tests, on this machine and behind a real sshd, and clients of Jupyter's own on it."""

import queue
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient

from aiinfra_lab import gpu
from aiinfra_lab.kernels import KeptKernel
from tests.conftest import PATIENCE_S
from tests.sshd import SshHost, needs_sshd

Message = dict[str, Any]


class Client:
    """One of Jupyter's blocking clients, with what has come by its channels in order."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.jupyter: BlockingKernelClient = manager.client()
        self.jupyter.start_channels()
        self.jupyter.wait_for_ready(timeout=PATIENCE_S)
        self.outputs: list[Message] = []

    def ask(self, kind: str, channel: str = "shell", subshell: str = "", **content: Any) -> str:
        """Send a request; its message's id."""
        message = self.jupyter.session.msg(kind, content)
        if subshell:
            message["header"]["subshell_id"] = subshell
        getattr(self.jupyter, f"{channel}_channel").send(message)
        return str(message["header"]["msg_id"])

    def reply(self, asked: str, channel: str = "shell", within_s: float = PATIENCE_S) -> Message:
        """The content of the answer to a request; queue.Empty when it does not come."""
        until = time.monotonic() + within_s
        while True:
            found = getattr(self.jupyter, f"get_{channel}_msg")(timeout=max(0.0, until - time.monotonic()))
            if found["parent_header"].get("msg_id") == asked:
                content: Message = found["content"]
                return content

    def answer(self, kind: str, channel: str = "shell", subshell: str = "", **content: Any) -> Message:
        return self.reply(self.ask(kind, channel, subshell, **content), channel)

    def until(self, wanted: Callable[[Message], Any], within_s: float = PATIENCE_S) -> Message:
        """The next published message for which that is true; those before it are kept in `outputs`."""
        until = time.monotonic() + within_s
        while True:
            found: Message = self.jupyter.get_iopub_msg(timeout=max(0.0, until - time.monotonic()))
            self.outputs.append(found)
            if wanted(found):
                return found

    def run(self, code: str, **flags: Any) -> str:
        """What code prints, to its end."""
        asked = self.jupyter.execute(code, **flags)
        before = len(self.outputs)
        self.until(lambda found: is_idle(found) and found["parent_header"]["msg_id"] == asked)
        own = [each for each in self.outputs[before:] if each["parent_header"].get("msg_id") == asked]
        return "".join(each["content"].get("text", each["content"].get("ename", "")) for each in own)

    def silence(self) -> None:
        """Take what has been published so far away."""
        while True:
            try:
                self.jupyter.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                return


def is_idle(found: Message) -> bool:
    return found["msg_type"] == "status" and found["content"]["execution_state"] == "idle"


def prints(text: str) -> Callable[[Message], bool]:
    return lambda found: text in str(found["content"].get("text", ""))


@pytest.fixture(scope="module", params=["local", pytest.param("ssh", marks=needs_sshd)])
def session(request, module_workspace, tmp_path_factory) -> Iterator[KeptKernel]:
    """A living session."""
    if request.param == "local":
        gpu.start("trainer")
        yield KeptKernel.of("gpu:trainer")
        gpu.stop("trainer")
        return
    far = SshHost(3, tmp_path_factory.mktemp("far") / "host")
    try:
        lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{far.config}"', f'ssh_python = "{sys.executable}"']
        Path(module_workspace, "aiinfra.toml").write_text("\n".join(lines))
        gpu.start("trainer", on="ssh")
        yield KeptKernel.of("gpu:trainer")
        gpu.stop("trainer")
    finally:
        far.remove()


@pytest.fixture
def attach(session) -> Iterator[Callable[[], Client]]:
    """A client of a kernel manager of its own, as each open notebook has one."""
    clients: list[Client] = []

    def attach() -> Client:
        manager = KernelManager(kernel_name="aiinfra-trainer")
        manager.start_kernel()
        clients.append(Client(manager))
        return clients[-1]

    yield attach
    for client in clients:
        client.jupyter.stop_channels()
        client.manager.shutdown_kernel(now=True)
