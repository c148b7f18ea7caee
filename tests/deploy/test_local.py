"""Endpoints on this machine keep the contract, and what only this machine can do."""

import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from msgspec.structs import replace

from aiinfra_lab import deploy, jobs, nouns
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.base import Serving
from aiinfra_lab.deploy.local import Local
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Unavailable, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.show import moment
from aiinfra_lab.store import Record, open_store, update
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    PredictionLogContract,
    ReportingContract,
    ServingOthersContract,
    endpoint,
    served,
)
from tests.conftest import end_supervisor, until

from .conftest import DF, ROW, server_pid


@pytest.fixture
def target(workspace):
    return Local(settings())


@pytest.fixture
def versions(register):
    return register(1), register(2)


@pytest.fixture
def bad(register):
    return register(3, "nan")


class TestLocal(DeployTargetContract):
    on = "local"


class TestLocalCapabilities(ReportingContract, PredictionLogContract, ServingOthersContract):
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
    assert (state.word, state.job) == ("running", claim)
    assert state.detail == f"started again once, last at {moment(state.restarted_at, to_second=True)}"
    assert [note for note in deploy.show("delay").notes if f"died and was {state.detail}" in note]
    target.apply(claim, open_store().get(EndpointRecord, "delay").body.desired)  # somebody starts it anew
    assert target.observe([claim])[claim].restarts == 0


def test_one_that_dies_again_and_again_is_given_up_with_its_last_problem(target, versions):
    claim = started(target, versions[0])
    end_supervisor(settings().workspace)
    at = time.time()
    update(open_store(), JobRecord, claim, lambda body: replace(body, restarts=5, restarted_at=(at,) * 5))
    os.kill(server_pid(claim), signal.SIGKILL)
    jobs.launch()
    until(lambda: not target.observe([claim])[claim].is_live)
    shown = deploy.show("delay")
    assert (shown.state, shown.detail) == ("failed", "exit code 137; given up after 5 restarts within 10 min; Killed")


def test_a_claim_that_was_not_applied_leaves_no_folder_behind(target, versions, workspace):
    claim = target.claim("delay", None)
    target.stop(claim.id, 0)
    assert list((workspace / ".aiinfra" / "jobs").iterdir()) == []


@pytest.fixture(params=[b'{"ready": true, "generation": 7, "claim": "deploy-other-1"}', b'{"status": "ok"}', b"[]"])
def stranger(request):
    """The URL of somebody else's server, which answers every question so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_somebody_else_on_its_port_is_not_taken_for_it(target, versions, stranger):
    claim = started(target, versions[0])
    update(open_store(), EndpointRecord, "delay", lambda body: replace(body, url=stranger))
    assert (target.serving(claim), target.report(claim)) == (Serving(), None)


@pytest.fixture
def elsewhere(versions, stranger):
    """The claim of an endpoint that another folder runs, with an address of its machine that is a stranger's here."""
    job = JobRecord(subject="deploy:delay", state="running", started_at=1.0, pid=1, born=1.0, home="another")
    body = EndpointRecord(champion=versions[0], generation=3, served_generation=3, job="deploy-delay-1", url=stranger)
    open_store().commit([Record.new("deploy-delay-1", job), Record.new("delay", body)])
    return "deploy-delay-1"


def test_what_another_folder_serves_is_told_by_its_record(target, elsewhere, workspace):
    assert (target.serving(elsewhere), target.report(elsewhere)) == (Serving("", 3), None)
    assert target.observe([elsewhere])[elsewhere].word == "running"
    shown = deploy.show("delay")
    assert (shown.state, shown.url) == ("running", "")
    assert "it is running: in another folder that shares this store" in shown.notes
    assert list(nouns.find("deploy").notices()) == []


def test_what_another_folder_serves_is_not_asked_from_here(elsewhere):
    with pytest.raises(Unavailable, match="asked from here"):
        deploy.get("delay").predict([ROW])
    with pytest.raises(Unavailable, match="asked from here") as problem:
        deploy.run("delay", rows=DF, rate=10, for_="0.1s")
    assert "where it was started" in problem.value.fix
    assert open_store().get(EndpointRecord, "delay").body.url


def test_what_another_folder_serves_is_changed_from_here(elsewhere, versions):
    follow = threading.Timer(0.3, lambda: update(open_store(), EndpointRecord, "delay", _served))
    follow.start()
    assert deploy.start("delay", model=versions[1]).champion == versions[1]
    follow.join()


def _served(body):
    return replace(body, served_generation=4)


def test_the_generation_that_is_served_gets_into_the_record(target, versions):
    started(target, versions[0])
    until(lambda: open_store().get(EndpointRecord, "delay").body.served_generation == 1)


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


def test_a_full_disk_leaves_nothing_of_a_start_behind(versions, workspace, monkeypatch):
    def full(*_: object) -> None:
        raise Unavailable("the disk is full", "free some space")

    with monkeypatch.context() as disk:
        disk.setattr(type(open_store()), "commit", full)
        with pytest.raises(Unavailable, match="full"):
            deploy.start("delay", model=versions[0])
    assert list((workspace / ".aiinfra" / "jobs").iterdir()) == []
    assert open_store().get(EndpointRecord, "delay") is None
    assert deploy.start("delay", model=versions[0]).state == "running"


def test_a_full_disk_in_the_middle_of_a_change_leaves_what_serves(versions, monkeypatch):
    started = deploy.start("delay", model=versions[0])

    def full(*_: object) -> None:
        raise Unavailable("the disk is full", "free some space")

    with monkeypatch.context() as disk:
        disk.setattr(type(open_store()), "commit", full)
        with pytest.raises(Unavailable, match="full"):
            deploy.start("delay", model=versions[1])
    assert deploy.show("delay").champion == versions[0]
    assert started.predict([ROW])
