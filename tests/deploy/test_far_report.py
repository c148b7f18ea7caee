"""What another package's target counts, judges and rolls back stands in the endpoint's record, as the local one's."""

import importlib
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from aiinfra_lab import cost, deploy, nouns, signal_records
from aiinfra_lab.deploy import asking, reports
from aiinfra_lab.deploy.base import State
from aiinfra_lab.deploy.record import EndpointRecord, MeasuredLatency, Verdict, VersionCounts
from aiinfra_lab.errors import Conflict, Denied, Failed, Unavailable
from aiinfra_lab.nouns import Fact
from aiinfra_lab.show import log_time, moment
from aiinfra_lab.store import open_store
from tests.cards import one_line

from .conftest import DF, ROW

PACKAGE = Path(__file__).parents[1] / "fakes" / "far_target"
ONE, TWO = "models:delay@1", "models:delay@2"


@pytest.fixture
def service(monkeypatch, register):
    """What serves an endpoint with a canary, whose rule the cloud judges."""
    monkeypatch.syspath_prepend(PACKAGE)
    importlib.invalidate_caches()
    module = importlib.import_module("far_target")
    register(1), register(2)
    deploy.start("delay", model=ONE, on="far_counting")
    deploy.start("delay", model=TWO, canary="50%", rollback_if="errors > 1%")
    (found,) = module.CLOUD.values()
    yield found
    if found.is_up:
        found.end()
    module.CLOUD.clear()


def stored():
    return open_store().get(EndpointRecord, "delay").body


def rollbacks():
    return [item.event for item in open_store().events() if item.event.verb == "deploy rollback"]


def test_its_counts_are_written_by_whoever_looks_and_stay_after_its_end(service):
    deploy.get("delay").predict([ROW] * 3)
    seen = deploy.show("delay")
    assert (seen.count, [item.rows for item in deploy.ls()[0].versions]) == (3, [3])
    assert (stored().count, stored().busy_ms) == (3, 1.0 * 3)
    deploy.get("delay").predict([ROW])
    assert deploy.stop("delay").count == 4
    assert cost.show("deploy:delay").predictions == 4


def test_latencies_that_it_knows_by_itself_are_shown_as_whose_they_are(service):
    service.count(ONE, [("0", ROW)], 0.1)
    seen = deploy.show("delay")
    [served] = seen.versions
    assert (served.p50_ms, served.p95_ms, served.measured_by) == (1.0, 2.5, "the cloud's balancer over the last hour")
    told = one_line(seen.card())
    assert "p50 and p95 are measured by the cloud's balancer over the last hour" in told
    assert "when a request was read" not in told
    details = nouns.find("deploy").details("deploy:delay")
    assert Fact("p95 measured by", "the cloud's balancer over the last hour") in details.facts
    assert [arm.cells[1:3] for arm in details.arms if arm.role == "champion"] == [("2.5 ms", "–")]
    [line] = nouns.find("deploy").watched()
    assert line.figure == "2.5 ms p95"


def test_one_that_runs_as_a_job_of_ours_is_asked_for_its_report_all_the_same(service, monkeypatch):
    monkeypatch.setattr("far_target.Far.observe", lambda _, claims: {one: State("running", job=one) for one in claims})
    deploy.get("delay").predict([ROW] * 3)
    assert (deploy.show("delay").count, stored().count) == (3, 3)
    service.break_rule()
    assert (deploy.show("delay").canary, len(rollbacks())) == (None, 1)


def test_a_look_that_finds_nothing_new_writes_nothing(service):
    deploy.get("delay").predict([ROW])
    deploy.show("delay")
    before = open_store().get(EndpointRecord, "delay").rev
    deploy.show("delay"), deploy.ls(), nouns.find("deploy").watched()
    assert open_store().get(EndpointRecord, "delay").rev == before


