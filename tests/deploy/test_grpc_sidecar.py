"""The process that speaks gRPC beside its endpoint: asked for, lost, back again, and where it is refused."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from aiinfra_lab import deploy
from aiinfra_lab.deploy.base import LIVE
from aiinfra_lab.deploy.client import ask
from aiinfra_lab.deploy.desired_state import ServeRequest, fresh
from aiinfra_lab.deploy.grpc import sidecar as sidecars
from aiinfra_lab.deploy.grpc.sidecar import Sidecar
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Denied, Missing, UsageProblem
from aiinfra_lab.nouns import find as noun
from aiinfra_lab.store import Record, open_store
from tests.conftest import until

from . import serving
from .conftest import ROW, artifact, server_pid
from .speaking import MAX_BODY, ROWS, Client, asked, grpc, scores


@pytest.fixture
def endpoint(tmp_path):
    with serving.endpoint(tmp_path / "log", artifact(tmp_path / "model"), max_body=MAX_BODY) as found:
        yield found


@pytest.fixture
def follow(workspace, endpoint):
    """Has a sidecar follow the record until something holds, and gives it and the record."""
    open_store().commit([Record.new("delay", EndpointRecord(job="deploy-delay-1", grpc_port=0))])
    sidecar = Sidecar("delay", open_store(), endpoint.address[1], MAX_BODY)

    def following(holds):
        def look():
            body = open_store().get(EndpointRecord, "delay").body
            sidecar.follow(body)
            return body if holds(body, sidecar) else None

        return until(look)

    yield following
    sidecar.close()


def speaks(body, sidecar) -> bool:
    return bool(body.grpc_url) and body.grpc_url.endswith(f":{sidecar._heard()}")


def test_it_writes_where_it_listens_and_has_that_again_when_it_was_killed(follow, monkeypatch):
    killed = []

    def again(body, sidecar):
        if not killed:
            killed.append(sidecar._process)
            killed[0].kill()
        return sidecar._process and sidecar._process is not killed[0] and sidecar._heard()

    monkeypatch.setattr(sidecars, "PAUSE_S", 0.05)
    first = follow(speaks)
    assert Client(first.grpc_port)("ServerReady").ready
    assert follow(again).grpc_port == first.grpc_port
    assert Client(first.grpc_port)("ServerReady").ready


def test_one_that_dies_at_once_is_started_ever_less_often(workspace, endpoint):
    sidecar = Sidecar("delay", open_store(), endpoint.address[1], MAX_BODY, ["/bin/false"])
    body = EndpointRecord(grpc_port=0)
    until(lambda: sidecar.follow(body) or sidecar._pause_s == 2 * sidecars.PAUSE_S)
    sidecar.follow(body)
    assert sidecar._process is None
    for _ in range(9):
        sidecar._again_at = 0.0
        sidecar.follow(body)
        until(lambda: sidecar.follow(body) or sidecar._process is None)
    assert sidecar._pause_s == sidecars.MOST_PAUSE_S


def test_one_that_cannot_be_started_harms_nobody_and_no_address_is_left(workspace, caplog):
    body = EndpointRecord(grpc_port=50_000, grpc_url="grpc://127.0.0.1:50000")
    open_store().commit([Record.new("delay", body)])
    sidecar = Sidecar("delay", open_store(), 1, MAX_BODY, ["/no/such/program"])
    sidecar.follow(body)
    assert "gRPC is not spoken now" in caplog.text
    written = open_store().get(EndpointRecord, "delay").body
    assert (written.grpc_url, written.grpc_port) == ("", 50_000)


def test_a_store_that_takes_nothing_is_asked_seldom(monkeypatch, workspace):
    def refuse(*how):
        asked.append(how)
        raise Denied("read-only", "wait")

    asked = []
    monkeypatch.setattr(sidecars, "update", refuse)
    sidecar = Sidecar("delay", open_store(), 1, MAX_BODY, ["/no/such/program"])
    for _ in range(3):
        sidecar.follow(EndpointRecord(grpc_port=0, grpc_url="grpc://127.0.0.1:50000"))
    assert len(asked) == 1


def test_one_that_does_not_end_is_ended(workspace):
    sidecar = Sidecar("delay", open_store(), 1, MAX_BODY, [sys.executable, "-c", "import time; time.sleep(300)"])
    sidecar.follow(EndpointRecord(grpc_port=0))
    process = sidecar._process
    sidecar.close()
    assert process.returncode == -signal.SIGKILL
    sidecar.follow(EndpointRecord(grpc_port=0))
    assert sidecar._process is None


@pytest.fixture
def started(register):
    return deploy.start("delay", model=register(1), grpc=True)


def port_of(url: str) -> int:
    assert url.startswith("grpc://127.0.0.1:")
    return int(url.rpartition(":")[2])


def test_an_endpoint_speaks_grpc_where_its_card_and_the_panel_say(started):
    record = open_store().get(EndpointRecord, "delay")
    assert scores(Client(port_of(started.grpc_url))("ModelInfer", asked()))
    assert started.grpc_url in str(started.card().facts)
    assert ("gRPC", started.grpc_url) in [(fact.label, fact.value) for fact in noun("deploy").details(record.uri).facts]
    log = until(lambda: deploy.log("delay").rows)
    assert len(log) == len(ROWS)  # counted and logged as all else
    assert deploy.show("delay").count == len(ROWS)


def test_a_key_means_the_same_version_as_over_http(register):
    deploy.start("delay", model=register(1), grpc=True)
    split = deploy.start("delay", model=register(2), canary="50%")
    client, found = Client(port_of(split.grpc_url)), set()
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [ROW[name]]} for name in ("temp", "distance")]
    inputs.append({"name": "carrier", "datatype": "BYTES", "shape": [1], "data": [ROW["carrier"]]})
    for key in map(str, range(24)):
        request = asked([ROW])
        request.parameters["key"].string_param = key
        body = {"inputs": inputs, "parameters": {"key": key}}
        _, answer = ask(split.url, "/v2/models/delay/infer", body)
        assert client("ModelInfer", request).model_version == answer["model_version"]
        found.add(answer["model_version"])
    assert found == {"1", "2"}


def test_its_end_harms_nobody_and_the_address_stays(started):
    client = Client(port_of(started.grpc_url))
    os.kill(sidecar_pid(), signal.SIGKILL)
    assert started.predict([ROW])
    until(lambda: _answers(client))
    until(lambda: deploy.show("delay").grpc_url == started.grpc_url)


def test_it_ends_and_comes_back_with_its_endpoint(started):
    claim = open_store().get(EndpointRecord, "delay").body.job
    client, first = Client(port_of(started.grpc_url)), sidecar_pid()
    os.kill(server_pid(claim), signal.SIGKILL)
    until(lambda: not Path(f"/proc/{first}").exists())
    until(lambda: _answers(client))
    until(lambda: deploy.show("delay").grpc_url == started.grpc_url)
    last = sidecar_pid()
    deploy.stop("delay")
    assert not Path(f"/proc/{last}").exists()
    assert deploy.start("delay", model="models:delay@1").grpc_url == started.grpc_url  # asked for once


def test_a_live_endpoint_learns_it_and_forgets_it(register):
    model = register(1)
    plain = deploy.start("delay", model=model)
    assert (plain.grpc_url, plain.state) == ("", "running")
    speaking = deploy.start("delay", model=model, grpc=True)
    client = Client(port_of(speaking.grpc_url))
    assert "it speaks gRPC too" in str(speaking.notes)
    assert scores(client("ModelInfer", asked()))
    assert deploy.start("delay", model=model).grpc_url == speaking.grpc_url
    assert deploy.start("delay", model=model, grpc=False).grpc_url == ""
    until(lambda: not _answers(client))
    assert plain.predict([ROW])


def _answers(client) -> bool:
    with contextlib.suppress(grpc.RpcError):
        return bool(client("ServerReady", timeout=1).ready)
    return False


def sidecar_pid() -> int:
    """Of the only one that runs."""
    workspace = os.environ["AIINFRA_WORKSPACE"].encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if sidecars.MODULE.encode() in command and workspace in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    [pid] = found
    return pid


# ---- where it is refused ----


def test_another_target_takes_none(register, workspace):
    model = register(1)
    with pytest.raises(UsageProblem, match="triton takes no --grpc"):
        deploy._start("delay", ServeRequest(model, grpc=True, name="delay"), "triton", "triton", None, force=False)
    assert open_store().get(EndpointRecord, "delay") is None


def test_without_the_package_the_error_says_what_installs_it(register, monkeypatch):
    monkeypatch.setattr(sidecars, "find_spec", lambda name: None)
    model = register(1)
    with pytest.raises(Missing, match="grpcio") as problem:
        deploy.start("delay", model=model, grpc=True)
    assert problem.value.fix == "pip install 'aiinfra-lab[grpc]'"
    assert open_store().get(EndpointRecord, "delay") is None
    assert deploy.start("delay", model=model).state in LIVE


def test_it_is_remembered_over_starts_as_a_wish_and_not_as_an_address():
    before = EndpointRecord(
        champion="models:delay@1", generation=1, grpc_port=50_000, grpc_url="grpc://127.0.0.1:50000"
    )
    again, _ = fresh(before, ServeRequest("models:delay@1"))
    assert (again.grpc_port, again.grpc_url) == (50_000, "")
    none, note = fresh(before, ServeRequest("models:delay@1", grpc=False))
    assert (none.grpc_port, none.generation, note.endswith("it speaks gRPC no more")) == (None, 2, True)
