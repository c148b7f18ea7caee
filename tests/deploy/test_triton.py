"""What the target Triton does without a Triton; with one see tests/slow/test_triton.py."""

import asyncio
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from aiinfra_lab import deploy, jobs
from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import DesiredState, EndpointRecord
from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.messages import RawRequest
from aiinfra_lab.deploy.triton import environment, session, state
from aiinfra_lab.deploy.triton.__main__ import FrontLimits
from aiinfra_lab.deploy.triton.answerer import TritonAnswerer
from aiinfra_lab.deploy.triton.session import NetworkFailed, TritonModel, Unreachable
from aiinfra_lab.deploy.triton.state import Applied, AppliedVersion, Observed
from aiinfra_lab.errors import Missing
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.store import open_store
from aiinfra_lab.train.saved_model import SavedModel

from . import serving
from .conftest import ROW, artifact

ROOT = Path(__file__).parents[2]


# ---- where it is ----


def test_without_its_environment_nothing_is_registered(register, workspace):
    register(1)
    with pytest.raises(Missing, match="environment of its own") as problem:
        deploy.start("delay", model="models:delay@1", on="triton")
    place = workspace / ".venvs" / "triton"
    assert problem.value.fix.startswith(f"python3 -m venv {place} && {place}/bin/pip install nvidia-pytriton==")
    assert (open_store().get(EndpointRecord, "delay"), jobs.ls()) == (None, [])
    assert not (workspace / ".aiinfra" / "jobs").exists()


