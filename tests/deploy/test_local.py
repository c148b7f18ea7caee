"""Endpoints on this machine keep the contract, and what only this machine can do."""

import os
import signal
import socket

import pytest

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.local import Local
from aiinfra_lab.errors import Conflict, UsageProblem
from aiinfra_lab.testing.deploy import DeployTargetContract, PredictionLogContract, ReportingContract, endpoint, served
from tests.conftest import until

from .conftest import server_pid


@pytest.fixture
def target(workspace):
    return Local(settings())


@pytest.fixture
def versions(register):
    return register(1), register(2)


class TestLocal(DeployTargetContract):
    on = "local"


class TestLocalCapabilities(ReportingContract, PredictionLogContract):
    on = "local"


def started(target, model):
    """The claim of an endpoint that serves the model."""
    claim = target.claim("delay", None)
    target.apply(claim.id, endpoint(claim, model, "local").body.desired)
    served(target, claim.id, 1)
    return claim.id


def test_a_process_that_dies_is_started_again_and_observed_so(target, versions):
    claim = started(target, versions[0])
    os.kill(server_pid(claim), signal.SIGKILL)
    until(lambda: target.observe([claim])[claim].restarts == 1)
    served(target, claim, 1)
    state = target.observe([claim])[claim]
    assert (state.word, state.detail, state.job) == ("running", "started again once", claim)


def test_a_claim_that_was_not_applied_leaves_no_folder_behind(target, versions, workspace):
    claim = target.claim("delay", None)
    target.stop(claim.id, 0)
    assert list((workspace / ".aiinfra" / "jobs").iterdir()) == []


def test_many_are_observed_with_one_question_for_what_lives(target, versions, monkeypatch):
    claim, asked = started(target, versions[0]), []
    monkeypatch.setattr(jobs, "ls", lambda **how: asked.append(how) or [jobs.poll(claim)])
    assert target.observe([claim, claim])[claim].is_live
    assert asked == [{"live": True}]


def test_a_port_that_cannot_be_had_is_refused_with_the_flag(target):
    with pytest.raises(UsageProblem, match="no port") as problem:
        target.claim("delay", 22)
    assert "--port" in problem.value.fix
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict):
        target.claim("delay", taken.getsockname()[1])
