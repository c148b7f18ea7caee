"""Kernels behind a reach: on this machine, behind a command, and on a machine with a real sshd whose link is cut."""

import contextlib
import errno
import json
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiinfra_lab.errors import Failed, LabError
from aiinfra_lab.host.frames import Decoder, Kind, frame
from aiinfra_lab.host.spec import read_state
from aiinfra_lab.kernels.reach import CommandReach, LocalReach
from tests.conftest import until
from tests.sshd import SshHost, needs_sshd

from .far import Far

COUNT = "import time\nfor n in range({0}):\n    print(f'line {{n}}', flush=True); time.sleep({1})"


@pytest.fixture(params=["socket", "command", "shell"])
def reach(request, tmp_path):
    folder = tmp_path / "host"
    if request.param == "socket":
        return LocalReach(folder)
    cache = ["env", f"XDG_CACHE_HOME={tmp_path / 'cache'}"]
    if request.param == "command":
        return CommandReach(cache, str(folder), shell=False, python=sys.executable)
    shell = ["sh", "-c", 'exec sh -c "$*"', "sh", *cache]  # as ssh does: the words become one line for a shell
    return CommandReach(shell, str(folder), python=sys.executable)


@pytest.fixture
def far(reach, tmp_path) -> Iterator[Far]:
    far = Far(reach, tmp_path / "host", tmp_path / "here", alone_s=20.0)
    yield far
    if far.state.phase != "ended":
        far.end()


def test_code_runs_and_its_end_is_heard(far, tmp_path):
    far.execute("print(6 * 7)")
    far.until(lambda: far.replies)
    assert (far.printed, far.replies[0]["status"]) == ("42\n", "ok")
    far.end()
    assert (far.state.why, far.state.exit_code) == ("stopped", 0)
    assert far.link.received.first > 1 or far.link.received.last > 0


