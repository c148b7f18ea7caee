"""A version that runs by other packages than ours answers in processes of these, beside others that run by ours."""

import contextlib
import json
import shutil
import time
import urllib.request

import onnxruntime
import psutil
import pytest

from aiinfra_lab import deploy
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import DesiredState, EndpointRecord
from aiinfra_lab.deploy.triton.target import Triton
from aiinfra_lab.errors import Failed, Unavailable, UsageProblem
from aiinfra_lab.files import digests
from aiinfra_lab.store import open_store
from aiinfra_lab.train.environments import Environment
from tests import records
from tests.conftest import until

from ..train.test_environments import OLD, asked, there
from .conftest import ROW, ended

__all__ = ["asked"]
GOOD, BROKEN = OLD, "no-such==1.0\n"


@pytest.fixture
def needing(workspace, artifacts, asked):
    """Registers `delay@version` that runs by these packages, and gives its URI."""

    def add(version, lines):
        folder = workspace / ".aiinfra" / "models" / f"delay@{version}"
        shutil.copytree(artifacts("plain", float(version)), folder)
        (folder / "requirements.txt").write_text(lines)
        (folder / "environment.txt").write_text(lines)
        made = digests(folder)
        records.model(f"delay@{version}", files=made, created_at=time.time(), checked=ended("good", made))
        return f"models:delay@{version}"

    return add


def answered(endpoint, row=ROW):
    body = json.dumps({"rows": [row]}).encode()
    with urllib.request.urlopen(f"{endpoint.url}/predict", body, timeout=30) as response:
        return json.load(response)["model"]


def of(environment):
    """The processes that run by that environment."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(environment.python) in each.cmdline():
                found.append(each)
    return found


def test_it_answers_by_its_own_packages_which_are_built_when_they_are_not_there(needing, register):
    ours, own = register(1), needing(2, GOOD)
    environment = Environment.of(settings().home / "models" / "delay@2")
    assert not environment.is_built
    live = deploy.start("late", model=own)
    assert answered(live) == own
    assert environment.is_built
    assert len(of(environment)) == 3  # the fork server, and two forked by it
    status = json.load(urllib.request.urlopen(f"{live.url}/status", timeout=30))
    assert status["runtimes"] == {own: onnxruntime.__version__}
    deploy.start("late", model=ours)
    assert answered(live) == ours


def test_one_that_cannot_be_built_leaves_what_serves_and_is_tried_again(needing, register, monkeypatch):
    ours, own = register(1), needing(2, BROKEN)
    live = deploy.start("late", model=ours)
    for _ in range(2):
        with pytest.raises(Failed, match="no-such was not found in the package registry") as raised:
            deploy.start("late", model=own, canary=0.5)
        assert "uv pip compile" in raised.value.fix
        assert answered(live) == ours
        assert there() == []
    assert "no-such" in open_store().get(EndpointRecord, "late").body.problem


def test_the_first_start_of_one_that_cannot_be_built_says_so(needing):
    with pytest.raises(Failed, match=r"the environment with no-such 1\.0 cannot be built"):
        deploy.start("late", model=needing(1, BROKEN))


def test_who_waits_is_told_what_for(needing, monkeypatch):
    monkeypatch.setenv("FAKE_UV_PAUSE", "3")
    with pytest.raises(Unavailable, match=r"builds the environment of models:delay@1, with onnxruntime 1\.19\.2"):
        deploy.start("late", model=needing(1, GOOD), within="1s")


def test_a_process_of_it_that_dies_is_replaced_by_another_of_it(needing):
    live = deploy.start("late", model=needing(1, GOOD))
    environment = Environment.of(settings().home / "models" / "delay@1")
    before = {each.pid for each in of(environment)}
    for each in of(environment):
        each.kill()  # the fork server too
    assert answered(live) == "models:delay@1"
    until(lambda: len(of(environment)) == 3)
    assert not before & {each.pid for each in of(environment)}


def test_triton_runs_no_version_by_other_packages(needing):
    uri = needing(1, GOOD)
    with pytest.raises(UsageProblem, match=r"needs onnxruntime 1\.19\.2"):
        Triton(settings()).apply("claim", DesiredState(uri))
