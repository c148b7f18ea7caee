"""SIGTERM and SIGHUP to what works in its own process: its end is written, its children end, its exit code says why."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab import data, files, jobs, signals, train
from aiinfra_lab.errors import Interrupted
from aiinfra_lab.jobs import process
from aiinfra_lab.store import open_store
from tests.conftest import PATIENCE_S, end, until
from tests.train.conftest import empty_mlflow

__all__ = ["empty_mlflow"]

# It starts a process of its own session, as a server under test would be, and never ends.
CODE = """
import subprocess, time
from pathlib import Path
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
Path("child").write_text(str(child.pid))
time.sleep(600)
"""
HERE = "import time; from aiinfra_lab import jobs\nwith jobs.here('train:a@1'): open('begun', 'w'); time.sleep(600)"


def cli(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aiinfra_lab.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def child(workspace: Path, empty_mlflow: Path) -> Iterator[Path]:
    """The file into which CODE writes its child's pid; that is gone afterwards."""
    (workspace / ".aiinfra" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow")
    (workspace / "code.py").write_text(CODE)
    path = workspace / "child"
    yield path
    if path.exists():
        end(int(path.read_text()))


def test_a_training_run_in_a_shell_is_recorded_as_stopped_and_its_children_end(child):
    data.add("a", pl.DataFrame({"x": [1, 2]}))
    going = cli("train", "run", "a", "--rows", "data:a@1", "--code", "code.py")
    until(lambda: child.exists() and child.read_text())
    going.terminate()
    said = going.communicate(timeout=PATIENCE_S)[0]
    assert (going.returncode, "was stopped" in said) == (143, True)
    assert (train.show("a@1").state, jobs.find("train:a").state) == ("stopped", "stopped")
    assert not process.birth(int(child.read_text()))


def test_ctrl_c_in_a_training_run_is_reported_as_shells_do(child):
    data.add("a", pl.DataFrame({"x": [1, 2]}))
    going = cli("train", "run", "a", "--rows", "data:a@1", "--code", "code.py")
    until(lambda: child.exists() and child.read_text())
    going.send_signal(signal.SIGINT)
    going.wait(PATIENCE_S)
    end(int(child.read_text()))  # a terminal would not reach it either, and it holds the output open
    said = going.communicate(timeout=PATIENCE_S)[0]
    assert (going.returncode, "was stopped" in said, train.show("a@1").state) == (130, True, "stopped")


@pytest.mark.parametrize(
    ("numbers", "apart_s", "code"),
    [
        ((signal.SIGINT,) * 2, 0.4, 130),
        ((signal.SIGTERM,) * 2, 0.05, 143),
        ((signal.SIGHUP, signal.SIGTERM), 0.05, 129),
        ((signal.SIGHUP, signal.SIGTERM), 0.4, 129),
    ],
)
def test_two_signals_are_reported_as_the_first_one(child, numbers, apart_s, code):
    data.add("a", pl.DataFrame({"x": [1, 2]}))
    going = cli("train", "run", "a", "--rows", "data:a@1", "--code", "code.py")
    until(lambda: child.exists() and child.read_text())
    going.send_signal(numbers[0])
    time.sleep(apart_s)
    going.send_signal(numbers[1])
    assert going.wait(PATIENCE_S) == code
    going.stdout.close()


def test_a_verb_that_waits_is_interrupted_and_records_nothing(workspace):
    (workspace / "a.csv").write_text("x,y\n1,2\n")
    with files.lock(workspace / ".aiinfra" / "data" / "lock"):
        going = cli("data", "add", "a", "a.csv")
        assert "waits for it" in going.stdout.readline()
        going.terminate()
        said = going.communicate(timeout=PATIENCE_S)[0]
    assert (going.returncode, said.splitlines()[-1]) == (143, "interrupted")
    assert list(open_store().events()) == []


def test_a_script_ends_by_the_signal_when_the_end_of_its_job_is_written(workspace):
    going = subprocess.Popen([sys.executable, "-c", HERE], stderr=subprocess.DEVNULL)
    until((workspace / "begun").exists)
    going.terminate()
    assert going.wait(PATIENCE_S) == -signal.SIGTERM
    assert jobs.find("train:a").state == "stopped"


def test_the_two_that_a_closing_terminal_sends_are_one_request():
    came = []
    with signals.taken(came.append, is_final=True) as requests:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert (came, requests.came) == ([signal.SIGTERM], [signal.SIGTERM, signal.SIGHUP])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_who_is_around_knows_of_what_came_within():
    with signals.taken(is_final=True) as outer:
        with signals.taken(lambda _: None):
            signal.raise_signal(signal.SIGTERM)
        assert outer.came == [signal.SIGTERM]


def test_of_two_that_came_within_the_first_is_the_first_around_as_well():
    with signals.taken(is_final=True) as outer:
        with signals.taken(lambda _: None):
            signal.raise_signal(signal.SIGTERM)
            signals.note(signal.SIGINT, outer)  # as who runs a notebook does at once
        assert outer.came == [signal.SIGTERM, signal.SIGINT]


def test_ctrl_c_is_left_alone_outside_a_command():
    with signals.taken():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_command_interrupts_each_time_and_is_known_around():
    with signals.taken(is_final=True) as command:
        with signals.taken():
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
        assert command.came == [signal.SIGINT] * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_to_stop_waiting_is_reported_as_ctrl_c():
    assert Interrupted("you stopped waiting", "wait again").exit_code == 130


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with signals.taken():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_takes_nothing():
    found = []

    def look() -> None:
        with signals.taken():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
