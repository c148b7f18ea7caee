"""An endpoint after its machine was started again: what the systemd unit runs brings it back."""

import contextlib
import os
import signal
import subprocess

import pytest

from aiinfra_lab import deploy, jobs, lab
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.jobs import process, unit
from aiinfra_lab.lab import checks
from aiinfra_lab.store import open_store
from tests.conftest import end_supervisor, until
from tests.core.test_jobs_unit import configuration, service

from .conftest import ROW, server_pid

__all__ = ["configuration", "service"]


def stored():
    return open_store().get(EndpointRecord, "delay").body


def power_cut(job):
    """All at once, as far as it can be done."""
    pids = [job.pid, *process.tree(job.pid, 0.0, job.id)]
    end_supervisor(settings().workspace)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live)


def shut_down(job):
    """As a machine does that is switched off: every process is asked to end."""
    end_supervisor(settings().workspace)
    os.kill(server_pid(job.id), signal.SIGTERM)
    until(lambda: not jobs.poll(job.id).live)


@pytest.mark.parametrize("how", [power_cut, shut_down])
def test_an_endpoint_serves_again_once_the_unit_runs(register, service, how):
    deploy.start("delay", model=register(1))
    how(jobs.poll(stored().job))
    service()
    until(jobs.is_watched)  # whoever looks at what has died before is told that it is lost, and it stays so
    until(lambda: deploy.show("delay").state == "running")
    assert deploy.get("delay").predict([ROW])
    assert stored().stopped_at is None


def test_an_endpoint_that_was_stopped_does_not_come_back(register, service):
    deploy.start("delay", model=register(1))
    job = stored().job
    deploy.stop("delay")
    end_supervisor(settings().workspace)
    service()
    until(jobs.is_watched)
    assert (jobs.poll(job).live, deploy.show("delay").state) == (False, "stopped")


def after_a_boot():
    return [found for found in checks.run(settings(), with_audit=False) if found.what == "after a boot"]


def test_check_says_whether_endpoints_come_back(register, configuration, monkeypatch, tmp_path):
    assert after_a_boot() == []
    deploy.start("delay", model=register(1))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    [found] = after_a_boot()
    assert (found.state, "aiinfra_lab.jobs.supervisor stay" in found.detail) == ("ok", True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "systemd").mkdir()
    [found] = after_a_boot()
    assert (found.state, "no systemd unit" in found.detail) == ("off", True)
    assert lab.check(report=True).ok  # a hint, and no failure
    subprocess.run(found.fix.split("`")[1], shell=True, check=True)
    assert [path.name for path in configuration.iterdir()] == [unit.name(settings())]
    (configuration / "default.target.wants").mkdir()  # as `systemctl --user enable` does
    (configuration / "default.target.wants" / unit.name(settings())).symlink_to(configuration / unit.name(settings()))
    [found] = after_a_boot()
    assert (found.state, unit.name(settings()) in found.detail) == ("ok", True)
