"""A fork that waits in the pool is the next one, is as one that is forked then, and otherwise leaves nothing."""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from aiinfra_lab import recipe
from aiinfra_lab.host.processes import POOL
from aiinfra_lab.pool import asking, match

from ..conftest import until
from .conftest import command, is_alive
from .test_pool import IS_WARM, notebook, run

CHAIN = 4  # two guards, the core, and the process that becomes the kernel
CHAIN_OF_KERNEL = "import psutil; me = psutil.Process(); print(*[each.pid for each in (me, *me.parents()[:3])][::-1])"


def below(process: int) -> list[psutil.Process]:
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def all_that_wait(pool: int) -> list[psutil.Process]:
    """The processes that wait once all of them do: those of a core, the first guard first, and that of a command."""

    def found() -> list[psutil.Process]:
        chains = [[each, *below(each.pid)] for each in psutil.Process(pool).children()]
        chains.sort(key=len, reverse=True)
        return [one for each in chains for one in each] if [len(each) for each in chains] == [CHAIN, 1] else []

    return list(until(found, "none waits"))


def sockets(place: Path) -> list[Path]:
    """What cores have left in the folder for temporary files."""
    return sorted(place.parent.glob("aiinfra-????????"))


def test_the_next_kernel_takes_it_and_another_one_waits(workspace: Path, pool: int) -> None:
    waiting = [each.pid for each in all_that_wait(pool)]
    assert run(workspace, CHAIN_OF_KERNEL) == ("done", " ".join(map(str, waiting[:CHAIN])) + "\n")
    until(lambda: asking.order("show")["alive"] == 0, "something of its kernel is left")
    again = [each.pid for each in all_that_wait(pool)]
    assert not {*waiting[:CHAIN]} & {*again}
    assert run(workspace, CHAIN_OF_KERNEL) == ("done", " ".join(map(str, again[:CHAIN])) + "\n")


def test_the_next_command_takes_it(workspace: Path, pool: int) -> None:
    waits = all_that_wait(pool)[-1]
    child = asking.fork("cli", ["aiinfra", "recipe", "ls"], env=os.environ, cwd=str(workspace), umask=0o077)
    assert child is not None
    assert child.wait(60) == 0
    assert child.pid == waits.pid


def test_several_at_once_do_not_wait_for_it(workspace: Path, pool: int) -> None:
    (workspace / "notebooks").mkdir()
    (workspace / "recipes").mkdir()
    notebook(workspace / "notebooks", IS_WARM)
    steps = "".join(f'[steps.s{number}]\nnotebook = "one.ipynb"\n' for number in range(4))
    (workspace / "recipes" / "many.toml").write_text(steps)
    found = recipe.run("many", force=True, report=True)
    assert [step["state"] for step in found.steps.values()] == ["done"] * 4
    assert asking.order("show")["forked"] == 4
    until(lambda: asking.order("show")["alive"] == 0, "something of them is left")


