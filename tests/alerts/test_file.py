"""Lines of JSON in a file."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from aiinfra_lab import providers
from aiinfra_lab.errors import Denied, Unavailable, UsageProblem
from aiinfra_lab.files import take_lock
from aiinfra_lab.testing.alerts import SinkContract, alert


@pytest.fixture
def sink(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_ALERTS_TIMEOUT_S", "2")
    return providers.make("alerts.sink", "file")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestFile(SinkContract):
    @pytest.fixture
    def address(self):
        return "logs/alerts.jsonl"

    @pytest.fixture
    def received(self, workspace, address):
        path = workspace / address
        return lambda: [json.dumps(each, ensure_ascii=False) for each in lines(path)] if path.exists() else []

    @pytest.fixture
    def refuses(self, workspace):
        (workspace / "folder").mkdir()
        return "folder"

    @pytest.fixture
    def away(self, workspace):
        """Somebody holds it, and does not let go."""
        with take_lock(workspace / ".held.jsonl.lock"):
            yield "held.jsonl"

    @pytest.fixture
    def no_address(self):
        return "~somebody/alerts.jsonl"

    @pytest.fixture
    def secrets(self):
        return []


@contextmanager
def umask(mask):
    before = os.umask(mask)
    yield
    os.umask(before)


def test_it_is_for_its_owner_only(sink, workspace):
    with umask(0):
        sink.send(alert(), "alerts.jsonl")
    assert (workspace / "alerts.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_somebody_has_opened_for_others_stays_so(sink, workspace):
    path = workspace / "alerts.jsonl"
    path.touch()
    path.chmod(0o640)
    sink.send(alert(), "alerts.jsonl")
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_line_of_one_that_was_killed_does_not_spoil_the_next(sink, workspace):
    (workspace / "alerts.jsonl").write_text('{"version": 1, "id"')
    given = alert()
    sink.send(given, "alerts.jsonl")
    assert json.loads((workspace / "alerts.jsonl").read_text().splitlines()[-1])["id"] == given.id


def test_past_its_size_it_is_put_aside_whole_and_one_is_kept(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_ALERTS_FILE_MIB", "0.002")
    sink = providers.make("alerts.sink", "file")
    given = [alert(f"number {number}") for number in range(30)]
    for each in given:
        sink.send(each, "alerts.jsonl")
    older, newer = (lines(workspace / name) for name in ("alerts.jsonl.1", "alerts.jsonl"))
    ids = [each["id"] for each in (*older, *newer)]
    assert ids == [each.id for each in given][-len(ids) :]
    assert all((workspace / name).stat().st_size < 0.004 * 2**20 for name in ("alerts.jsonl.1", "alerts.jsonl"))
    names = {path.name for path in workspace.iterdir() if "alerts" in path.name}
    assert names == {"alerts.jsonl", "alerts.jsonl.1", ".alerts.jsonl.lock"}
    assert (workspace / "alerts.jsonl.1").stat().st_mode & 0o777 == 0o600


WRITE = """
import sys
from aiinfra_lab import providers
from aiinfra_lab.testing.alerts import alert
sink = providers.make("alerts.sink", "file")
for number in range(40):
    sink.send(alert(f"{sys.argv[1]} {number} " + "x" * 400), "alerts.jsonl")
"""


def test_several_processes_lose_no_line_also_while_it_is_put_aside(workspace, monkeypatch):
    # Once in all: what is put aside a second time goes.
    monkeypatch.setenv("AIINFRA_ALERTS_FILE_MIB", "0.05")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = [each for name in ("alerts.jsonl.1", "alerts.jsonl") for each in lines(workspace / name)]
    assert len({each["id"] for each in found}) == len(found) == 120


def test_a_pipe_is_not_waited_for(sink, workspace):
    os.mkfifo(workspace / "pipe")
    with pytest.raises(Denied, match="no file"):
        sink.send(alert(), "pipe")


def test_a_place_that_cannot_be_written_is_an_error_of_ours(sink):
    with pytest.raises((Denied, Unavailable), match=r"/proc/"):
        sink.send(alert(), "/proc/alerts.jsonl")


def test_a_full_disk_leaves_no_part_of_a_line(sink, workspace, monkeypatch):
    sink.send(alert("before"), "alerts.jsonl")
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
from aiinfra_lab import providers
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.testing.alerts import alert
try:
    providers.make("alerts.sink", "file").send(alert("x" * 490), "alerts.jsonl")
except Unavailable as problem:
    print(problem.what)
"""
    done = subprocess.run([sys.executable, "-Bc", code], capture_output=True, text=True, check=True)
    assert "no space is left" in done.stdout
    assert [each["what"] for each in lines(workspace / "alerts.jsonl")] == ["before"]


@pytest.mark.parametrize("wrong", ["", "logs/", "a\0b"])
def test_what_names_no_file_is_refused(sink, wrong):
    with pytest.raises(UsageProblem):
        sink.send(alert(), wrong)


def test_one_that_is_held_is_unavailable(sink, workspace):
    with take_lock(workspace / ".alerts.jsonl.lock"), pytest.raises(Unavailable, match="another process"):
        sink.send(alert(), "alerts.jsonl")