def test_the_environment_is_where_the_setting_says(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_TRITON_ENV", str(workspace / "elsewhere"))
    assert environment.place(settings()) == workspace / "elsewhere"


def test_its_front_has_the_limits_that_the_settings_say(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_DEPLOY_BODY_MIB", "4")
    monkeypatch.setenv("AIINFRA_DEPLOY_LOAD_S", "7")
    limits = FrontLimits.of(settings())
    assert (limits.body_bytes, limits.load_s) == (4 << 20, 7.0)


def test_an_environment_with_a_part_of_it_is_none(tmp_path):
    server = tmp_path / "lib/python3.11/site-packages/pytriton/tritonserver/bin/tritonserver"
    server.parent.mkdir(parents=True)
    server.touch()
    with pytest.raises(Missing):
        environment.find(tmp_path)
    (tmp_path / "lib/python3.11/site-packages/onnxruntime").mkdir()
    assert environment.find(tmp_path).server == server


def test_the_fix_installs_what_the_tests_have():
    pinned = (ROOT / "constraints" / "triton.txt").read_text().splitlines()
    assert {*environment.PACKAGES} <= {*pinned}


# ---- what the two processes tell each other ----

VERSIONS = {"models:delay@1": AppliedVersion("/x", {"model.onnx": "2c"})}


def test_what_is_applied_and_observed_is_read_as_it_was_written(tmp_path):
    rule = parse_bounds("errors > 1%")
    applied = Applied(DesiredState(champion="models:delay@1", rollback_if=rule, generation=3), VERSIONS)
    observed = Observed(url="http://127.0.0.1:1", problem_generation=2)
    assert state.read(Applied, tmp_path) is None
    for one in (applied, observed):
        state.write(one, tmp_path)
        assert state.read(type(one), tmp_path) == one


# ---- asking it ----


@pytest.fixture
def triton():
    """A server that answers what `answers` has: a status, and outputs or a problem. Its URL, and what it was sent."""
    answers, sent = [], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            size = int(self.headers["inference-header-content-length"])
            body = self.rfile.read(int(self.headers["content-length"]))
            sent.append((self.path, json.loads(body[:size]), body[size:]))
            status, found = answers.pop(0)
            tail = b""
            if status == 200:
                tail = b"".join(array.tobytes() for array in found.values())
                outputs = [
                    {
                        "name": name,
                        "datatype": "FP32",
                        "shape": array.shape,
                        "parameters": {"binary_data_size": array.nbytes},
                    }
                    for name, array in found.items()
                ]
                found = {"outputs": outputs}
            head = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("inference-header-content-length", str(len(head)))
            self.send_header("content-length", str(len(head) + len(tail)))
            self.end_headers()
            self.wfile.write(head + tail)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers, sent
    server.shutdown()
    server.server_close()
    thread.join()


def asked(tmp_path, url):
    return TritonModel(serving.pictures(tmp_path / "model"), url=url, name="pictures-7", version="7")


IMAGES = {"image": np.ones((2, 2, 2), np.float32), "weight": np.array([[1], [2]])}
OUTPUTS = {"kind": np.eye(2, 3, dtype=np.float32), "vector": np.ones((2, 2), np.float32)}


def test_tensors_go_there_and_back_as_bytes(tmp_path, triton):
    url, answers, sent = triton
    answers.append((200, OUTPUTS))
    found = asked(tmp_path, url).run(IMAGES)
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in OUTPUTS.items()
    }
    [(path, head, tail)] = sent
    assert path == "/v2/models/pictures-7/versions/7/infer"
    assert [(item["name"], item["datatype"], item["shape"]) for item in head["inputs"]] == [
        ("image", "FP32", [2, 2, 2]),
        ("weight", "INT64", [2, 1]),
    ]
    assert tail == IMAGES["image"].tobytes() + IMAGES["weight"].tobytes()


def test_a_network_that_fails_is_told_from_a_triton_that_does(tmp_path, triton):
    url, answers, _ = triton
    model = asked(tmp_path, url)
    answers += [(500, {"error": f"in ensemble: {session.MODEL_FAILED}bad shape"}), (500, {"error": "not healthy"})]
    with pytest.raises(NetworkFailed, match=r"^bad shape$"):
        model.run(IMAGES)
    with pytest.raises(Unreachable, match="not healthy"):
        model.run(IMAGES)


def test_what_triton_runs_says_of_a_network_that_it_failed_as_it_is_read_here():
    text = Path(session.__file__).with_name("python_model.py").read_text()
    assert re.search(r'^FAILED = "(.*)"$', text, re.MULTILINE)[1] == session.MODEL_FAILED


def answered(loaded, *bodies, started=None):
    """Status and JSON of each, and how often it ended."""
    replies, ended = [], []

    class Asked:
        def __init__(self, body):
            self.raw = RawRequest("r1", started or time.perf_counter(), json.dumps(body).encode())

        def done(self, reply):
            replies.append(reply)

    async def ask():
        answerer = TritonAnswerer(loaded, asyncio.get_running_loop(), lambda: ended.append(1))
        for body in bodies:
            answerer.submit(Asked(body))
        assert answerer.waiting_bytes > 0
        answerer.retire()
        while not ended:
            await asyncio.sleep(0.01)
        assert answerer.waiting_bytes == 0

    asyncio.run(ask())
    return [(reply.status, msgspec.json.decode(reply.body), reply.rows, reply.failed) for reply in replies]


@pytest.fixture
def delay(tmp_path):
    """A version whose Triton does not answer any more."""
    saved = TritonModel(artifact(tmp_path / "delay"), url="http://127.0.0.1:9", name="delay-1", version="1")
    return model.LoadedModel("models:delay@1", saved)


def test_without_a_triton_every_request_is_answered_so_and_its_rows_are_logged(delay):
    [(status, body, rows, failed)] = answered(delay, {"rows": [ROW, ROW]})
    assert (status, rows, failed) == (503, 2, True)
    assert [item["error"].startswith("Triton does not answer") for item in body["predictions"]] == [True, True]


def test_a_version_hangs_that_answers_nothing_for_a_while(delay, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.deploy.triton.answerer.HANGS_S", 0.1)
    raw = RawRequest("r1", time.perf_counter(), json.dumps({"rows": [ROW]}).encode())
    refused = RawRequest("r1", time.perf_counter(), json.dumps({"rows": [{}]}).encode())
    answerer = TritonAnswerer(delay, asyncio.new_event_loop(), lambda: None)
    assert (answerer._reply(raw).status, answerer.hangs) == (503, False)
    time.sleep(0.15)
    assert (answerer._reply(refused).status, answerer.hangs) == (422, False)  # it was not asked
    assert (answerer._reply(raw).status, answerer.hangs) == (503, True)
    answerer.start_anew()
    assert (answerer._reply(raw).status, answerer.hangs) == (503, False)


class Poisoned(model.LoadedModel):
    """One whose network is lost by a `temp` of 901, and answers nothing from then on until `is_lost` is False again."""

    is_lost = False

    def predict(self, values):
        self.is_lost = self.is_lost or any(row[1] == 901 for row in values)
        if self.is_lost:
            raise Unreachable("Triton answers: the stub process is not healthy")
        return super().predict(values)

    def loaded_again(self, answerer):
        self.is_lost = False
        answerer.start_anew()


def of_temp(temp):
    return RawRequest("r1", time.perf_counter(), json.dumps({"rows": [{**ROW, "temp": temp}]}).encode())


@pytest.fixture
def poisoned(tmp_path):
    return Poisoned("models:delay@1", SavedModel(artifact(tmp_path / "delay")))


def test_a_body_that_a_network_was_lost_by_twice_is_not_tried_again_and_others_are(poisoned):
    answerer = TritonAnswerer(poisoned, asyncio.new_event_loop(), lambda: None)
    for _ in range(2):
        assert answerer._reply(of_temp(901)).status == 503
        assert answerer._reply(of_temp(1)).status == 503  # it came when the network was lost
        poisoned.loaded_again(answerer)
    refused = answerer._reply(of_temp(901))
    assert (refused.status, b"not tried again within 120 s" in refused.body) == (503, True)
    assert answerer._reply(of_temp(1)).status == 200


def test_what_was_answered_between_two_losses_is_not_to_blame_for_them(poisoned):
    answerer = TritonAnswerer(poisoned, asyncio.new_event_loop(), lambda: None)
    for _ in range(3):
        poisoned.is_lost = True
        assert answerer._reply(of_temp(1)).status == 503
        poisoned.loaded_again(answerer)
        assert answerer._reply(of_temp(1)).status == 200


def test_suspected_bodies_are_tried_one_after_the_other(poisoned):
    predict, all_there = poisoned.predict, threading.Barrier(4)

    def lost(values):
        all_there.wait(10)
        raise Unreachable("Triton answers: the stub process is not healthy")

    def alone_or_not(values):
        running.append(1)
        time.sleep(0.02)
        most.append(len(running))
        running.pop()
        return predict(values)

    async def ask(answerer):
        replies = []
        for temp in range(4):
            answerer.submit(SimpleNamespace(raw=of_temp(temp), done=replies.append))
        while len(replies) < 4:
            await asyncio.sleep(0.01)
        return {reply.status for reply in replies}

    async def test():
        answerer = TritonAnswerer(poisoned, asyncio.get_running_loop(), lambda: None)
        poisoned.predict = lost
        assert await ask(answerer) == {503}
        poisoned.loaded_again(answerer)
        poisoned.predict = alone_or_not
        assert await ask(answerer) == {200}
        assert max(most) == 1
        assert await ask(answerer) == {200}  # what was answered is suspected no more
        assert max(most) > 1

    running, most = [], []
    asyncio.run(test())


def test_what_breaks_the_contract_is_refused_without_asking_it(delay):
    [(status, body, rows, failed)] = answered(delay, {"rows": [{"temp": "warm"}]})
    assert (status, rows, failed) == (422, 0, False)
    assert body["error"]["row"] == 0


def test_what_has_waited_too_long_is_not_asked_any_more(delay):
    [(status, body, _, _)] = answered(delay, {"rows": [ROW]}, started=time.perf_counter() - 11)
    assert (status, body["predictions"][0]["error"]) == (503, "it was not answered within 10 s")