def test_all_of_its_processes_are_where_who_asks_is(
    workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_that_wait(pool)
    (workspace / "here").mkdir()
    monkeypatch.chdir(workspace / "here")
    monkeypatch.setenv("NEW", "2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cores, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    facts = "[each.cwd(), each.nice(), each.cpu_affinity(), each.rlimit(psutil.RLIMIT_NOFILE)[0]]"
    all_ = "import json, os, psutil; me = psutil.Process(); all_ = [me, *me.parents()[:3]]"
    cell = f"{all_}\nprint(json.dumps([{facts} for each in all_])); print(os.environ['NEW'])"
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
            os.sched_setaffinity(0, [min(cores)])
            os.nice(1)
            (workspace / "found").write_text(json.dumps(run(workspace, cell)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    state, printed = json.loads((workspace / "found").read_text())
    kernel, *others = json.loads(printed.splitlines()[0])
    assert state == "done"
    assert kernel == [str(workspace), nice + 1, [min(cores)], soft - 1]
    assert others == [[str(workspace / "here"), nice + 1, [min(cores)], soft - 1]] * 3
    assert printed.splitlines()[1] == "2"


def test_where_memory_is_limited_otherwise_a_kernel_is_spawned(workspace: Path, pool: int) -> None:
    """A fork has what the pool has imported in its memory, which may be more than who asks may have."""
    all_that_wait(pool)
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (64 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
            (workspace / "found").write_text(json.dumps(run(workspace, IS_WARM)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert json.loads((workspace / "found").read_text()) == ["done", "False\n"]


def test_ctrl_c_of_who_asks_is_none_of_the_guards(workspace: Path, pool: int) -> None:
    waiting = all_that_wait(pool)
    cell = "import signal; signals = lambda pid: open(f'/proc/{pid}/status').read().split('SigIgn:')[1].split()[0]"
    kept = f"{cell}\nprint(*[signals(pid) for pid in {[each.pid for each in waiting[:3]]}])"
    _, printed = run(workspace, kept)
    ignored = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGHUP - 1)
    assert [int(each, 16) & ignored for each in printed.split()] == [ignored] * 3


def test_its_end_leaves_nothing(place: Path, pool: int) -> None:
    found = all_that_wait(pool)
    assert len(sockets(place)) == 1
    asking.order("end")
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert sockets(place) == []


def test_the_kill_of_the_pool_leaves_nothing(place: Path, pool: int) -> None:
    found = all_that_wait(pool)
    os.kill(pool, signal.SIGKILL)
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert sockets(place) == []


@pytest.mark.parametrize("killed", range(CHAIN))
def test_where_one_of_its_processes_was_killed_there_is_another(
    workspace: Path, place: Path, pool: int, killed: int
) -> None:
    found = all_that_wait(pool)[:CHAIN]
    (folder,) = sockets(place)
    found[killed].send_signal(signal.SIGKILL)
    until(lambda: not is_alive(found[killed].pid), "it was not killed")
    state, _ = run(workspace, IS_WARM)
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert state == "done"
    until(lambda: not folder.exists(), "its sockets are left")


def test_where_both_guards_were_killed_no_folder_is_left(place: Path, pool: int) -> None:
    found = all_that_wait(pool)[:CHAIN]
    (folder,) = sockets(place)
    for each in found[:2]:
        each.send_signal(signal.SIGKILL)
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")
    assert not folder.exists()


def test_where_its_folder_was_removed_a_kernel_is_spawned(workspace: Path, place: Path, pool: int) -> None:
    found = all_that_wait(pool)[:CHAIN]
    shutil.rmtree(*sockets(place))
    assert run(workspace, IS_WARM) == ("done", "False\n")
    until(lambda: not any(is_alive(each.pid) for each in found), "a process is left")


def test_where_the_folder_of_who_asks_was_removed_a_kernel_is_spawned(
    workspace: Path, pool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "gone").mkdir()
    monkeypatch.chdir(workspace / "gone")
    (workspace / "gone").rmdir()
    assert run(workspace, IS_WARM) == ("done", "False\n")


NO_MORE = """
import os
from aiinfra_lab.host.__main__ import Below
def fork(): raise BlockingIOError
os.fork = fork
Below(None, ())
"""


def test_where_there_can_be_no_more_processes_no_folder_is_left(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", NO_MORE], env=env, capture_output=True, text=True, check=False)
    assert found.stderr.endswith("BlockingIOError\n")
    assert [*tmp_path.iterdir()] == []


AT_ONCE = "from aiinfra_lab.pool import refill, template; refill.FAILED_S = 0.2; template.main('numpy')"


def test_where_one_was_killed_another_one_waits_later(place: Path) -> None:
    place.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", AT_ONCE]) as process:
        until(lambda: asking.order("show"), "the pool does not answer")
        *chain, killed = all_that_wait(process.pid)
        killed.kill()
        until(lambda: not psutil.pid_exists(killed.pid), "it was not collected")
        assert all_that_wait(process.pid)[:CHAIN] == chain
        asking.order("end")


def test_what_no_fork_can_take_over_has_another_spawned(workspace: Path, pool: int) -> None:
    all_that_wait(pool)
    assert run(workspace, IS_WARM, env={"PYTHONOPTIMIZE": "1"}) == ("done", "False\n")


def test_what_its_process_writes_is_in_the_log_of_its_run(
    workspace: Path, pool: int, capsys: pytest.CaptureFixture[str]
) -> None:
    all_that_wait(pool)
    last_words = "import os; os.write(2, b'the last words\\n'); os.kill(os.getpid(), 9)"
    assert run(workspace, last_words)[0] == "killed"
    assert "the last words" in capsys.readouterr().err


def test_it_has_nothing_open_of_the_pool_or_of_who_has_asked(workspace: Path, pool: int) -> None:
    """Where a fork had the end of somebody's pipe, that would wait for the fork's end."""
    for _ in range(2):
        subprocess.run(command("recipe", "ls"), capture_output=True, check=True, timeout=60)
        found = all_that_wait(pool)
    opened = [opened_by(each.pid) for each in found]
    assert [len(each) for each in opened] == [5, 2, 5, 1, 1]
    assert not opened_by(pool) & set().union(*opened)


def opened_by(pid: int) -> set[str]:
    """The sockets and pipes of a process, and the files that it does not write its log to."""
    found = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    return {each for each in found if not each.endswith((asking.LOG, "/dev/null"))}


@pytest.mark.parametrize("facts", ["[" * 100_000, '{"kind": ["cli"]}', '{"kind": {}}', '["kind"]', "", "x"])
def test_what_is_no_request_ends_no_pool(place: Path, pool: int, facts: str) -> None:
    if facts.endswith("}"):
        facts = json.dumps({"fixed": match.fixed(os.environ), **json.loads(facts)})
    answer = asked(place, facts, 1)
    assert b"pid" not in answer
    assert asking.order("show")["running"] == pool


def test_where_a_descriptor_was_lost_nothing_is_forked(workspace: Path, place: Path, pool: int) -> None:
    """The system leaves those out for which a process has no room: the next one would be taken for it."""
    facts = {"kind": "cli", "argv": ["aiinfra"], "env": dict(os.environ), "cwd": str(workspace), "umask": 0o77}
    facts |= {"fixed": match.fixed(os.environ), "adjustable": match.adjustable()}
    assert b"pid" in asked(place, json.dumps(facts), 4)
    assert asked(place, json.dumps(facts), 40) == b""


def test_who_asks_a_byte_at_a_time_keeps_nobody_waiting(place: Path, pool: int) -> None:
    is_over = threading.Event()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place / asking.SOCKET))
        connection.sendall((1000).to_bytes(8, "big"))

        def send() -> None:
            with contextlib.suppress(OSError):  # it was closed
                while not is_over.wait(0.1):
                    connection.sendall(b" ")

        thread = threading.Thread(target=send)
        thread.start()
        try:
            assert asking.order("show")["running"] == pool
        finally:
            is_over.set()
            thread.join()


def asked(place: Path, facts: str, descriptors: int) -> bytes:
    """What the pool answers to that, with so many descriptors."""
    with socket.socket(socket.AF_UNIX) as connection, Path(os.devnull).open() as file:
        connection.settimeout(10)
        connection.connect(str(place / asking.SOCKET))
        socket.send_fds(connection, [len(facts).to_bytes(8, "big")], [file.fileno()] * descriptors)
        connection.sendall(facts.encode())
        with contextlib.suppress(ConnectionResetError):  # it was closed before it was read
            return connection.recv(4096)
        return b""


def test_none_of_them_is_called_like_the_pool(pool: int) -> None:
    assert psutil.Process(pool).name() == POOL
    assert POOL not in {each.name() for each in all_that_wait(pool)}
