"""The verbs against real processes; the workspace ends whatever a test leaves running."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from msgspec.structs import replace

from aiinfra_lab import deploy, jobs, nouns, signal_records
from aiinfra_lab.cli import main
from aiinfra_lab.config import settings
from aiinfra_lab.deploy import client, lifecycle
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Failed, Interrupted, NotFound, StoreUnavailable, Unavailable, UsageProblem
from aiinfra_lab.jobs import process
from aiinfra_lab.models.record import LastCheck, ModelAliases, change
from aiinfra_lab.store import open_store, update
from tests import records
from tests.conftest import PATIENCE_S, end, end_supervisor, press_ctrl_c_in, until

from .conftest import DF, FAR, ROW, server_pid

RULE = "errors > 5%"


def stored():
    return open_store().get(EndpointRecord, "delay").body


def events():
    return [(item.event.verb, item.event.inputs) for item in open_store().events()]


def test_an_endpoint_from_start_to_stop(register):
    register(1)
    started = deploy.start("delay", model="models:delay@1")
    assert (started.uri, started.state, started.champion) == ("deploy:delay", "running", "models:delay@1")
    assert deploy.get("delay").predict([ROW])[0] == pytest.approx(0.7350, abs=1e-4)
    assert [(item.role, item.requests, item.rows) for item in deploy.show("delay").versions] == [("champion", 1, 1)]
    assert deploy.ls()[0].uri == "deploy:delay"
    stopped = deploy.stop("delay")
    assert (stopped.state, stopped.count, jobs.ls(live=True)) == ("stopped", 1, [])
    row = deploy.log("delay").rows[0]
    assert (row["model"], row["inputs"]) == ("models:delay@1", ROW)
    assert events() == [("deploy start", ("models:delay@1",)), ("deploy stop", ("models:delay@1",))]
    body = stored()
    assert (body.count, body.outcome) == (1, "stopped")
    assert body.started_at < body.ended_at <= body.stopped_at


def test_every_result_has_a_small_face(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    endpoint.predict([ROW])
    for result in (endpoint, deploy.show("delay"), deploy.ls(), deploy.log("delay")):
        assert "delay" in result.card().text()
        assert len(result.card().html()) < 5000
        assert isinstance(result.as_json(), dict)


def test_a_bad_value_is_refused_by_row_and_column(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    with pytest.raises(Failed, match="row 1, column temp"):
        endpoint.predict([ROW, {**ROW, "temp": "warm"}])
    assert client.ask(endpoint.url, "/predict", {"rows": []})[0] == 422
    assert client.ask(endpoint.url, "/nothing")[0] == 404
    assert client.ask(endpoint.url, "/predict")[0] == 405
    assert endpoint.predict([{**ROW, "temp": float("nan")}])  # a data frame's missing value is sent as null


def test_the_log_shows_every_row_that_was_answered(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    for number in range(1, 6):
        endpoint.predict([ROW] * number)
        assert len(deploy.log("delay").rows) == number * (number + 1) / 2


def test_metrics_are_what_prometheus_reads(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    endpoint.predict([ROW, ROW])
    with socket.create_connection(("127.0.0.1", int(endpoint.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
    labels = '{endpoint="delay",model="models:delay@1"}'
    assert f"aiinfra_endpoint_rows_total{labels} 2\n" in text
    assert f"aiinfra_endpoint_request_seconds_count{labels} 1\n" in text
    assert text.count("# TYPE aiinfra_endpoint_canary_share gauge") == 1


def test_a_canary_is_tried_stepped_up_and_promoted_with_the_alias(register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    tried = deploy.start("delay", model="models:delay@2", canary="5%", rollback_if=RULE)
    assert (tried.champion, tried.canary, tried.canary_share) == ("models:delay@1", "models:delay@2", 0.05)
    assert tried.verdict == "undecided"
    assert deploy.start("delay", model="models:delay@2", canary="20%", rollback_if=RULE).canary_share == 0.2
    tried.predict([ROW] * 3, key="a"), [tried.predict([ROW], key=str(key)) for key in range(40)]
    promoted = deploy.promote("delay", force=True)
    assert (promoted.champion, promoted.canary, promoted.previous) == ("models:delay@2", None, "models:delay@1")
    assert open_store().get(ModelAliases, "delay").body.aliases == {"champion": 2}
    assert promoted.predict([ROW])[0] > 0.85
    back = deploy.rollback("delay")
    assert (back.champion, back.predict([ROW])[0] < 0.85) == ("models:delay@1", True)
    assert any("still the champion" in note for note in back.notes)  # no version held the alias before
    assert [verb for verb, _ in events()].count("deploy start") == 3


def test_promote_again_changes_nothing_and_a_champion_without_its_alias_is_said(register):
    register(1)
    started = deploy.start("delay", model="models:delay@1")
    assert "models:delay@champion does not exist yet: `%deploy promote delay` makes it this version" in started.notes
    assert [deploy.promote("delay").champion for _ in range(2)] == ["models:delay@1"] * 2
    assert [verb for verb, _ in events()] == ["deploy start", "models promote"]


def test_a_canary_without_a_champion_serves_everything_and_says_so(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1", canary="5%", rollback_if=RULE)
    assert (endpoint.champion, endpoint.canary_share) == (None, 1.0)
    assert any("100 %" in note for note in endpoint.notes)
    assert client.predict(endpoint.url, [ROW])[0]["score"]
    with pytest.raises(Conflict, match="no version to go back to"):
        deploy.rollback("delay")


def test_a_canary_that_gives_no_scores_is_rolled_back_and_the_reason_is_kept(register):
    register(1), register(2, "nan")
    deploy.start("delay", model="models:delay@1")
    endpoint = deploy.start("delay", model="models:delay@2", canary="50%", rollback_if=RULE)
    for number in range(60):
        client.ask(endpoint.url, "/predict", {"rows": [FAR], "key": str(number)})
    until(lambda: deploy.show("delay").canary is None)
    after = deploy.show("delay")
    assert (after.champion, after.canary_share) == ("models:delay@1", 0.0)
    assert any("rolled back" in note and "errors 100 % against" in note for note in after.notes)
    assert "models:delay@2 was rolled back by its rule." in after.card().lead
    assert any("was rolled back by its rule" in notice.detail for notice in nouns.find("deploy").notices())
    event = next(item.event for item in open_store().events() if item.event.verb == "deploy rollback")
    assert (event.inputs, event.detail["by"]) == (("models:delay@2",), "rule")
    signal = until(lambda: next(iter(signal_records.since(open_store(), 0)), None))
    assert (signal.body.subject, "rolled back by rule: errors 100 %" in signal.body.what) == ("deploy:delay", True)
    assert None not in endpoint.predict([FAR] * 10)


def test_a_slow_canary_is_rolled_back(register, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_LOOK_S", "0.05")  # how both wander apart is known after fifteen blocks of looks
    register(1), register(2, "slow")
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2", canary="50%", rollback_if="p95_ms > 5")
    until(lambda: deploy.run("delay", rows=DF, rate=200, for_="1s") and deploy.show("delay").canary is None)
    assert "slower than" in " ".join(deploy.show("delay").notes)


def test_a_breach_without_a_champion_leaves_the_only_version_serving(register):
    register(1, "nan")
    endpoint = deploy.start("delay", model="models:delay@1", canary="5%", rollback_if=RULE)
    for _ in range(20):
        client.ask(endpoint.url, "/predict", {"rows": [FAR]})
    until(lambda: deploy.show("delay").verdict == "breach")
    assert [bound.verdict for bound in deploy.show("delay").bounds].count("breach") == 1
    assert deploy.show("delay").canary == "models:delay@1"
    assert deploy.get("delay").predict([ROW])[0]


def test_a_version_that_cannot_be_served_leaves_the_live_one_serving(register):
    register(1), register(2)
    endpoint = deploy.start("delay", model="models:delay@1")
    (settings().home / "models" / "delay@2" / "model.onnx").write_bytes(b"touched")
    with pytest.raises(Failed, match=r"model\.onnx was changed"):
        deploy.start("delay", model="models:delay@2")
    after = deploy.show("delay")
    assert (after.champion, after.previous, after.state) == ("models:delay@1", None, "running")
    assert endpoint.predict([ROW])


def test_a_first_version_that_cannot_be_served_leaves_nothing_running(register):
    register(1), register(2)
    (settings().home / "models" / "delay@1" / "model.onnx").write_bytes(b"touched")
    with pytest.raises(Failed, match="changed"):
        deploy.start("delay", model="models:delay@1")
    assert jobs.ls(live=True) == []
    assert stored().stopped_at
    failed = deploy.show("delay")
    assert (failed.state, "model.onnx was changed" in failed.card().lead) == ("failed", True)
    assert [notice.uri for notice in nouns.find("deploy").notices()] == ["deploy:delay"]
    assert deploy.stop("delay").state == "stopped"
    assert nouns.find("deploy").notices() == []
    assert deploy.start("delay", model="models:delay@2", canary="5%").champion is None


def test_a_taken_port_is_a_conflict_and_nothing_is_written(register):
    register(1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict, match="port"):
        deploy.start("delay", model="models:delay@1", port=taken.getsockname()[1])
    assert open_store().list(EndpointRecord) == []
    assert open_store().list(jobs.JobRecord) == []


def test_the_port_stays_over_a_restart_when_it_is_free(register):
    register(1)
    first = deploy.start("delay", model="models:delay@1")
    deploy.stop("delay")
    assert deploy.start("delay", model="models:delay@1").url == first.url
    deploy.stop("delay")
    with socket.create_server(("127.0.0.1", int(first.url.rpartition(":")[2]))):
        assert deploy.start("delay", model="models:delay@1").url != first.url


def test_two_starts_at_once_make_one_process(register):
    register(1)
    code = "from aiinfra_lab import deploy; print(deploy.start('delay', model='models:delay@1').url)"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=PATIENCE_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert len(jobs.ls("deploy:delay")) == 1
    assert len(list((settings().home / "jobs").iterdir())) == 1


def test_a_killed_process_comes_back_goes_on_counting_and_show_says_so(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    endpoint.predict([ROW] * 3)
    until(lambda: stored().count == 3)
    os.kill(server_pid(jobs.find("deploy:delay").id), signal.SIGKILL)
    until(lambda: jobs.find("deploy:delay").restarts == 1)
    until(lambda: deploy.show("delay").state == "running")
    after = deploy.show("delay")
    assert (after.url, after.count) == (endpoint.url, 3)
    assert any("started again once" in note for note in after.notes)
    assert endpoint.predict([ROW])


def test_what_takes_the_place_of_a_killed_process_is_left_alone_by_it(register, workspace):
    register(1)
    deploy.start("delay", model="models:delay@1")
    old = jobs.find("deploy:delay")
    end_supervisor(workspace)
    os.killpg(old.pid, signal.SIGKILL)
    until(lambda: deploy.show("delay").state == "lost")
    again = deploy.start("delay", model="models:delay@1")
    jobs.wait(jobs.start("train:after", ["sleep", "1"]).id)  # by then the old one would have been brought back
    assert (jobs.poll(old.id).state, jobs.poll(old.id).restarts, again.state) == ("lost", 0, "running")
    assert deploy.run("delay", rows=DF, rate=20, for_="0.5s").ok == 10


def test_an_endpoint_whose_supervisor_and_wrapper_were_killed_serves_and_can_be_stopped(register, workspace):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    job = jobs.find("deploy:delay")
    end_supervisor(workspace)
    end(job.pid)
    until(lambda: not process.birth(job.pid))
    assert (deploy.show("delay").state, len(endpoint.predict([ROW]))) == ("running", 1)
    assert deploy.stop("delay").state == "stopped"
    assert list(process.tree(0, 0.0, job.id)) == []


def test_a_stop_from_the_panel_ends_an_endpoint_though_the_store_takes_nothing(register, monkeypatch):
    register(1)
    deploy.start("delay", model="models:delay@1")
    job = jobs.find("deploy:delay")

    def refuse(*_: object) -> None:
        raise StoreUnavailable("the store takes nothing", "free some space")

    with monkeypatch.context() as store:
        store.setattr(type(open_store()), "commit", refuse)
        nouns.find("deploy").stop("deploy:delay")
    until(lambda: not list(process.tree(0, 0.0, job.id)))
    assert deploy.stop("delay").state == "stopped"


def test_an_endpoint_that_was_told_as_lost_does_not_come_back_by_itself(register, workspace):
    register(1)
    deploy.start("delay", model="models:delay@1")
    job = jobs.find("deploy:delay")
    end_supervisor(workspace)
    os.killpg(job.pid, signal.SIGKILL)
    until(lambda: deploy.show("delay").state == "lost")
    jobs.wait(jobs.start("train:after", ["sleep", "1"]).id)
    assert (deploy.show("delay").state, jobs.ls("deploy:delay", live=True)) == ("lost", [])


def test_a_process_whose_place_was_taken_ends_at_once(register, workspace):
    register(1)
    deploy.start("delay", model="models:delay@1")
    before = stored().url
    env = {**os.environ, "AIINFRA_JOB": "deploy-delay-old"}
    command = [sys.executable, "-m", "aiinfra_lab.deploy.server", "delay"]
    late = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (late.returncode, "another process serves delay now" in late.stderr) == (0, True)
    assert (stored().url, deploy.show("delay").state) == (before, "running")


def test_a_rollback_takes_the_alias_back_that_promote_moved(register):
    register(1), register(2)
    for version in (1, 2):
        deploy.start("delay", model=f"models:delay@{version}", canary="50%")
        deploy.promote("delay", force=True)
    back = deploy.rollback("delay")
    assert open_store().get(ModelAliases, "delay").body.aliases == {"champion": 1}
    assert "models:delay@champion means models:delay@1" in back.notes


def test_the_panels_stop_ends_it_and_the_record_says_so(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    job = jobs.find("deploy:delay")
    jobs.cancel(job.id)
    assert jobs.wait(job.id, timeout_s=PATIENCE_S).state == "stopped"
    assert stored().stopped_at
    assert deploy.show("delay").state == "stopped"
    assert deploy.stop("delay").state == "stopped"  # once more is fine


def test_a_stop_right_after_its_process_died_is_not_undone(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    job = jobs.find("deploy:delay")
    os.kill(server_pid(job.id), signal.SIGKILL)
    until(lambda: not jobs.poll(job.id).live or jobs.poll(job.id).restarts)
    deploy.stop("delay")
    jobs.wait(jobs.start("train:after", ["sleep", "1"]).id)  # by then it would have been brought back
    assert not jobs.poll(job.id).live


def test_an_end_that_was_written_too_early_is_taken_back_by_the_process_that_lives(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    update(open_store(), EndpointRecord, "delay", lambda body: replace(body, outcome="lost", ended_at=1.0))
    until(lambda: not stored().outcome)
    assert (deploy.show("delay").state, stored().ended_at) == ("running", None)


def test_a_start_while_the_old_process_still_ends_waits_for_it(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    old = jobs.find("deploy:delay")
    jobs.cancel(old.id)
    again = deploy.start("delay", model="models:delay@1")
    assert again.state == "running"
    assert [job.live for job in jobs.ls("deploy:delay")] == [True, False]


def test_an_alias_is_resolved_once_and_said(register):
    register(1), register(2)
    records.aliases("delay", champion=1)
    endpoint = deploy.start("delay", model="delay@champion")
    assert endpoint.champion == "models:delay@1"
    assert "models:delay@champion is models:delay@1" in endpoint.notes


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"model": "models:delay@9"}, NotFound, "delay@9"),
        ({"model": "models:dely"}, NotFound, "did you mean models:delay"),
        ({"model": "models:delay@1", "canary": "1.5"}, UsageProblem, "1.5"),
        ({"model": "models:delay@1", "canary": "0"}, UsageProblem, "no traffic"),
        ({"model": "models:delay@1", "rollback_if": RULE}, UsageProblem, "canary"),
        ({"model": "models:delay@1", "canary": "5%", "rollback_if": ""}, UsageProblem, "the rule is empty"),
        ({"model": "models:delay@1", "canary": "5%", "rollback_if": "p95 > 5"}, UsageProblem, "p95"),
        ({"model": "models:delay@1", "port": 99_999}, UsageProblem, "port"),
        ({"model": "models:delay@1", "port": 22}, UsageProblem, "port"),
        ({"model": "models:delay@1", "on": "moon"}, NotFound, "moon"),
        ({"model": "data:delay@1"}, UsageProblem, "models"),
    ],
)
def test_a_start_that_makes_no_sense_leaves_nothing_behind(register, given, error, words):
    register(1)
    with pytest.raises(error, match=words):
        deploy.start("delay", **given)
    assert open_store().list(EndpointRecord) == []
    assert open_store().list(jobs.JobRecord) == []


@pytest.mark.parametrize("call", [deploy.show, deploy.stop, deploy.get, deploy.log, deploy.promote, deploy.rollback])
def test_an_unknown_endpoint_is_not_found(workspace, call):
    with pytest.raises(NotFound, match="delay") as problem:
        call("delay")
    assert "train one first" in problem.value.fix  # there is no model to serve


def test_a_stopped_endpoint_cannot_be_changed(register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2")
    deploy.stop("delay")
    with pytest.raises(Unavailable, match="not running"):
        deploy.rollback("delay")
    with pytest.raises(Unavailable):
        deploy.get("delay").predict([ROW])


def test_pages_in_a_browser_are_turned_away(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"))
    connection.request("POST", "/predict", json.dumps({"rows": [ROW]}), {"origin": "http://elsewhere.example"})
    assert connection.getresponse().status == 403
    connection.close()
    assert deploy.show("delay").count == 0


def test_ctrl_c_ends_the_waiting_and_not_the_endpoint(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    press_ctrl_c_in(lifecycle.wait)
    with pytest.raises(Interrupted, match="goes on"):
        lifecycle.wait(lifecycle.find("delay").with_(generation=99))
    assert deploy.show("delay").state == "running"


def test_without_waiting_the_endpoint_becomes_ready_by_itself(register):
    register(1)
    assert deploy.start("delay", model="models:delay@1", wait=False).state == "starting"
    until(lambda: deploy.show("delay").state == "running")


def test_what_a_check_finds_bad_while_it_serves_is_noted_and_nothing_is_moved(register):
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2", canary="5%")
    assert "found it bad" not in " ".join(deploy.show("delay").notes)
    change("delay@2", checked=LastCheck(verdict="bad"))
    [note] = [note for note in deploy.show("delay").notes if "found it bad" in note]
    assert note.startswith("models:delay@2 serves")
    assert "take its traffic away: `%deploy rollback delay`" in note
    deploy.rollback("delay")
    change("delay@1", checked=LastCheck(verdict="bad"))
    [note] = [note for note in deploy.show("delay").notes if "found it bad" in note]
    assert (note.startswith("models:delay@1"), "rollback" in note) == (True, False)


def test_the_command_line_speaks_the_same(register, capsys):
    register(1)
    assert main(["deploy", "start", "delay", "--model", "delay@1", "--canary", "5%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["canary_share"] == 1.0
    assert main(["deploy", "start", "delay", "--model", "delay@1", "--canary", "banana"]) == 2
    assert main(["deploy", "stop", "delay"]) == 0


def test_the_server_loads_nothing_heavy():
    names = "*{name.partition('.')[0] for name in sys.modules}"
    code = f"import sys, onnxruntime, aiinfra_lab.deploy.server.__main__; print({names})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "mlflow", "feast", "pandas", "polars", "scipy", "IPython", "jupyter_server", "pyarrow", "dvc"}
    assert heavy & set(loaded) == set()
    assert {"numpy", "uvloop", "msgspec"} <= set(loaded)


def test_candidates_and_a_shadow_beside_a_champion(register):
    for version in (1, 2, 3):
        register(version)
    deploy.start("delay", model="models:delay@1", shadow="models:delay@3")
    started = deploy.start("delay", model="models:delay@2", candidate="50%")
    assert "models:delay@2 gets 50 % of the keys" in started.notes
    for key in range(30):
        started.predict([ROW], key=str(key))
    status, answer = asked_with(started.url, {"X-Aiinfra-Model": "models:delay@3"})
    assert (status, answer["model"]) == (200, "models:delay@3")
    shown = deploy.show("delay")
    assert {item.model[-1]: (item.role, item.share) for item in shown.versions} == {
        "1": ("champion", 0.5), "2": ("candidate", 0.5), "3": ("shadow", 1.0),
    }  # fmt: skip
    shadow = next(item for item in shown.versions if item.role == "shadow")
    assert (shadow.requests, shadow.answered, [each.rows for each in shown.agreements]) == (30, 1, [30])
    assert shown.count == 31  # what was answered, by whomever
    assert {line["arm"] for line in deploy.log("delay", rows=100).rows} == {"champion", "candidate", "shadow"}
    assert "The shadow **models:delay@3** is asked what the others are" in shown.card().lead
    gone = deploy.start("delay", model="models:delay@1", shadow="none")
    assert [arm.role for arm in gone.others] == ["candidate"]


def asked_with(url, headers):
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.request("POST", "/predict", json.dumps({"rows": [ROW]}), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
