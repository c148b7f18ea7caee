"""Triton, the real one, as a target: it keeps the contract, and answers what our own server does."""

import http.client
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from aiinfra_lab import deploy, jobs
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.triton import environment
from aiinfra_lab.deploy.triton.target import Triton
from aiinfra_lab.errors import Failed, Missing, Unavailable
from aiinfra_lab.files import digests
from aiinfra_lab.jobs.record import folder_of
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    PredictionLogContract,
    ReportingContract,
    ServingOthersContract,
    served,
)
from tests import records
from tests.conftest import end_supervisor, until
from tests.deploy import serving
from tests.deploy.conftest import ROW, artifacts, ended, register

__all__ = ["artifacts", "register"]

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="session")
def installed() -> Path:
    """The environment that has Triton, which is made when it is not there; skips where its wheel cannot be had."""
    place = ROOT / ".venvs" / "triton"
    for command in (
        [UV, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)],
        [UV, "pip", "install", "--quiet", "--python", str(place), "-r", str(ROOT / "constraints" / "triton.txt")],
    ):
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"Triton cannot be installed here: {done.stderr.strip()[-300:]}")
    return environment.find(place).folder


@pytest.fixture
def target(workspace, installed, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_TRITON_ENV", str(installed))
    monkeypatch.setenv("AIINFRA_DEPLOY_LOOK_S", "0.3")
    return Triton(settings())


class TestTriton(DeployTargetContract):
    on = "triton"


class TestTritonCapabilities(ReportingContract, PredictionLogContract, ServingOthersContract):
    on = "triton"


# ---- the same numbers ----


def pictures(workspace):
    """The URI of a model of arrays."""
    folder = serving.pictures(workspace / ".aiinfra" / "models" / "pictures@1")
    records.model("pictures@1", rows="", files=digests(folder), created_at=1.0, checked=ended("good", digests(folder)))
    return "models:pictures@1"


def table_rows(dice):
    return [
        {
            "carrier": str(dice.choice(["AA", "UA", "9E", "never seen"])),
            "temp": None if dice.random() < 0.2 else float(dice.normal(3, 9)),
            "distance": int(dice.integers(0, 5000)),
        }
        for _ in range(1000)
    ]


def array_rows(dice):
    return [{"image": dice.normal(size=(2, 2)).tolist(), "weight": [int(dice.integers(9))]} for _ in range(1000)]


def numbers(predictions):
    """Every number of the answers, in their order."""
    if isinstance(predictions, dict):
        predictions = [value for key, value in predictions.items() if key != "row_id"]
    if isinstance(predictions, list):
        return [one for item in predictions for one in numbers(item)]
    # A label stands for itself.
    return [sum(predictions.encode()) if isinstance(predictions, str) else predictions]


@pytest.mark.parametrize("kind", ["table", "arrays"])
def test_the_same_rows_give_the_same_numbers_as_on_our_own_server(target, workspace, register, kind):
    model = register(1) if kind == "table" else pictures(workspace)
    rows = (table_rows if kind == "table" else array_rows)(np.random.default_rng(7))
    ours, tritons = (deploy.start(f"on-{on}", model=model, on=on) for on in ("local", "triton"))
    expected, found = (numbers(one.predict(rows)) for one in (ours, tritons))
    assert len(expected) >= 1000
    assert found == pytest.approx(expected, rel=0, abs=1e-6)
    assert len(set(found)) > 300  # no constant would do


# ---- whoever wants to may ask Triton itself ----


def asked(url, path, body=None):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    return json.loads(answer.read() or b"null")


@pytest.fixture
def started(target, register):
    """An endpoint of the first of two versions, and its Triton's address."""
    register(1), register(2), register(3, "nan")
    started = deploy.start("delay", model="models:delay@1", on="triton")
    return started, target.observe([claim()])[claim()].detail.removeprefix("Triton at ")


def claim():
    return open_store().get(EndpointRecord, "delay").body.job


def test_each_version_is_a_model_of_tritons(started):
    endpoint, url = started
    [score] = endpoint.predict([ROW])
    deploy.start("delay", model="models:delay@2", canary="50%")
    for version in (1, 2):
        found = asked(url, f"/v2/models/delay-{version}/versions/{version}")
        assert [(item["name"], item["datatype"]) for item in found["inputs"]] == [
            ("numbers", "FP32"),
            ("codes", "INT64"),
        ]
    tensors = [
        {"name": "numbers", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 0.0]},
        {"name": "codes", "shape": [1, 1], "datatype": "INT64", "data": [0]},
    ]
    found = asked(url, "/v2/models/delay-1/versions/1/infer", {"inputs": tensors})
    assert 0 < found["outputs"][0]["data"][0] < 1
    assert 0 < score < 1


def test_triton_has_counted_what_the_endpoint_reports(started, target):
    endpoint, url = started

    def statistics():
        [found] = asked(url, "/v2/models/delay-1/versions/1/stats")["model_stats"]
        return found["inference_stats"]["success"]["count"], found["inference_count"]

    before = statistics()  # its start has asked it for its example
    for size in (1, 2, 3):
        endpoint.predict([ROW] * size)
    counts = target.report(claim()).versions["models:delay@1"]
    assert (counts.requests, counts.rows) == (3, 6)
    assert statistics() == (before[0] + 3, before[1] + 6)


def test_a_version_that_serves_no_more_is_unloaded(started):
    _, url = started
    deploy.start("delay", model="models:delay@2")
    until(lambda: "error" in asked(url, "/v2/models/delay-1"))
    assert asked(url, "/v2/models/delay-2")["versions"] == ["2"]


# ---- what goes wrong ----


