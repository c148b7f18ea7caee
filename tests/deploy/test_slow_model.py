"""A version that takes long until it is loaded and warmed up, or never is."""

import pytest

from aiinfra_lab import deploy, jobs
from aiinfra_lab.cli import main
from aiinfra_lab.deploy import lifecycle
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server.workers import LOAD_S
from aiinfra_lab.errors import Failed, Unavailable
from aiinfra_lab.jobs import supervisor
from aiinfra_lab.store import open_store
from tests.conftest import until

from .conftest import ROW

SLOW, ENDLESS = "loop300000", f"loop{10**15}"  # some seconds, and years


def stored():
    return open_store().get(EndpointRecord, "delay").body


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(lifecycle, "READY_S", 0.5)


def test_a_start_that_has_waited_long_enough_says_what_it_loads_and_fails_nothing(register, impatient):
    register(1, SLOW)
    started = deploy.start("delay", model="models:delay@1")
    assert started.state == "starting"
    assert "still loads models:delay@1" in started.notes[0]
    assert "`%deploy show delay`" in started.notes[0]
    assert "It is loading models:delay@1" in started.card().text()
    until(lambda: deploy.show("delay").state == "running")
    assert deploy.get("delay").predict([ROW])


def test_whoever_goes_on_with_an_endpoint_that_still_loads_is_told_so(register, impatient):
    register(1, SLOW)
    started = deploy.start("delay", model="models:delay@1")
    with pytest.raises(Unavailable, match="not ready") as why:
        started.predict([ROW])
    assert "--within" in why.value.fix


def test_a_pipeline_says_for_how_long_it_waits_and_stops_there(register, impatient, capsys):
    register(1, SLOW)
    start = ["deploy", "start", "delay", "--model", "delay@1"]
    assert main([*start, "--within", "0.1s"]) != 0
    assert "still loads models:delay@1" in capsys.readouterr().err
    assert main([*start, "--within", "1m"]) == 0
    assert deploy.show("delay").state == "running"


def test_a_live_endpoint_serves_on_while_a_slow_version_is_loaded(register, impatient):
    register(1), register(2, SLOW)
    deploy.start("delay", model="models:delay@1", within="1m")
    started = deploy.start("delay", model="models:delay@2")
    assert (started.state, len(started.predict([ROW]))) == ("running", 1)
    until(lambda: stored().served_generation == 2)


def test_a_version_that_hangs_while_it_is_warmed_up_fails_by_name_with_its_deadline(register, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_LOAD_S", "2")
    register(1, ENDLESS)
    with pytest.raises(Failed, match="models:delay@1 was not ready after 2 s, while it was loaded and warmed up"):
        deploy.start("delay", model="models:delay@1")
    assert (stored().outcome, jobs.ls(live=True)) == ("failed", [])


def test_a_live_endpoint_outlives_a_version_that_hangs_while_it_is_warmed_up(register, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_LOAD_S", "4")
    register(1), register(2, ENDLESS)
    deploy.start("delay", model="models:delay@1")
    with pytest.raises(Failed, match="models:delay@2 was not ready after 4 s"):
        deploy.start("delay", model="models:delay@2", canary="50%")
    assert (stored().champion, stored().canary, len(deploy.get("delay").predict([ROW]))) == ("models:delay@1", None, 1)


def test_one_that_never_gets_ready_is_given_up_by_the_supervisor():
    assert supervisor.MAX_RESTARTS * (LOAD_S + 10) <= supervisor.RESTARTS_WITHIN_S
