"""What an error of lab, gpu or the store says to do is done as it says, and then what was asked for works."""

import re
import shlex
import subprocess
from collections.abc import Callable

import pytest

from aiinfra_lab import gpu, jobs, lab
from aiinfra_lab.errors import Conflict, LabError, NotFound, StoreUnavailable, UsageProblem
from aiinfra_lab.gpu.local import LocalMachines
from aiinfra_lab.lab.checks import HealthFinding
from aiinfra_lab.store import Event, open_store
from aiinfra_lab.words import split, understand

COMMAND = re.compile(r"`%([^`]+)`")


def follow(fix: str) -> object:
    """Type the first command that a fix names."""
    noun, *words = split(COMMAND.findall(fix)[0])
    return understand(str(noun), words).run()


def provoked(kind: type[LabError], step: Callable[[], object]) -> str:
    with pytest.raises(kind) as problem:
        step()
    return problem.value.fix


def finding(what: str) -> HealthFinding:
    return next(item for item in lab.check(report=True).findings if item.what == what)


def test_where_there_is_no_workspace_the_command_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIINFRA_WORKSPACE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    follow(provoked(NotFound, lab.show))
    assert lab.show().path == str(tmp_path)


def test_a_variable_that_names_no_workspace_is_followed_by_the_command_too(tmp_path, monkeypatch):
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(tmp_path / "new"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    follow(provoked(NotFound, lab.show))
    assert lab.show().path == str(tmp_path / "new")


def test_an_empty_workspace_is_filled_by_what_check_says(workspace):
    found = finding("workspace")
    follow(found.fix)
    assert (found.state, finding("workspace").state) == ("off", "ok")


def test_what_rm_lacks_can_be_listed_as_it_says(workspace):
    lab.start()
    assert follow(provoked(UsageProblem, lab.rm)) is not None


def test_a_sound_store_is_proved_by_the_check_that_restore_names(workspace):
    lab.start()
    assert follow(provoked(Conflict, lambda: lab.start(restore=True))).ok


def test_a_folder_that_others_may_open_is_closed_with_all_that_is_below(workspace):
    lab.start()
    for path in (workspace / ".aiinfra", *(workspace / ".aiinfra").rglob("*")):
        path.chmod(0o755)
    (command,) = re.findall(r"`(chmod [^`]+)`", finding("workspace").fix)
    subprocess.run(shlex.split(command), check=True)
    left = [path for path in (workspace / ".aiinfra").rglob("*") if path.stat().st_mode & 0o077]
    assert (left, finding("workspace").state) == ([], "ok")


def test_a_store_that_was_moved_away_works_again_when_it_is_put_back(workspace):
    lab.start()
    home = workspace / ".aiinfra"
    home.rename(workspace / "moved")
    home.mkdir()
    fix = provoked(StoreUnavailable, lambda: open_store().list(jobs.JobRecord))
    assert "put it back" in fix
    home.rmdir()
    (workspace / "moved").rename(home)
    assert open_store().commit([], Event("data add", "data:a@1")) == []


def test_a_damaged_store_is_restored_by_the_command_of_the_error(workspace):
    lab.start()
    open_store().copy("good")
    open_store().close()
    (workspace / ".aiinfra" / "store.sqlite").write_text("no database" * 1000)
    follow(provoked(LabError, lab.log))
    assert lab.check(audit=True).ok


def test_a_session_that_is_not_there_is_started_as_it_says(workspace):
    fix = provoked(NotFound, lambda: gpu.show("trainer"))
    follow(fix)
    assert gpu.show("trainer").uri == "gpu:trainer"
    gpu.stop("trainer")


def test_a_session_that_runs_already_is_looked_at_and_ended_as_it_says(workspace, monkeypatch):
    gpu.start("trainer")
    monkeypatch.setattr(LocalMachines, "offers", lambda self: [gpu.Offer("cpu", 0.0), gpu.Offer("H100", 0.0)])
    fix = provoked(Conflict, lambda: gpu.start("trainer", gpu="H100"))
    for command in COMMAND.findall(fix):
        follow(f"`%{command}`")
    assert gpu.show("trainer").state != "running"
