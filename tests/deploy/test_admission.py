"""Which versions get traffic, and what is noted of those that do."""

from datetime import datetime, timedelta

import pytest

from aiinfra_lab import deploy, models
from aiinfra_lab.deploy import client
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Failed
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import open_store
from tests.conftest import until

from .conftest import DF, FAR, ROW, ended

RULE = "errors > 5%"


def found(uri: str, verdict: str) -> None:
    """Write down how the last check of a version ended."""
    record = open_store().get(ModelVersion, uri.partition(":")[2])
    open_store().commit([record.with_(checked=ended(verdict, record.body.files))])


def test_what_was_found_bad_serves_nobody(register):
    register(1, checked="bad")
    with pytest.raises(Failed, match="found bad") as problem:
        deploy.start("delay", model="models:delay@1")
    assert "`%models show delay@1`" in problem.value.fix
    assert open_store().list(EndpointRecord) == []


@pytest.mark.parametrize(("checked", "note"), [("", "has not been checked"), ("cannot tell", "cannot tell")])
def test_a_doubt_is_noted_and_serves(register, checked, note):
    register(1, checked=checked)
    started = deploy.start("delay", model="models:delay@1")
    assert (started.state, any(note in one for one in started.notes)) == ("running", True)


def test_a_canary_must_be_found_good_to_take_all(register):
    canary = register(1)
    deploy.start("delay", model=canary, canary="5%")
    for verdict, fix in (("cannot tell", "`%models check delay@1`"), ("bad", "`%deploy stop delay`")):
        found(canary, verdict)
        with pytest.raises(Failed, match=verdict) as problem:
            deploy.promote("delay")
        assert fix in problem.value.fix
    assert deploy.show("delay").canary == canary


def test_what_was_found_bad_loses_its_traffic_by_the_fix(register):
    bad, other = register(1), register(2)
    deploy.start("delay", model=bad)
    found(bad, "bad")
    with pytest.raises(Failed, match="found bad") as problem:
        deploy.promote("delay")
    # There is none to go back to.
    start = f"`%deploy start delay --model {other}`"
    assert start in problem.value.fix
    with pytest.raises(Conflict, match="no version to go back to") as nowhere:
        deploy.rollback("delay")
    assert start in nowhere.value.fix
    deploy.start("delay", model=other)
    found(other, "bad")
    with pytest.raises(Failed) as problem:
        deploy.promote("delay")
    assert "`%deploy rollback delay`" in problem.value.fix
    assert deploy.rollback("delay").champion == bad


def canary(register, kind="plain", **given):
    """A canary beside a champion; what is asked is dealt evenly."""
    register(1), register(2, kind)
    deploy.start("delay", model="models:delay@1")
    return deploy.start("delay", model="models:delay@2", canary="50%", **given)


def ask(endpoint, rows, requests, first=0):
    for key in range(first, first + requests):
        client.ask(endpoint.url, "/predict", {"rows": rows, "key": str(key)})


@pytest.mark.parametrize("rule", [None, RULE])
def test_a_canary_of_which_little_is_known_takes_all_only_when_somebody_answers_for_it(register, rule):
    endpoint = canary(register, rollback_if=rule)
    ask(endpoint, [ROW], 4)
    with pytest.raises(Failed, match="cannot tell yet whether models:delay@2 is as good as models:delay@1") as problem:
        deploy.promote("delay")
    assert "`%deploy promote delay --force`" in problem.value.fix
    promoted = deploy.promote("delay", force=True)
    assert promoted.champion == "models:delay@2"
    assert any("was not shown to be as good" in note for note in promoted.notes)
    [logged] = [item for item in open_store().events() if item.event.verb == "deploy promote"]
    assert (logged.event.detail["forced"], bool(logged.actor)) == (True, True)


