"""The systemd unit that keeps a workspace's supervisor alive."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.jobs import supervisor, unit
from tests.conftest import PATIENCE_S, end_supervisor, supervisors, until

ROOT = Path(__file__).parents[2]
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    """Where systemd looks for this user's units."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "systemd" / "user"


def directives(text: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


def command(where) -> list[str]:
    """What the unit runs."""
    [line] = directives(unit.text(where), "ExecStart")
    return shlex.split(line)


@needs_systemd
@pytest.mark.parametrize("folder", ["/srv/flights", "/srv/a b-c/.x", "/.hidden", "/", "/größe"])
def test_a_folder_is_escaped_as_systemd_does(folder):
    found = subprocess.run(["systemd-escape", "--path", folder], capture_output=True, text=True, check=True)
    assert unit.escaped(Path(folder)) == found.stdout.strip()


@needs_systemd
def test_systemd_has_nothing_against_the_unit(workspace, configuration):
    where = settings()
    shipped = ROOT / "infra" / "systemd" / unit.TEMPLATE
    for path in (unit.install(where), shipped):
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--user", str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(configuration.parent)},
        )
        about = [line for line in checked.stderr.splitlines() if "aiinfra-lab@" in line]
        assert (checked.returncode, about) == (0, []), checked.stderr


def test_the_unit_names_this_interpreter_and_this_workspace(workspace, configuration, capsys):
    unit.main()
    [path] = configuration.iterdir()
    assert path.name == unit.name(settings()) == f"aiinfra-lab@{unit.escaped(workspace)}.service"
    assert command(settings()) == [sys.executable, "-m", "aiinfra_lab.jobs.supervisor", "stay"]
    assert "/usr/bin/env" not in path.read_text()
    assert f"systemctl --user enable --now {shlex.quote(path.name)}" in capsys.readouterr().out


def test_a_folder_with_blanks_and_signs_of_systemd_is_named_as_it_is(workspace):
    where = replace(settings(), project=Path('/a 100%/"b"'))
    assert directives(unit.text(where), "Environment")[1] == '"AIINFRA_PROJECT=/a 100%%/\\"b\\""'


@pytest.fixture
def service(workspace):
    """Runs what the unit runs, for as long as the test."""
    started = []

    def start():
        environment = {**os.environ, "AIINFRA_WORKSPACE": str(workspace), "AIINFRA_PROJECT": str(settings().project)}
        started.append(subprocess.Popen(command(settings()), env=environment, cwd=workspace))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_what_the_unit_runs_stays_though_nothing_lives_and_starts_what_is_asked_for(workspace, service):
    jobs.wait(jobs.start("train:a", ["true"]).id, PATIENCE_S)
    end_supervisor(workspace)
    stays = service()
    until(jobs.is_watched)
    with pytest.raises(subprocess.TimeoutExpired):
        stays.wait(supervisor.IDLE_S + 2)
    assert jobs.wait(jobs.start("train:a", ["true"]).id, PATIENCE_S).state == "done"
    assert supervisors(workspace) == [stays.pid]


def test_what_the_unit_runs_takes_the_place_of_a_supervisor_that_dies(workspace, service):
    job = jobs.start("train:a", ["sleep", "600"])
    first = supervisors(workspace)
    stays = service()
    until(lambda: len(supervisors(workspace)) == 2)
    assert stays.poll() is None
    for pid in first:
        os.kill(pid, 9)
    until(lambda: jobs.is_watched() and supervisors(workspace) == [stays.pid])
    jobs.cancel(job.id)
    assert jobs.wait(job.id, PATIENCE_S).state == "stopped"


def test_jobs_that_shall_live_on_are_counted(workspace):
    jobs.start("train:a", ["sleep", "600"])
    assert unit.should_live() == 0
    jobs.start("deploy:a", ["sleep", "600"], restart=True)
    assert unit.should_live() == 1
    end_supervisor(workspace)