def test_looks_at_a_busy_one_show_its_counts_and_do_not_write_each_time(service):
    service.count(ONE, [("0", ROW)], 0.1)
    deploy.show("delay")
    before = open_store().get(EndpointRecord, "delay").rev
    for count in range(2, 5):
        service.count(ONE, [("0", ROW)], 0.1)
        assert (deploy.show("delay").count, deploy.ls()[0].count) == (count, count)
    assert open_store().get(EndpointRecord, "delay").rev == before
    service.verdict = Verdict("ok")
    deploy.show("delay")
    assert (stored().verdict, stored().count) == (Verdict("ok"), 4)


def test_counts_are_written_again_after_a_while(service, monkeypatch):
    service.count(ONE, [("0", ROW)], 0.1)
    deploy.show("delay")
    monkeypatch.setattr(reports, "WRITE_S", 0.0)
    service.count(ONE, [("0", ROW)], 0.1)
    deploy.show("delay")
    assert stored().count == 2


def test_one_whose_counts_hang_keeps_nobody_waiting(service, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(asking, "ENDPOINT_S", 0.2)
    monkeypatch.setattr("far_target.FarCounting.report", lambda *_: over.wait(60))
    assert deploy.show("delay").state == "running"
    over.set()


def test_a_rollback_that_it_did_is_written_once_with_its_event(service):
    service.break_rule()
    seen = deploy.show("delay")
    assert (seen.champion, seen.canary, seen.canary_share, seen.verdict) == (ONE, None, 0.0, "breach")
    assert [note for note in seen.notes if f"{TWO} was rolled back" in note and "above 1 %" in note]
    deploy.show("delay"), deploy.ls()
    (event,) = rollbacks()
    assert (event.inputs, event.detail["by"], event.detail["reason"]) == ((TWO,), "rule", "errors are 9 %, above 1 %")
    assert any("deploy rollback  errors are 9 %" in line for line in deploy.log("delay").events)
    (signal,) = signal_records.since(open_store(), 0)
    assert (signal.body.subject, signal.body.what) == (
        "deploy:delay", f"{TWO} was rolled back by rule: errors are 9 %, above 1 %",
    )  # fmt: skip
    (observed,) = nouns.find("deploy").watched()
    assert observed.detail == f"{TWO} was rolled back: errors are 9 %, above 1 %"


def test_the_log_has_a_rollback_that_nobody_has_looked_at_before(service):
    service.break_rule()
    assert any("deploy rollback  errors are 9 %" in line for line in deploy.log("delay").events)


def test_after_its_rollback_it_is_changed_and_asked_like_any_other(service):
    service.break_rule()
    with pytest.raises(Conflict, match="was rolled back by rule"):
        deploy.promote("delay")
    assert deploy.run("delay", rows=DF, rate=50, for_="0.1s").versions == {ONE: 5}
    assert deploy.start("delay", model=TWO, canary="10%", rollback_if="errors > 1%").canary == TWO
    assert (stored().verdict, stored().rolled_back, len(rollbacks())) == (None, None, 1)


def test_a_canary_without_a_rule_is_judged_where_its_target_reports_a_verdict(service):
    deploy.start("delay", model=TWO, canary="50%")
    assert "Nothing judges the canary" in one_line(deploy.show("delay").card())
    service.verdict = Verdict("undecided")
    assert "Nothing judges the canary" not in one_line(deploy.show("delay").card())


def test_a_verdict_on_the_canary_before_is_none_on_the_next(service, register):
    register(3)
    before = service.served
    deploy.start("delay", model="models:delay@3", canary="10%", rollback_if="errors > 1%")
    service.served, service.questions = before, 0  # it serves the new one at the second question from now on
    service.break_rule()
    assert (deploy.show("delay").canary, stored().rolled_back, stored().verdict) == ("models:delay@3", None, None)
    assert rollbacks() == []


def test_counts_that_come_late_roll_back_no_canary_that_began_since(service, register, monkeypatch):
    register(3)
    service.break_rule()
    late = importlib.import_module("far_target").FarCounting.report
    old = late(None, stored().job)
    deploy.show("delay")
    deploy.start("delay", model="models:delay@3", canary="10%", rollback_if="errors > 1%")
    with monkeypatch.context() as patch:
        patch.setattr("far_target.FarCounting.report", lambda *_: old)
        assert (deploy.show("delay").canary, stored().rolled_back, stored().verdict) == ("models:delay@3", None, None)
        with pytest.raises(Failed, match="of an earlier change") as problem:
            deploy.promote("delay")
    assert (problem.value.fix, len(rollbacks())) == ("repeat in a moment", 1)


def test_where_nothing_can_be_written_the_answer_comes_all_the_same(service, monkeypatch):
    deploy.get("delay").predict([ROW])

    def refuse(*_: object) -> None:
        raise Denied("the store may not be written", "make it yours")

    monkeypatch.setattr(type(open_store()), "commit", refuse)
    assert (deploy.show("delay").state, deploy.show("delay").count) == ("running", 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": Verdict("pass")},
        {"versions": {ONE: VersionCounts(requests=1, buckets={"le_5": 3})}},
        {"versions": {ONE: VersionCounts(requests=1, buckets={"500": 1})}},
        {"versions": {ONE: VersionCounts(requests=0.5)}},
        {"versions": {ONE: VersionCounts(latency=MeasuredLatency("", 1.0, 2.0))}},
        {"versions": {ONE: VersionCounts(latency=MeasuredLatency("its balancer", 3.0, 2.0))}},
        {"versions": {ONE: VersionCounts(latency=MeasuredLatency("its balancer", p95_ms=float("nan")))}},
    ],
)
def test_a_report_that_could_not_be_read_again_is_not_recorded(service, monkeypatch, wrong):
    right = reports.Report({ONE: VersionCounts(requests=3)}, 0.5, stored().generation)
    with pytest.raises(Failed, match="reports"):
        reports.checked(replace(right, **wrong), "far_counting")
    monkeypatch.setattr("far_target.FarCounting.report", lambda self, claim: replace(right, **wrong))
    assert deploy.show("delay").state == "running"
    assert deploy.ls()[0].uri == "deploy:delay"
    assert deploy.stop("delay").state == "stopped"