def test_a_version_that_cannot_be_loaded_leaves_the_other_serving(started, workspace):
    endpoint, _ = started
    folder = workspace / ".aiinfra" / "models" / "delay@4"
    shutil.copytree(folder.with_name("delay@2"), folder)
    (folder / "model.onnx").write_bytes(b"no network")
    records.model("delay@4", rows="", files=digests(folder), created_at=1.0, checked=ended("good", digests(folder)))
    with pytest.raises(Failed, match="Triton cannot load models:delay@4"):
        deploy.start("delay", model="models:delay@4")
    assert deploy.show("delay").champion == "models:delay@1"
    assert len(endpoint.predict([ROW])) == 1


def processes(name):
    """Those of the endpoint's job whose command has this in it."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("AIINFRA_JOB") == claim() and name in " ".join(each.cmdline()):
                found.append(each)
        except psutil.Error:
            continue
    return found


def runs(process):
    """Whether it does; nobody may reap what was left alone."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("who", ["bin/tritonserver", "aiinfra_lab.deploy.triton"])
def test_what_is_killed_comes_back(started, target, who):
    endpoint, _ = started
    scores, before = endpoint.predict([ROW] * 3), processes(who)
    for each in before:
        each.send_signal(signal.SIGKILL)
    until(lambda: target.observe([claim()])[claim()].restarts == 1)
    again = served(target, claim(), 1)
    assert (again.url, endpoint.predict([ROW])) == (endpoint.url, scores[:1])
    assert target.report(claim()).versions["models:delay@1"].requests >= 1  # it goes on counting
    assert not any(each.is_running() for each in before)


def test_a_networks_process_that_is_killed_is_loaded_again(started, target):
    endpoint, _ = started
    scores = endpoint.predict([ROW])
    [stub] = processes("triton_python_backend_stub")
    stub.send_signal(signal.SIGKILL)
    until(lambda: [each for each in processes("triton_python_backend_stub") if each.pid != stub.pid])
    until(lambda: predicted(endpoint) == scores)
    assert target.observe([claim()])[claim()].restarts == 0


@pytest.mark.parametrize("who", ["triton_python_backend_stub", "bin/tritonserver"])
def test_what_hangs_is_replaced(started, who):
    endpoint, _ = started
    scores = endpoint.predict([ROW])
    [hangs] = processes(who)
    hangs.send_signal(signal.SIGSTOP)
    until(lambda: predicted(endpoint) != scores)
    until(lambda: predicted(endpoint) == scores, most_s=60.0)
    assert not runs(hangs)


def predicted(endpoint):
    try:
        return endpoint.predict([ROW])
    except (Failed, Unavailable):
        return None


def test_a_canary_that_was_convicted_stays_off_after_a_restart(started, target):
    tried = deploy.start("delay", model="models:delay@3", canary="50%", rollback_if="errors > 1%")
    far = {**ROW, "distance": 9000}

    def convicted():
        for key in range(60):  # of customers enough that the draw of their keys explains nothing
            asked(tried.url, "/predict", {"rows": [far], "key": key})
        report = target.report(claim())
        return report is not None and report.canary_share == 0

    until(convicted)
    # Nobody has looked, so that the record knows nothing of it.
    assert open_store().get(EndpointRecord, "delay").body.canary == "models:delay@3"
    [front, *_] = processes("aiinfra_lab.deploy.triton")[::-1]
    front.send_signal(signal.SIGKILL)
    until(lambda: target.observe([claim()])[claim()].restarts == 1)
    served(target, claim(), 2)
    report = target.report(claim())
    assert (report.canary_share, report.verdict.state, report.generation) == (0, "breach", 2)
    assert "rolled back" in deploy.show("delay").card().text()


def test_nothing_is_left_of_one_that_is_stopped(started, target):
    there, token = processes(""), claim().rpartition("-")[2]
    assert len(there) >= 4  # the job, the front, Triton, and the network
    assert list(Path("/dev/shm").glob(f"aiinfra-{token}*"))
    deploy.stop("delay")
    assert not any(each.is_running() for each in there)
    assert list(Path("/dev/shm").glob(f"aiinfra-{token}*")) == []
    assert not (folder_of(claim()) / "triton").exists()


def test_a_body_may_be_as_long_as_the_setting_says(target, register, monkeypatch):
    register(1)
    monkeypatch.setenv("AIINFRA_DEPLOY_BODY_MIB", "4")
    endpoint = deploy.start("delay", model="models:delay@1", on="triton")
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=10)
    connection.request("POST", "/predict", json.dumps({"rows": [ROW]}) + " " * (2 << 20))
    assert connection.getresponse().status == 200


def test_nothing_is_left_of_one_whose_front_and_supervisor_are_killed(started, target):
    there, token = processes(""), claim().rpartition("-")[2]
    ours = processes("aiinfra_lab")
    end_supervisor(settings().workspace)
    for each in ours:
        each.send_signal(signal.SIGKILL)
    until(lambda: not any(map(runs, there)))
    until(lambda: not target.observe([claim()])[claim()].is_live)
    assert list(Path("/dev/shm").glob(f"aiinfra-{token}*")) == []


def test_an_environment_that_is_gone_keeps_what_serves_and_refuses_what_starts(started, monkeypatch, tmp_path):
    endpoint, _ = started
    monkeypatch.setenv("AIINFRA_DEPLOY_TRITON_ENV", str(tmp_path / "gone"))
    with pytest.raises(Missing) as problem:
        deploy.start("other", model="models:delay@1", on="triton")
    assert str(tmp_path / "gone") in problem.value.fix
    assert (open_store().get(EndpointRecord, "other"), len(jobs.ls())) == (None, 1)
    assert deploy.start("delay", model="models:delay@2").champion == "models:delay@2"
    assert len(endpoint.predict([ROW])) == 1