def test_a_module_of_the_user_is_called_as_the_hosts_programs_are(reach, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "host.py").write_text("own = 42\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    far = Far(reach, tmp_path / "host", tmp_path / "here", alone_s=20.0)
    far.execute("import host; print(host.own)")
    far.until(lambda: far.replies)
    assert far.printed == "42\n"
    far.end()


def test_an_owner_that_comes_again_gets_what_it_missed_and_nothing_twice(far):
    far.execute(COUNT.format(60, 0.05))
    far.until(lambda: len(far.lines()) > 5)
    far.attach_again()
    far.until(lambda: far.replies)
    assert far.lines() == list(range(60))
    far.execute("print('line 60')")
    far.until(lambda: len(far.replies) == 2)
    assert (far.lines(), far.gaps) == (list(range(61)), 0)


def test_a_flood_of_output_is_written_down_and_takes_no_memory_of_the_core(tmp_path):
    far = Far(LocalReach(tmp_path / "host"), tmp_path / "host", tmp_path / "here", alone_s=20.0)
    far.execute("import os\nfor n in range(150): print(os.urandom(500_000).hex(), flush=True)\nprint('over')")
    far.until(lambda: far.printed.endswith("over\n"))  # not the last output: what a kernel warns of comes when it comes
    assert far.printed.count("\n") == 151
    status = Path(f"/proc/{far.state.core_pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < 100 * 1024
    far.end()


def test_what_it_is_used_for_is_told_from_the_beginning_and_when_that_changes(tmp_path):
    far = Far(LocalReach(tmp_path / "host"), tmp_path / "host", tmp_path / "here", idle_s=600.0)
    far.execute("import time; time.sleep(600)")
    far.until(lambda: far.state.use == "its kernel runs code")
    far.command(b"signal", b"2")
    far.until(lambda: far.state.use == "")
    assert time.time() - 60 < far.state.used_at < time.time()
    far.end()


def test_what_was_left_by_a_core_that_ended_alone_arrives_with_its_end(far, tmp_path):
    far.execute(COUNT.format(20, 0.01))
    far.until(far.lines)
    far.link.lease(1.0, "deadline")
    far.serve(0.2)
    far.link.close()
    until(lambda: read_state(tmp_path / "host").phase == "ended")
    far.attach_again()
    far.until(lambda: far.state.phase == "ended")
    assert (far.lines(), far.state.why) == (list(range(20)), "deadline")


def test_files_of_the_host_that_a_cleaner_took_from_its_cache_are_there_again(tmp_path):
    cache = tmp_path / "cache"
    reach = CommandReach(["env", f"XDG_CACHE_HOME={cache}"], str(tmp_path / "host"), shell=False, python=sys.executable)
    reach.serve("sync", str(tmp_path / "project")).close()
    taken = [each for each in cache.rglob("*.py") if each.name != "__main__.py"]
    for each in taken:
        each.unlink()
    stream = reach.serve("sync", str(tmp_path / "project"))
    until(lambda: all(each.exists() for each in taken) or stream.problem())
    stream.close()
    assert [each for each in taken if not each.exists()] == []


def test_a_restart_is_heard_and_what_was_sent_meanwhile_goes_to_the_new_kernel(far):
    far.execute("x = 1")
    far.until(lambda: far.replies)
    far.command(b"restart")
    far.execute("x")
    far.until(lambda: len(far.replies) == 2)
    assert far.replies[1]["ename"] == "NameError"
    assert far.state.incarnation == 2


def test_what_another_owner_sends_before_it_is_connected_comes_behind_what_the_host_has(far, tmp_path):
    far.execute("x = 1")
    far.execute("x += 1")
    far.until(lambda: len(far.replies) == 2)
    far.link.close()
    shutil.rmtree(tmp_path / "here" / "sent")
    far.attach_again()
    far.execute("seen = []")
    for each in range(12):  # more than the host has got of the owner before
        far.execute(f"seen.append({each})")
    far.execute("print(x, seen)")
    far.until(lambda: far.printed)
    far.execute("print('again')")
    far.until(lambda: "again" in far.printed)
    assert (far.printed, far.gaps) == (f"2 {[*range(12)]}\nagain\n", 0)


def test_a_command_that_is_not_there_is_an_error_with_its_name(tmp_path):
    with pytest.raises(Failed, match="no-such-command cannot be run"):
        Far(CommandReach(["no-such-command"], "x"), tmp_path / "host", tmp_path / "here")


def test_a_host_without_python_says_so(tmp_path):
    reach = CommandReach(["env"], str(tmp_path / "host"), shell=False, python="no-python")
    with pytest.raises(LabError, match="no-python"):
        Far(reach, tmp_path / "host", tmp_path / "here")


def test_a_full_disk_here_keeps_nothing_from_who_is_connected(far, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    far.until(lambda: far.state.phase == "ready")
    far.link.sent.close()
    far.link.received.close()
    monkeypatch.setattr("aiinfra_lab.host.journal._write", refuse)
    far.execute("print(6 * 7)")
    far.until(lambda: far.replies)
    assert far.printed == "42\n"
    monkeypatch.undo()
    far.execute("print('line 1')")
    far.until(lambda: len(far.replies) == 2)
    assert (far.lines(), far.gaps) == ([1], 0)


def test_a_python_without_pyzmq_says_what_to_install(tmp_path):
    (tmp_path / "bare").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "bare").chmod(0o755)
    there = ["env", "-u", "PYTHONPATH", f"XDG_CACHE_HOME={tmp_path / 'cache'}"]
    reach = CommandReach(there, str(tmp_path / "host"), shell=False, python=str(tmp_path / "bare"))
    with pytest.raises(Failed, match="cannot keep a kernel: ModuleNotFoundError: No module named 'zmq'") as problem:
        Far(reach, tmp_path / "host", tmp_path / "here")
    assert "bare -m pip install ipykernel`" in problem.value.fix


def test_a_kernel_that_cannot_be_started_ends_with_the_reason(reach, tmp_path):
    far = Far(reach, tmp_path / "host", tmp_path / "here", argv=["/no/such/kernel"])
    far.until(lambda: far.state.phase == "ended")
    assert far.state.why.startswith("its kernel cannot be started: ")


def attached() -> list[psutil.Process]:
    """The commands that carry a connection of this process."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "attach" in each.cmdline():
                found.append(each)
    return found


def test_a_connection_that_says_nothing_is_replaced_and_one_that_is_slow_stays(tmp_path):
    cache = ["env", f"XDG_CACHE_HOME={tmp_path / 'cache'}"]
    reach = CommandReach(cache, str(tmp_path / "host"), shell=False, python=sys.executable)
    far = Far(reach, tmp_path / "host", tmp_path / "here", alone_s=20.0)
    far.execute(COUNT.format(100, 0.1))
    far.until(lambda: len(far.lines()) > 5)
    (first,) = attached()
    first.suspend()
    stopped_at, had = time.monotonic(), len(far.lines())
    far.serve(1.5)
    first.resume()  # it was only slow
    far.until(lambda: len(far.lines()) > had + 20)
    assert attached() == [first]
    first.suspend()
    stopped_at, had = time.monotonic(), len(far.lines())
    far.until(lambda: len(far.lines()) > had + 20)
    assert time.monotonic() - stopped_at < 8  # three keep-alives without an answer take 9 s
    assert first not in attached()
    far.until(lambda: far.replies)
    assert (far.lines(), far.gaps) == (list(range(100)), 0)
    far.end()


class Connection:
    """A connection to a core as an owner makes it, by hand."""

    def __init__(self, folder: Path) -> None:
        self.socket, self.decoder = socket.socket(socket.AF_UNIX), Decoder()
        self.socket.connect(read_state(folder).socket)
        self.socket.settimeout(10)

    def say(self, kind: int, **content: object) -> "Connection":
        self.socket.sendall(frame(kind, 0, json.dumps(content).encode()))
        return self

    def hears(self, kind: int) -> bool:
        """Whether that comes; False when the other side goes."""
        try:
            while data := self.socket.recv(1 << 16):
                if kind in [found.kind for found in self.decoder.feed(data)]:
                    return True
        except ConnectionError:
            pass
        return False


def test_only_a_hello_takes_the_owners_place_and_one_that_a_cut_has_kept_does_not(tmp_path):
    far = Far(LocalReach(tmp_path / "host"), tmp_path / "host", tmp_path / "here", alone_s=20.0)
    far.until(lambda: far.state.phase == "ready")
    far.link.close()
    hello = {"received": 0, "owner": "this"}
    owner = Connection(tmp_path / "host").say(Kind.HELLO, **hello, connection=2)
    assert owner.hears(Kind.WELCOME)
    others = [Connection(tmp_path / "host") for _ in range(20)]
    assert not Connection(tmp_path / "host").say(Kind.PING).hears(Kind.PONG)
    assert not Connection(tmp_path / "host").say(Kind.HELLO, **hello, connection=1).hears(Kind.WELCOME)
    assert owner.say(Kind.PING).hears(Kind.PONG)
    assert Connection(tmp_path / "host").say(Kind.HELLO, **{**hello, "owner": "next"}, connection=1).hears(Kind.WELCOME)
    assert not owner.hears(Kind.PONG)
    for each in (owner, *others):
        each.socket.close()
    far.attach_again()
    far.end()


@pytest.fixture
def ssh_host(tmp_path) -> Iterator[SshHost]:
    host = SshHost(1, tmp_path / "far")
    yield host
    host.remove()


class TestSsh:
    pytestmark = needs_sshd

    @pytest.fixture
    def far(self, ssh_host, tmp_path) -> Iterator[Far]:
        folder = ssh_host.folder / "core"
        far = Far(CommandReach(ssh_host.command, str(folder), python=sys.executable), folder, tmp_path / "here")
        yield far
        ssh_host.set_link("up")
        if far.state.phase != "ended":
            far.end()

    def test_a_cut_link_loses_no_line_and_doubles_none(self, far, ssh_host):
        far.execute(COUNT.format(200, 0.05))
        far.until(lambda: len(far.lines()) > 20)
        pid = far.state.kernel_pid
        ssh_host.set_link("down")
        far.serve(6)
        assert not far.link.is_connected
        assert far.link.broken_at is not None
        far.execute("print('line 200')")  # it waits here until the link is back
        ssh_host.set_link("up")
        ssh_host.move()
        far.until(lambda: len(far.replies) == 2)
        assert (far.lines(), far.gaps, far.state.kernel_pid) == (list(range(201)), 0, pid)

    def test_a_host_that_ends_itself_while_it_cannot_be_reached_has_kept_what_was_said(self, far, ssh_host):
        far.link.lease(4.0, "deadline")
        far.execute(COUNT.format(1000, 0.1))
        far.until(far.lines)
        ssh_host.set_link("down")
        far.serve(9)
        assert "ipykernel" not in ssh_host.run("ps", "-eo", "args")
        ssh_host.set_link("up")
        far.until(lambda: far.state.phase == "ended")
        assert far.state.why == "deadline"
        assert far.lines() == list(range(len(far.lines())))
        assert len(far.lines()) > 25

    def test_its_key_and_its_environment_are_on_no_command_line(self, far, ssh_host):
        far.until(lambda: far.state.phase == "ready")
        for commands in (ssh_host.run("ps", "-eo", "args"), Path("/proc/self/cmdline").read_text()):
            assert far.key not in commands

    def test_a_host_whose_key_has_changed_is_not_spoken_to(self, ssh_host, tmp_path):
        other = (ssh_host.folder / "id.pub").read_text().split()[1]
        lines = (ssh_host.folder / "known_hosts").read_text().split()
        (ssh_host.folder / "known_hosts").write_text(f"{lines[0]} {lines[1]} {other}\n")
        reach = CommandReach(ssh_host.command, str(tmp_path / "core"), python=sys.executable)
        with pytest.raises(LabError, match="Host key verification failed"):
            Far(reach, tmp_path / "core", tmp_path / "here")