def test_a_refused_report_is_told_once_until_one_is_taken_again(service, monkeypatch):
    deploy.get("delay").predict([ROW])
    deploy.show("delay")
    known_at = stored().reported_at
    wrong = reports.Report({ONE: VersionCounts(requests=0.5)}, 0.5, stored().generation)
    with monkeypatch.context() as patch:
        patch.setattr("far_target.FarCounting.report", lambda *_: wrong)
        seen = deploy.show("delay")
        before = open_store().get(EndpointRecord, "delay").rev
        [notice] = [one for one in nouns.find("deploy").notices() if "report" in one.detail]
        assert open_store().get(EndpointRecord, "delay").rev == before
    assert notice.detail.startswith("its target's report was refused: far_counting reports what cannot be recorded")
    assert notice.detail.endswith(f"its figures are from {log_time(known_at)}")
    assert "`pip install -U far-target`" in notice.fix
    assert (seen.count, seen.figures_at) == (1, known_at)
    assert f"The figures are from {moment(known_at, to_second=True)}." in one_line(seen.card())
    assert "its target's report was refused" in one_line(seen.card())
    assert (deploy.show("delay").figures_at, stored().report_problem) == (None, None)


def test_a_report_that_does_not_come_is_no_refused_one(service, monkeypatch):
    def fail(*_: object) -> None:
        raise Unavailable("429 too many requests", "wait")

    monkeypatch.setattr("far_target.FarCounting.report", fail)
    [notice] = nouns.find("deploy").notices()
    told = "its target's report does not come: 429 too many requests; there are no figures of it yet"
    assert (notice.detail, notice.fix) == (told, "wait")


def test_buckets_that_were_recorded_and_are_none_are_left_out(service):
    record = open_store().get(EndpointRecord, "delay")
    counts = {ONE: VersionCounts(requests=2, rows=2, buckets={"le_5": 3, "4": 2})}
    open_store().commit([record.of(msgspec.structs.replace(record.body, versions=counts))])
    assert deploy.show("delay").versions[0].requests == 2
