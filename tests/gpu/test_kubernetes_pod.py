"""The first process of a pod ends it when its session is over there, and never sooner."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiinfra_lab.gpu import kubernetes_pod
from aiinfra_lab.gpu.kubernetes_pod import Pod
from tests.conftest import until


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(kubernetes_pod.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def told(monkeypatch) -> list[tuple[int, int]]:
    """The signals that were sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(kubernetes_pod.os, "kill", lambda *signalled: sent.append(signalled))
    return sent


@pytest.fixture
def pod(clock, tmp_path) -> Pod:
    return Pod(str(tmp_path), 3600, 900, 120)


def write(folder: Path, phase: str = "ready", pid: int = os.getpid()) -> None:
    (folder / "host.json").write_text(json.dumps({"phase": phase, "pid": pid}))


def test_without_a_core_it_ends_after_a_while_or_when_asked(pod, clock):
    assert pod.why_over() == ""
    clock.now += 901
    assert pod.why_over() == "no session began in it"
    clock.now -= 900
    pod.ask()
    assert pod.why_over() == "no session began in it"


def test_with_a_core_it_lives_and_then_lingers(pod, clock, tmp_path):
    write(tmp_path)
    clock.now += 901
    assert pod.why_over() == ""
    write(tmp_path, "ended")
    assert pod.why_over() == ""
    clock.now += 61
    assert pod.why_over() == "its session is over"


def test_a_core_that_was_killed_is_over(pod, clock, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, pid=ended.pid)
    assert pod.why_over() == ""
    pod.ask()
    assert pod.why_over() == "its session is over"


def test_a_deadline_that_the_core_moves_counts(pod, clock, tmp_path):
    write(tmp_path)
    (tmp_path / "lease").write_text("7200\n")
    assert pod.why_over() == ""
    clock.now += 3700
    assert pod.why_over() == ""
    (tmp_path / "lease").write_text("")  # it is being written
    assert pod.why_over() == ""
    clock.now += 3600
    assert pod.why_over() == "its deadline has come"


def test_after_the_deadline_nothing_lingers(pod, clock, tmp_path):
    write(tmp_path)
    clock.now += 3602
    assert pod.why_over() == ""  # the core ends its kernel
    write(tmp_path, "ended")
    assert pod.why_over() == "its deadline has come"


def test_a_core_is_asked_to_end_shortly_before_the_kill(pod, clock, told, tmp_path):
    write(tmp_path)
    pod.ask()
    clock.now += 100
    assert (pod.why_over(), told) == ("", [])
    clock.now += 6
    assert (pod.why_over(), pod.why_over(), told) == ("", "", [(os.getpid(), signal.SIGTERM)])
    write(tmp_path, "ended")
    clock.now += 300
    assert pod.why_over() == ""  # it is killed, and seen to be taken away until then


@pytest.mark.parametrize(("grace_s", "left_s"), [(120, 105), (30, 15), (10, 5), (0, 0)])
def test_that_it_is_taken_away_is_a_notice_of_when_the_core_is_asked_to_end(clock, told, tmp_path, grace_s, left_s):
    pod = Pod(str(tmp_path), 3600, 900, grace_s)
    write(tmp_path)
    pod.ask()
    notice = (tmp_path / "notice").read_text()
    assert float(notice) == pytest.approx(time.time() + left_s, abs=5)
    pod.ask()
    assert (tmp_path / "notice").read_text() == notice
    clock.now += left_s
    assert (pod.why_over(), told) == ("", [])
    clock.now += 0.1
    assert (pod.why_over(), told) == ("", [(os.getpid(), signal.SIGTERM)])


def test_it_runs_by_its_text_alone(tmp_path):
    text = Path(kubernetes_pod.__file__).read_text()
    words = [sys.executable, "-I", "-S", "-c", text, str(tmp_path), "3600", str(time.time() + 3600), "900", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: hears(process.pid, signal.SIGTERM))
        process.terminate()
        assert process.communicate(timeout=60)[0] == "no session began in it\n"
        assert process.returncode == 0
    finally:
        process.kill()


def test_a_pod_that_waited_beyond_its_deadline_ends_when_nobody_comes_at_once(tmp_path, clock):
    assert kubernetes_pod.limits(3600, -1, 900) == (3600, 60)
    pod = Pod(str(tmp_path), *kubernetes_pod.limits(3600, -1, 900), 1)
    clock.now += 61
    assert pod.why_over() == "no session began in it"


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0])
def test_an_owner_whose_clock_is_wrong_has_a_pod_for_as_long_as_it_was_to_be(tmp_path, clock, ahead_s):
    pod = Pod(str(tmp_path), *kubernetes_pod.limits(3600, 3600 + ahead_s, 900), 1)
    write(tmp_path)
    clock.now += 3590
    assert pod.why_over() == ""
    clock.now += 21
    assert pod.why_over() == "its deadline has come"


def hears(pid: int, number: int) -> bool:
    """Whether a process has a handler for that signal."""
    [mask] = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line)
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_python_of_images_can_read_it():
    ast.parse(Path(kubernetes_pod.__file__).read_text(), feature_version=(3, 9))


def test_kubernetes_expands_nothing_in_it():
    # In a container's command `$(NAME)` is a variable of its environment.
    assert "$(" not in Path(kubernetes_pod.__file__).read_text()
