"""Another package's target keeps the contract, and every verb works with it or says what it cannot do."""

import importlib
from pathlib import Path

import pytest

from aiinfra_lab import deploy, jobs, nouns, providers
from aiinfra_lab.config import settings
from aiinfra_lab.deploy import lifecycle
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Failed, NotFound, Unavailable, UsageProblem
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    PacedTargetContract,
    PredictionLogContract,
    ReportingContract,
)

from .conftest import DF, ROW

PACKAGE = Path(__file__).parents[1] / "fakes" / "far_target"


@pytest.fixture
def cloud(monkeypatch):
    """The package is installed; gives the module, whose services are ended afterwards."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()
    module = importlib.import_module("far_target")
    yield module
    for service in module.CLOUD.values():
        if service.is_up:
            service.end()
    module.CLOUD.clear()


@pytest.fixture
def started(cloud, register):
    """An endpoint in the cloud that serves the first of two versions."""
    register(1), register(2)
    return deploy.start("delay", model="models:delay@1", on="far")


def stored():
    return open_store().get(EndpointRecord, "delay").body


class TestFar(DeployTargetContract):
    @pytest.fixture
    def target(self, cloud, workspace):
        return providers.make("deploy.target", "far", settings())


class TestFarCounting(ReportingContract, PredictionLogContract, PacedTargetContract):
    @pytest.fixture
    def target(self, cloud, workspace):
        return providers.make("deploy.target", "far_counting", settings())


def test_it_is_started_found_and_asked_without_a_job(started, cloud):
    assert (started.state, started.champion, started.predict([ROW])) == ("running", "models:delay@1", [0.1])
    assert started.url == next(iter(cloud.CLOUD.values())).url == stored().url
    assert "far counts no requests by version" in started.notes
    assert (started.versions, started.count, started.log_dir, jobs.ls()) == ((), 0, "", [])
    assert [item.state for item in deploy.ls()] == ["running"]
    assert deploy.show("delay").url == started.url


def test_a_load_test_reaches_it_below_its_path(started):
    load = deploy.run("delay", rows=DF, rate=50, for_="0.2s")
    assert (load.ok, load.errors, load.versions) == (10, 0, {"models:delay@1": 10})


def test_a_canary_is_tried_promoted_and_rolled_back(started):
    tried = deploy.start("delay", model="models:delay@2", canary="50%")
    assert (tried.canary, tried.canary_share, tried.rollback_if) == ("models:delay@2", 0.5, "")
    assert len({tried.predict([ROW])[0] for _ in range(60)}) == 2
    assert deploy.promote("delay").predict([ROW]) == [0.2]
    back = deploy.rollback("delay")
    assert (back.champion, back.predict([ROW])) == ("models:delay@1", [0.1])


def test_its_log_shows_events_and_output_and_says_what_is_not_there(started):
    started.predict([ROW])
    log = deploy.log("delay")
    assert (log.rows, log.log_dir, "/predict" in log.output) == ((), "", True)
    assert "deploy start" in log.events[0]
    assert "no log of predictions" in log.card().text()


def test_it_stops_and_starts_again(started):
    first = stored().job
    assert (deploy.stop("delay").state, deploy.show("delay").state) == ("stopped", "stopped")
    with pytest.raises(Unavailable):
        started.predict([ROW])
    again = deploy.start("delay", model="models:delay@2", on="far", canary="50%")
    assert (again.champion, again.state) == ("models:delay@1", "running")
    assert stored().job != first
    assert [span.job for span in stored().earlier_spans] == [first]


@pytest.mark.parametrize(
    ("given", "fix"),
    [({"rollback_if": "errors > 5%", "canary": "5%"}, "leave it out"), ({"port": 8000}, "leave --port out")],
)
def test_what_it_cannot_do_is_refused_with_a_fix_and_nothing_is_left(cloud, register, given, fix):
    register(1)
    with pytest.raises(UsageProblem) as problem:
        deploy.start("delay", model="models:delay@1", on="far", **given)
    assert fix in problem.value.fix
    assert (open_store().list(EndpointRecord), cloud.CLOUD) == ([], {})


def test_a_change_that_it_refuses_is_taken_back(started):
    with pytest.raises(UsageProblem, match="at most 90 %"):
        deploy.start("delay", model="models:delay@2", canary="95%")
    after = deploy.show("delay")
    assert (after.champion, after.canary, after.state) == ("models:delay@1", None, "running")
    assert [item.event.verb for item in open_store().events()] == ["deploy start", "deploy start", "deploy rollback"]


def test_a_first_start_that_it_refuses_ends_the_endpoint(cloud, register):
    register(1)
    with pytest.raises(UsageProblem, match="at most 90 %"):
        deploy.start("delay", model="models:delay@1", canary="95%", on="far")
    assert (stored().outcome, deploy.show("delay").state) == ("stopped", "stopped")


def test_a_version_that_it_cannot_serve_leaves_the_live_one_serving(started):
    (settings().home / "models" / "delay@2" / "model.onnx").write_bytes(b"touched")
    with pytest.raises(Failed, match=r"model\.onnx was changed"):
        deploy.start("delay", model="models:delay@2")
    after = deploy.show("delay")
    assert (after.champion, after.previous, after.predict([ROW])) == ("models:delay@1", None, [0.1])


def test_a_running_endpoint_stays_on_its_target(started):
    with pytest.raises(Conflict, match="running on far"):
        deploy.start("delay", model="models:delay@2", on="local")


def test_when_its_package_is_gone_the_others_are_listed_and_it_is_named(started, monkeypatch):
    monkeypatch.setattr(providers, "foreign", list)
    [item] = deploy.ls()
    assert (item.state, item.champion) == ("cannot tell", "models:delay@1")
    with pytest.raises(NotFound):
        deploy.show("delay")
    [seen] = nouns.find("deploy").watched()
    assert (seen.state, seen.is_live, seen.job) == ("cannot tell", True, "")


def test_the_noun_stops_it_and_names_no_job(started, cloud):
    noun = nouns.find("deploy")
    assert [(item.state, item.can_stop, item.job) for item in noun.watched()] == [("running", True, "")]
    assert list(noun.stop("deploy:delay")) == []
    assert [(item.state, item.is_live) for item in noun.watched()] == [("stopped", False)]
    assert [(span.on_machine, span.is_live) for span in noun.spans()] == [(False, False)]


def test_what_another_target_counts_and_logs_is_shown(cloud, register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1", on="far_counting")
    started = deploy.start("delay", model="models:delay@2", canary="50%", rollback_if="errors > 5%")
    started.predict([ROW, ROW], key="k")
    shown, log = deploy.show("delay"), deploy.log("delay")
    assert sum(version.rows for version in shown.versions) == 2
    assert [row["inputs"] for row in log.rows] == [ROW, ROW]
    assert "cannot be read" not in log.card().text()


@pytest.mark.parametrize("method", ["observe", "serving", "report"])
def test_a_vendors_client_that_raises_hides_no_endpoint_and_names_itself(cloud, register, monkeypatch, method):
    def fail(*_: object) -> None:
        raise RuntimeError("HTTP 500")

    register(1)
    for name, on in (("one", "far"), ("two", "far_counting")):
        deploy.start(name, model="models:delay@1", on=on)
    monkeypatch.setattr(cloud.FarCounting, method, fail)
    two, one = deploy.ls()
    assert (one.uri, one.state, two.uri) == ("deploy:one", "running", "deploy:two")
    assert f"deploy.target on far_counting failed in {method}: RuntimeError: HTTP 500" in two.card().text()


def test_a_verb_waits_as_long_as_the_target_says(cloud, register, monkeypatch):
    register(1)
    monkeypatch.setattr(lifecycle, "READY_S", 0.0)
    with pytest.raises(Unavailable, match="does not serve after"):
        deploy.start("one", model="models:delay@1", on="far")
    assert deploy.start("two", model="models:delay@1", on="far_counting").state == "running"


def test_an_end_is_given_the_time_that_the_target_says(cloud, register, monkeypatch):
    register(1)
    deploy.start("delay", model="models:delay@1", on="far_counting")
    given, stop = [], cloud.Far.stop
    monkeypatch.setattr(cloud.Far, "stop", lambda *how: given.append(how[-1]) or stop(*how))
    deploy.stop("delay")
    assert given == [5.0]


def test_a_target_is_not_made_anew_while_it_is_waited_for(cloud, register, monkeypatch):
    register(1)
    made, asked, catch_up = [], [], cloud.Service.catch_up

    def slow(service):
        asked.append(len(made))
        if len(asked) > 8:
            catch_up(service)

    monkeypatch.setattr(cloud.Far, "__init__", lambda self, where: made.append(where))
    monkeypatch.setattr(cloud.Service, "catch_up", slow)
    deploy.start("delay", model="models:delay@1", on="far")
    assert len(set(asked[:8])) == 1
