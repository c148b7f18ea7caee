"""What clients and kernels may send by mistake to the sockets of a keeper: none of it ends anything."""

import hashlib
import hmac
import json
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client import BlockingKernelClient

from aiinfra_lab.host.frames import Message, MessageChannel
from aiinfra_lab.host.kernel import DELIMITER
from aiinfra_lab.kernels.shim import Shim
from tests.conftest import until

KEY = b"0123456789abcdef"
DEEP = b"[" * 100_000


def header(kind: Any = "shutdown_request", **fields: Any) -> dict[str, Any]:
    return {"msg_id": uuid.uuid4().hex, "session": "s", "username": "u", "msg_type": kind, "version": "5.3", **fields}


def message(head: Any, content: Any = None, parent: Any = None, *, key: bytes = KEY) -> list[bytes]:
    """As a client sends it, with a signature by that key."""
    values = (head, parent if parent is not None else {}, {}, content if content is not None else {})
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in values]
    return [DELIMITER, hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode(), *parts]


class Client:
    """One client of a shim: what it sends on a channel, and what the shim makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.context = folder, zmq.Context()
        self.shim = Shim(folder, KEY.decode(), on_shutdown=b"end")
        self.sockets: dict[int, Any] = {}

    def socket(self, channel: MessageChannel) -> Any:
        if channel not in self.sockets:
            kind = zmq.SUB if channel is MessageChannel.IOPUB else zmq.DEALER
            self.sockets[channel] = found = self.context.socket(kind)
            found.linger = 0
            if kind == zmq.SUB:
                found.subscribe(b"")
            found.connect(f"ipc://{self.folder}/k-{int(channel)}")
        return self.sockets[channel]

    def send(self, channel: MessageChannel, parts: list[bytes]) -> list[tuple[MessageChannel, list[bytes]]]:
        """What is passed on of it; another message behind it shows that it was looked at."""
        for each in (parts, message(header("debug_request"), "over")):
            self.socket(channel).send_multipart(each)
        found: list[tuple[MessageChannel, list[bytes]]] = []
        until(lambda: found.extend(self.shim.receive()) or (found and found[-1][1][-1] == b'"over"'))
        return found[:-1]

    def close(self) -> None:
        self.shim.close()
        self.context.destroy(linger=0)


@pytest.fixture
def client() -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder))
        yield client
        client.close()


@pytest.mark.parametrize(
    "head", [DEEP, b'{"msg_type":' * 50_000, b"\xff", [1], b"null", header(), header("aiinfra_lease_moved")]
)
def test_what_is_not_signed_by_its_key_is_dropped_unread(client, head):
    assert client.send(MessageChannel.CONTROL, message(head, {"restart": True}, key=b"x" * 16)) == []
    assert not client.shim.is_asked_to_renew


@pytest.mark.parametrize("parts", [[b""], [DELIMITER], [DELIMITER, b"", b"", b"", b""], [DELIMITER] * 7, [b"x"] * 5000])
def test_what_is_no_message_is_dropped(client, parts):
    assert client.send(MessageChannel.CONTROL, parts) == []


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (header(), [1]),
        (header(), b"null"),
        (header(), b"{"),
        (header(), DEEP),
        (header(), 5),
        (header(version=5), {}),
        (header(version="x"), {}),
        (header(version=None), {}),
        ({"msg_type": "shutdown_request"}, {}),
        (header(username="\ud800"), {}),
    ],
)
def test_a_request_to_shut_down_that_cannot_be_read_means_nothing(client, head, content):
    assert client.send(MessageChannel.CONTROL, message(head, content)) == []


def test_a_request_to_shut_down_still_means_what_it_did(client):
    assert client.send(MessageChannel.CONTROL, message(header(), {})) == [(MessageChannel.COMMAND, [b"end"])]
    restart = message(header(), {"restart": True})
    assert client.send(MessageChannel.CONTROL, restart) == [(MessageChannel.COMMAND, [b"restart"])]
    assert client.send(MessageChannel.CONTROL, restart) == []  # one that was recorded and comes again


def test_a_request_to_shut_down_on_the_shell_channel_means_the_same(client):
    assert client.send(MessageChannel.SHELL, message(header(), {})) == [(MessageChannel.COMMAND, [b"end"])]
    code = message(header("execute_request"), {"code": "'shutdown_request'"})
    assert client.send(MessageChannel.SHELL, code)[0][0] == MessageChannel.SHELL


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    "head", [header("kernel_info_request", version=5), {"msg_type": "kernel_info_request"}, DEEP, b"\xff", [1]]
)
def test_a_question_that_cannot_be_read_gets_no_answer(client, head, is_there):
    """Neither while there is no kernel nor while it is at work; other messages pass as they are."""
    client.shim.is_kernel_there = is_there
    busy = {"msg_id": "a", "msg_type": "execute_request"}
    from_kernel(client, MessageChannel.SHELL, header("kernel_info_reply"), {"status": "ok"})
    from_kernel(client, MessageChannel.IOPUB, header("status"), {"execution_state": "busy"}, parent=busy)
    for content in ({}, [1], b"null", DEEP):
        client.send(MessageChannel.SHELL, message(head, content))


@pytest.mark.parametrize("name", [[1], {}, None, 7, "\ud800"])
@pytest.mark.parametrize("kind", ["execute_request", [1]])
def test_a_kernel_says_what_it_likes(client, name, kind):
    for state in ("busy", "idle", [1]):
        parent = {"msg_id": name, "msg_type": kind}
        from_kernel(client, MessageChannel.IOPUB, header("status"), {"execution_state": state}, parent=parent)
    for content in ([1], b"null", DEEP, {"banner": "\ud800"}):
        from_kernel(client, MessageChannel.IOPUB, header("status"), content, parent=DEEP)
        from_kernel(client, MessageChannel.SHELL, header("kernel_info_reply"), content)
    busy = {"msg_id": "a", "msg_type": "execute_request"}
    from_kernel(client, MessageChannel.IOPUB, header("status"), {"execution_state": "busy"}, parent=busy)
    client.send(MessageChannel.SHELL, message(header("kernel_info_request")))
    client.shim.deliver(Message(MessageChannel.IOPUB, 0.0, [b"status"]))
    client.shim.deliver(Message(200, 0.0, [b"of no channel"]))


def from_kernel(client: Client, channel: MessageChannel, head: Any, content: Any, parent: Any = None) -> None:
    address = b"kernel.status" if channel is MessageChannel.IOPUB else b"nobody"
    client.shim.deliver(Message(channel, 0.0, [address, *message(head, content, parent)]))


TOO_MANY = [b""] * 70_000
OUTPUT = """
kernel = get_ipython().kernel
kernel.session.send(
    kernel.iopub_socket, "comm_msg", {"comm_id": "x"}, parent=kernel.get_parent(), ident=b"kernel.comm_msg",
    buffers=[b""] * 70_000)
print("goes on")
"""


def test_an_output_that_is_too_large_is_lost_and_that_is_said_in_its_cell(kept, run):
    assert "what the kernel has sent is lost: it has 70,007 parts" in run(OUTPUT)
    assert run("print('still')") == "still\n"


def test_a_request_that_is_too_large_is_answered_by_an_error(kept, run):
    talker = BlockingKernelClient()
    talker.load_connection_info(kept.connection_info())
    talker.start_channels()
    talker.wait_for_ready(timeout=30)
    asked = talker.session.msg("execute_request", {"code": "1"})
    talker.session.send(talker.shell_channel.socket, asked, buffers=TOO_MANY)
    reply = talker.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == asked["header"]["msg_id"]
    assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "MessageTooLarge")
    kinds = []
    while "idle" not in kinds:
        found = talker.get_iopub_msg(timeout=30)
        if found["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
            kinds.append(found["content"].get("execution_state", found["msg_type"]))
    assert kinds == ["busy", "error", "idle"]
    talker.stop_channels()
    assert run("print('still')") == "still\n"
