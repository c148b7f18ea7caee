"""Another package's target keeps the contract, and every verb works with it or says what it cannot do."""

import importlib
import re
import threading
from pathlib import Path

import pytest

from aiinfra_lab import cost, deploy, jobs, nouns, providers
from aiinfra_lab.config import settings
from aiinfra_lab.deploy import asking, lifecycle
from aiinfra_lab.deploy.base import Serving, State
from aiinfra_lab.deploy.desired_state import ServeRequest
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Denied, Failed, NotFound, Unavailable, UsageProblem
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    PacedTargetContract,
    PredictionLogContract,
    ReportingContract,
    ServingOthersContract,
)
from tests.cards import one_line
from tests.fakes import one_step

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


def start_two(register):
    """An endpoint at each of the package's targets."""
    register(1)
    for name, on in (("one", "far"), ("two", "far_counting")):
        deploy.start(name, model="models:delay@1", on=on)


def stored():
    return open_store().get(EndpointRecord, "delay").body


class TestFar(DeployTargetContract):
    @pytest.fixture
    def target(self, cloud, workspace):
        return providers.make("deploy.target", "far", settings())


class TestFarCounting(ReportingContract, PredictionLogContract, ServingOthersContract, PacedTargetContract):
    @pytest.fixture
    def target(self, cloud, workspace):
        return providers.make("deploy.target", "far_counting", settings())


def test_a_target_that_gives_no_time_for_an_end_is_told_to_end_all_the_same(cloud, register, monkeypatch):
    register(1)
    deploy.start("delay", model="models:delay@1", on="far_counting")
    monkeypatch.setattr(cloud.FarCounting, "ended_within_s", lambda _: float("inf"))
    assert deploy.stop("delay").state == "stopped"
    assert [service.is_up for service in cloud.CLOUD.values()] == [False]


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
    [
        ({"rollback_if": "errors > 5%", "canary": "5%"}, "leave it out"),
        ({"port": 8000}, "leave --port out"),
        ({"steps": "25%", "canary": "5%"}, "leave them out"),
    ],
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
    assert (stored().outcome, deploy.show("delay").state) == ("failed", "failed")


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


def test_one_that_its_target_forgot_is_told_without_a_process_or_counts_of_ours(started, cloud):
    cloud.CLOUD.clear()
    seen = deploy.show("delay")
    told = one_line(seen.card())
    assert "Nobody answers: far knows nothing of it any more." in told
    assert not re.search(r"process|0 rows", told)
    assert "`%deploy start delay --model models:delay@1 --on far` brings it back" in told
    [observed] = nouns.find("deploy").watched()
    assert observed.detail == "far knows nothing of it any more"


def test_what_a_target_does_not_count_is_not_told_as_none(started):
    [observed] = nouns.find("deploy").watched()
    details = nouns.find("deploy").details("deploy:delay")
    assert observed.facts == ()
    assert "answered" not in {fact.label for fact in details.facts}
    assert "log" not in next(action for action in observed.actions if action.verb == "stop").consequence


def test_how_often_it_came_back_is_told_as_its_targets_doing(started, monkeypatch):
    monkeypatch.setattr("far_target.Far.observe", lambda _, claims: {one: State("running", 2) for one in claims})
    assert "far started it again 2 times" in deploy.show("delay").notes


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

    start_two(register)
    monkeypatch.setattr(cloud.FarCounting, method, fail)
    two, one = deploy.ls()
    assert (one.uri, one.state, two.uri) == ("deploy:one", "running", "deploy:two")
    assert f"deploy.target on far_counting failed in {method}: RuntimeError: HTTP 500" in one_line(two.card())


def test_one_that_cannot_be_asked_hides_no_finding_of_another(cloud, register, monkeypatch):
    def fail(*_: object) -> None:
        raise Unavailable("429 too many requests", "wait")

    start_two(register)
    monkeypatch.setattr(lifecycle, "READY_S", 0.0)
    monkeypatch.setattr(cloud.FarCounting, "ready_within_s", lambda _: 0.0)
    monkeypatch.setattr(cloud.FarCounting, "serving", fail)
    monkeypatch.setattr(cloud.Far, "serving", lambda *_: Serving())
    found = {one.uri: (one.text, one.fix) for one in nouns.find("deploy").notices()}
    assert found["deploy:two"] == ("cannot tell: 429 too many requests", "wait")
    assert found["deploy:one"][0] == "it does not answer"