def test_a_canary_that_was_shown_to_be_as_good_takes_all(register):
    endpoint = canary(register, rollback_if=RULE)
    # As many as make the champion's latencies known, and then as many as show that the canary's are like them.
    deploy.run("delay", rows=DF, rate=400, for_="2s")
    until(lambda: deploy.show("delay").measures[1].p95_ms)
    deploy.run("delay", rows=DF, rate=400, for_="10s")
    until(lambda: deploy.show("delay").verdict == "ok")
    assert deploy.promote("delay").champion == "models:delay@2"
    [event] = [item.event for item in open_store().events() if item.event.verb == "deploy promote"]
    assert event.detail == {}
    assert endpoint.url


def test_a_canary_goes_up_its_steps_by_itself(register):
    endpoint = canary(register, rollback_if=RULE, steps="50%,100%", bake="1s")
    assert (endpoint.canary_share, endpoint.steps) == (0.5, (1.0,))
    assert "next steps" in endpoint.card().text()
    until(lambda: deploy.run("delay", rows=DF, rate=400, for_="4s") and deploy.show("delay").canary is None)
    after = deploy.show("delay")
    assert (after.champion, after.steps) == ("models:delay@2", ())
    [event] = [item.event for item in open_store().events() if item.event.verb == "deploy promote"]
    assert event.detail["by"] == "steps"
    until(lambda: models.get("delay@champion").uri == "models:delay@2")  # the alias follows


def test_a_step_waits_while_the_endpoint_is_frozen(register, workspace):
    canary(register, steps="50%,100%", bake="1s")
    today = datetime.now().astimezone().date()
    window = f"{today} - {today + timedelta(days=1)}"
    (workspace / "aiinfra.toml").write_text(f'[deploy]\nfreeze = "{window}"\n')
    assert any(note.startswith("no step is taken until") for note in deploy.show("delay").notes)
    deploy.run("delay", rows=DF, rate=400, for_="4s")
    assert deploy.show("delay").canary == "models:delay@2"
    with pytest.raises(Conflict, match="is frozen until"):
        deploy.promote("delay")
    with pytest.raises(Conflict, match="is frozen until"):
        deploy.start("delay", model="models:delay@2")
    assert deploy.start("delay", model="models:delay@2", canary="50%", force=True).canary == "models:delay@2"
    assert deploy.rollback("delay").canary is None


def test_a_canary_that_fails_more_is_not_as_good_though_only_latency_is_guarded(register):
    endpoint = canary(register, "nan", rollback_if="p95_ms > 5000")
    ask(endpoint, [FAR], 60)
    until(lambda: deploy.show("delay").measures[0].canary)
    with pytest.raises(Failed, match="errors 100 % against the champion's 0 %"):
        deploy.promote("delay")


def test_a_rule_that_saw_nothing_lets_nobody_through(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1", canary="5%", rollback_if=RULE)
    with pytest.raises(Failed, match="has answered no request"):
        deploy.promote("delay")
    endpoint.predict([ROW])
    promoted = deploy.promote("delay")
    assert (promoted.champion, "the rule was undecided after 1 requests" in promoted.notes) == ("models:delay@1", True)


@pytest.mark.parametrize(("rule", "is_refused"), [("p95_ms > 5000", True), ("p95_ms > 5000 or errors > 60%", False)])
def test_a_latency_rule_lets_no_canary_through_that_often_gave_no_score(register, rule, is_refused):
    register(1, "nan")
    endpoint = deploy.start("delay", model="models:delay@1", canary="5%", rollback_if=rule)
    for rows in [[ROW]] * 11 + [[FAR]] * 10:
        client.ask(endpoint.url, "/predict", {"rows": rows})
    if not is_refused:
        assert deploy.promote("delay").champion == "models:delay@1"
        return
    with pytest.raises(Failed, match="10 of 21 requests got no score") as problem:
        deploy.promote("delay")
    assert "without the rule" in problem.value.fix


def test_a_broken_rule_lets_nobody_through(register):
    register(1, "nan")
    endpoint = deploy.start("delay", model="models:delay@1", canary="5%", rollback_if=RULE)
    for _ in range(20):
        client.ask(endpoint.url, "/predict", {"rows": [FAR]})
    until(lambda: deploy.show("delay").verdict == "breach")
    with pytest.raises(Failed, match="breaks its rule"):
        deploy.promote("delay")
