"""What a host core hears of its kernel, and in which order, whatever the sockets between them make of it."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from aiinfra_lab.host.frames import MessageChannel
from aiinfra_lab.host.kernel import DELIMITER, Kernel
from aiinfra_lab.host.pump import Pump
from aiinfra_lab.host.spec import HostSpec
from aiinfra_lab.kernels import kernel_argv
from tests.conftest import until

# A kernel as far as its sockets go: its code is what a test has it send.
FAKE = """
import json, os, sys, time, zmq
info = json.loads(open(sys.argv[1]).read())
context = zmq.Context()
out, shell = context.socket(zmq.XPUB), context.socket(zmq.ROUTER)
out.sndhwm = 0
out.bind(f"ipc://{info['ip']}-{info['iopub_port']}")
shell.bind(f"ipc://{info['ip']}-{info['shell_port']}")
out.recv()
address = shell.recv_multipart()[0]
def message(parent, **content):
    return [b"<IDS|MSG>", b"", b"{}", json.dumps({"msg_id": parent}).encode(), b"{}", json.dumps(content).encode()]
def reply(parent): shell.send_multipart([address, b"client", *message(parent, status="ok")])
def publish(topic, parent, **content): out.send_multipart([topic.encode(), *message(parent, **content)])
def status(parent, state): publish("kernel.status", parent, execution_state=state)
"""


REQUEST = [b"client", DELIMITER, b"", b'{"msg_id": "a", "msg_type": "execute_request"}', b"{}", b"{}", b'{"code": ""}']


@pytest.fixture
def begin() -> Iterator[Callable[[str], Kernel]]:
    """A kernel that runs that code once it is asked something."""
    kernels = []
    with tempfile.TemporaryDirectory() as folder:  # short, since sockets have short paths

        def begin(code: str) -> Kernel:
            (Path(folder) / "kernel.py").write_text(FAKE + code)
            argv = [sys.executable, "kernel.py", "{connection_file}"]
            kernels.append(Kernel(HostSpec(folder, argv, folder, {}, "key"), Path(folder), 1, zmq.Context()))
            kernels[0].send(MessageChannel.SHELL, [b"ask"])
            return kernels[0]

        yield begin
        for kernel in kernels:
            kernel.signal(9)
            kernel.process.wait()
            kernel.close()


def heard(kernel: Kernel, replies: int = 1) -> list[str]:
    """What comes until so many replies have."""
    found: list[str] = []

    def is_all() -> bool:
        for channel in (MessageChannel.IOPUB, MessageChannel.SHELL):
            is_reply = channel is MessageChannel.SHELL
            found.extend("reply" if is_reply else parts[0].decode() for parts in kernel.receive(channel))
        return found.count("reply") == replies

    until(is_all)
    return found


def test_a_reply_waits_for_the_outputs_before_it_however_late_they_come(begin):
    code = "status('a', 'busy'); reply('a'); time.sleep(0.5); publish('stream', 'a'); status('a', 'idle'); reply('b')\n"
    code += "time.sleep(0.3); status('b', 'busy'); status('b', 'idle'); time.sleep(600)"
    found = heard(begin(code), 2)
    assert found == ["kernel.status", "stream", "kernel.status", "reply", "kernel.status", "kernel.status", "reply"]


def test_a_reply_without_a_status_comes_all_the_same(begin):
    assert heard(begin("publish('stream', 'a'); reply('a'); time.sleep(600)")) == ["stream", "reply"]


def test_code_that_ended_its_kernel_at_once_is_known(begin):
    parts = [b"", b'{"msg_id": "b", "msg_type": "execute_request"}', b"{}", b"{}", b'{"code": "crash()"}']
    kernel = begin("publish('kernel.execute_input', 'a', execution_count=4); status('a', 'idle')")
    kernel.send(MessageChannel.SHELL, [b"client", DELIMITER, *parts])
    kernel.process.wait()
    assert len([*kernel.rest(MessageChannel.IOPUB)]) == 2
    message = [json.loads(part) for part in kernel.unseen()[3:]]
    assert (message[0]["msg_type"], message[1]["msg_id"]) == ("execute_input", "b")
    assert message[3] == {"code": "crash()", "execution_count": 5}


def test_all_that_a_kernel_has_sent_is_there_once_it_has_ended(begin):
    # Whoever ends without that may take along what zmq has not sent yet.
    kernel = begin(
        "for n in range(500): publish('stream', 'a')\nreply('a'); out.close(); shell.close(); context.term()"
    )
    kernel.send(MessageChannel.SHELL, REQUEST)
    kernel.process.wait()
    assert len([*kernel.rest(MessageChannel.IOPUB)]) == 500
    assert len([*kernel.rest(MessageChannel.SHELL)]) == 1


def test_of_an_ended_kernel_nothing_is_waited_for_that_is_not_due(begin, monkeypatch):
    kernel = begin("publish('stream', 'a'); reply('a'); out.close(); shell.close(); context.term()")
    kernel.send(MessageChannel.SHELL, REQUEST)
    kernel.process.wait()
    until(lambda: kernel.sockets[MessageChannel.SHELL].poll(0))
    assert [*kernel.receive(MessageChannel.SHELL)] == []  # its output is before it
    until(lambda: kernel._pump.is_taken)
    waits = []
    poll = zmq.Socket.poll
    monkeypatch.setattr(zmq.Socket, "poll", lambda one, timeout: waits.append(timeout) or poll(one, timeout))
    assert [len([*kernel.rest(each)]) for each in (MessageChannel.IOPUB, MessageChannel.SHELL)] == [1, 1]
    assert set(waits) == {0}


def test_a_process_that_holds_the_socket_of_an_ended_kernel_keeps_nobody_waiting_long(begin):
    kernel = begin("publish('stream', 'a'); os.fork() or time.sleep(600); os._exit(0)")
    kernel.process.wait()
    began = time.monotonic()
    assert len([*kernel.rest(MessageChannel.IOPUB)]) <= 1
    assert time.monotonic() - began < 5


def test_what_is_passed_on_late_is_there_too(begin, monkeypatch):
    may = Pump._may
    monkeypatch.setattr(Pump, "_may", lambda pump: time.sleep(0.1) or may(pump))
    kernel = begin("publish('stream', 'a'); out.close(); shell.close(); context.term()")
    kernel.process.wait()
    assert len([*kernel.rest(MessageChannel.IOPUB)]) == 1


LARGE = "publish('large', 'a', text='x' * 90_000_000); publish('next', 'a')"


def test_an_output_larger_than_what_may_wait_comes_without_anybody_asking(begin):
    kernel = begin(f"{LARGE}; time.sleep(600)")
    poller, found = zmq.Poller(), []
    for each in kernel.handles():
        poller.register(each, zmq.POLLIN)

    def wait() -> bool:
        ready = dict(poller.poll(10_000))
        assert ready
        if kernel.is_due(MessageChannel.IOPUB, ready):
            found.extend(parts[0] for parts in kernel.receive(MessageChannel.IOPUB))
        return found == [b"large", b"next"]

    until(wait)


def test_a_large_output_of_a_kernel_that_has_ended_is_there(begin):
    kernel = begin(f"{LARGE}; out.close(); context.term()")
    until(lambda: kernel._pump.passed > 1 << 24)  # it goes no further before somebody reads
    assert [parts[0] for parts in kernel.rest(MessageChannel.IOPUB)] == [b"large", b"next"]


def _is_heard(kernel: Kernel) -> bool:
    kernel.ask()
    for channel in (MessageChannel.CONTROL, MessageChannel.IOPUB, MessageChannel.SHELL):
        assert not any(channel is MessageChannel.SHELL for _ in kernel.receive(channel))
    return kernel.is_heard


FLOOD = "for n in range(20_000): print('x' * 10_000, flush=True)"


@pytest.fixture
def ipykernel() -> Iterator[Kernel]:
    """A real one, which is heard."""
    with tempfile.TemporaryDirectory() as folder:
        argv = list(kernel_argv(sys.executable))
        kernel = Kernel(HostSpec(folder, argv, folder, {}, "key"), Path(folder), 1, zmq.Context())
        try:
            until(lambda: _is_heard(kernel))
            yield kernel
        finally:
            kernel.signal(9)
            kernel.process.wait()
            kernel.close()


def run_in(kernel: Kernel, code: str) -> None:
    request = kernel._signed("execute_request", {"code": code, "silent": False})
    kernel.send(MessageChannel.SHELL, [b"client", DELIMITER, *request])


def test_a_flood_whose_reader_is_away_for_a_while_loses_nothing(ipykernel):
    run_in(ipykernel, FLOOD)
    time.sleep(10)  # it puts out more than fits between the two
    lines = 0
    while not [*ipykernel.receive(MessageChannel.SHELL)]:
        for parts in ipykernel.receive(MessageChannel.IOPUB):
            if parts[0].endswith(b"stream.stdout"):
                lines += json.loads(parts[-1])["text"].count("\n")
    assert lines == 20_000


# Writes down whether what answers still lives when what publishes ends; and has it late.
ENDS = """
import threading
import time
from pathlib import Path
kernel = get_ipython().kernel
publisher = kernel.iopub_thread
def seen(file=Path({file!r}), threads=threading.enumerate, stop=publisher.stop):  # its globals are gone by then
    file.write_text(repr('Control' in [thread.name for thread in threads()]))
    stop()
def late(status, *args, sleep=time.sleep, publish=kernel._publish_status_and_flush):
    if status == 'idle' and args[0] == 'control':
        sleep(0.3)
    publish(status, *args)
publisher.stop, kernel._publish_status_and_flush = seen, late
"""


def test_what_answers_the_request_to_shut_down_is_through_before_what_publishes_ends(ipykernel, tmp_path):
    """Else it may publish to that for ever, until the kernel is killed."""
    run_in(ipykernel, ENDS.format(file=str(tmp_path / "seen")))
    heard(ipykernel)
    ipykernel.ask_to_end()
    until(lambda: ipykernel.process.poll() is not None)
    assert (tmp_path / "seen").read_text() == "False"