def test_a_list_waits_for_none_of_them_and_says_which_did_not_answer(cloud, register, monkeypatch):
    start_two(register)
    over = threading.Event()
    monkeypatch.setattr(asking, "ENDPOINT_S", 0.3)
    monkeypatch.setattr(cloud.FarCounting, "serving", lambda *_: over.wait(60))
    two, one = deploy.ls()
    over.set()
    assert (one.state, one.notes) == ("running", ("far counts no requests by version",))
    assert any("two does not answer" in note for note in two.notes)


def test_a_target_that_hangs_keeps_no_other_from_being_observed(cloud, register, monkeypatch):
    start_two(register)
    over = threading.Event()
    monkeypatch.setattr(lifecycle, "TARGET_S", 0.3)
    monkeypatch.setattr(cloud.FarCounting, "observe", lambda *_: over.wait(60))
    assert [item.state for item in deploy.ls()] == ["cannot tell", "running"]
    over.set()


def test_a_verb_waits_as_long_as_the_target_says(cloud, register, monkeypatch):
    register(1)
    monkeypatch.setattr(lifecycle, "READY_S", 0.0)
    assert "does not serve after" in " ".join(deploy.start("one", model="models:delay@1", on="far").notes)
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


def test_a_recipe_that_keeps_nothing_ends_its_endpoint_and_no_other(started, cloud, workspace):
    def step() -> None:
        deploy.start("late", model="models:delay@1", on="far")
        deploy.start("delay", model="models:delay@2")

    one_step.run(step, workspace, keep=False)
    assert {item.uri: item.state for item in deploy.ls()} == {"deploy:late": "stopped", "deploy:delay": "running"}
    assert [claim.split("-")[1] for claim, service in cloud.CLOUD.items() if service.is_up] == ["delay"]


@pytest.fixture
def cut_off(started, cloud, monkeypatch):
    """Its stop was cut off before the cloud heard of it."""

    def cut(*_: object) -> None:
        raise Unavailable("the cloud does not answer", "try again")

    with monkeypatch.context() as patch:
        patch.setattr(cloud.Far, "stop", cut)
        with pytest.raises(Unavailable):
            deploy.stop("delay")


def test_a_stop_that_was_cut_off_is_shown_and_finished_by_the_next(cut_off, cloud):
    (service,) = cloud.CLOUD.values()
    (seen,) = nouns.find("deploy").watched()
    assert (deploy.show("delay").state, seen.state, seen.can_stop, service.is_up) == (
        "stopping", "stopping", False, True,
    )  # fmt: skip
    with pytest.raises(Unavailable, match="not running"):
        deploy.promote("delay")
    assert (deploy.stop("delay").state, service.is_up) == ("stopped", False)
    assert [item.event.verb for item in open_store().events()] == ["deploy start", "deploy stop"]


def test_a_start_finishes_the_stop_before_it(cut_off, cloud):
    assert deploy.start("delay", model="models:delay@2", on="far").state == "running"
    assert [service.is_up for service in cloud.CLOUD.values()] == [False, True]


def test_whoever_looks_first_writes_the_end_that_was_asked_for(started, cloud):
    nouns.find("deploy").stop("deploy:delay")
    cloud.CLOUD.clear()  # and the cloud knows nothing of it any more
    assert [deploy.show("delay").state for _ in range(2)] == ["stopped", "stopped"]
    assert (stored().outcome, stored().stopped_at) == ("stopped", stored().ended_at)
    assert list(nouns.find("deploy").references()) == []


def test_to_stop_what_was_stopped_says_so_and_writes_nothing(started, monkeypatch):
    deploy.stop("delay")

    def refuse(*_: object) -> None:
        raise Denied("the store may not be written", "make it yours")

    monkeypatch.setattr(type(open_store()), "commit", refuse)
    assert deploy.stop("delay").state == "stopped"


def test_what_it_costs_is_unknown_and_goes_on_while_it_cannot_be_asked(started, monkeypatch):
    shown = cost.show("deploy:delay")
    assert (shown.spent_usd, shown.duration_s > 0) == (None, True)
    monkeypatch.setattr(providers, "foreign", list)
    [span] = nouns.find("deploy").spans()
    assert (span.is_live, span.usd_per_hour, span.on_machine, span.duration_s > 0) == (True, None, False, True)


def test_what_a_target_cannot_do_is_said_before_what_else_is_in_the_way(monkeypatch):
    monkeypatch.setattr(lifecycle, "target_of", lambda record: object())
    body = EndpointRecord(champion="models:delay@1", canary="models:delay@3", generation=1, on="far")
    with pytest.raises(UsageProblem, match="far serves no candidate"):
        lifecycle.is_changed(Record.new("late", body), ServeRequest("models:delay@3", candidate=0.2))
