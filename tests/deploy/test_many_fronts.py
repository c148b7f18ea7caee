"""An endpoint with two fronts: real processes on one port, of which it does not matter which answers."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiinfra_lab.config import settings
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server import many_fronts
from aiinfra_lab.deploy.server.front import ServingLimits
from aiinfra_lab.deploy.server.front_messages import (
    BeginFront,
    CountVersion,
    LoadVersion,
    RetireVersions,
    VersionLoaded,
)
from aiinfra_lab.deploy.server.many_fronts import ManyFronts, front_count
from aiinfra_lab.deploy.server.messages import CannotServe
from aiinfra_lab.deploy.server.predictions_log import newest
from aiinfra_lab.deploy.server.predictor import key_position
from aiinfra_lab.errors import Damaged, Failed, UsageProblem
from aiinfra_lab.stats.bounds import parse_bounds
from aiinfra_lab.store import Record, open_store, update
from tests.conftest import until
from tests.fakes import inline_workers

from .conftest import FAR, ROW

STARTS_S = 60
CHAMPION, CANARY = "models:delay@1", "models:delay@2"


class Endpoint:
    """The process of an endpoint with two fronts, and connections to each."""

    def __init__(self, folder: Path, **fields: object) -> None:
        body = EndpointRecord(log_dir=str(folder / "log"), generation=1, **fields)
        open_store().commit([Record.new("delay", body)])
        self.output, self.log_dir = folder / "output.log", folder / "log"
        self.begin()

    def begin(self) -> None:
        """Start its process, as its supervisor does."""
        command = [sys.executable, "-m", "aiinfra_lab.deploy.server", "delay", "2"]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        until(lambda: self.record.url and len(self.pids) == 1, most_s=STARTS_S)
        self.each()

    @property
    def record(self) -> EndpointRecord:
        return open_store().get(EndpointRecord, "delay").body

    def change(self, **fields: object) -> None:
        """Ask for something else, as a verb does, and wait until all fronts serve it."""
        wanted = update(
            open_store(), EndpointRecord, "delay", lambda body: replace(body, generation=body.generation + 1, **fields)
        ).body.generation
        until(lambda: all(self.ask(one, "/readyz")[1]["generation"] == wanted for one in self.each()), most_s=STARTS_S)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.record.port, timeout=30)

    def ask(self, connection, path, body=None, headers=None):
        """Status and JSON, or text, of one answer."""
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, headers or {})
        answer = connection.getresponse()
        found = answer.read()
        return answer.status, json.loads(found) if "json" in answer.headers["content-type"] else found.decode()

    def predict(self, connection, key="k", row=ROW, headers=None):
        return self.ask(connection, "/predict", {"rows": [row], "key": key}, headers)

    def each(self) -> list[http.client.HTTPConnection]:
        """A connection to each front; found out by whose request ids differ."""
        found = {}
        until(lambda: len(found) == 2 or self._try_one(found), most_s=STARTS_S)
        return [*found.values()]

    def _try_one(self, found) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = self.connect()
            status, answer = self.predict(connection, headers={"X-Aiinfra-Judged": "no"})
            if status == 200:
                found.setdefault(answer["request_id"].partition("-")[0], connection)

    @property
    def pids(self) -> list[int]:
        """The processes of further fronts."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for path in children for pid in content_of(path).split()]
        return [pid for pid in pids if b"front_process" in command_of(pid)]

    def is_with(self, connection, pid: int) -> bool:
        """Whether it is that process that has the other end of the connection."""
        ours, theirs = (f"{connection.sock.getsockname()[1]:04X}", f"{self.record.port:04X}")
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        [inode] = [row[9] for row in rows if row[1].endswith(f":{theirs}") and row[2].endswith(f":{ours}")]
        return f"socket:[{inode}]" in map(target_of, Path(f"/proc/{pid}/fd").iterdir())

    def requests(self, connection) -> int:
        """How many a front's metrics say were predicted."""
        text = self.ask(connection, "/metrics")[1]
        return sum(int(n) for n in re.findall(r"aiinfra_endpoint_requests_total\{.*\} (\d+)", text))

    def tree(self) -> set[int]:
        """Every process of the endpoint."""
        found, left = set(), [self.process.pid]
        while left:
            found.add(pid := left.pop())
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                left += map(int, content_of(path).split())
        return found


def content_of(path: Path) -> bytes:
    """Of a file below /proc; nothing of a process or a thread that has ended."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def target_of(path: Path) -> str:
    """What an open file of a process is; nothing when it was closed meanwhile."""
    with contextlib.suppress(OSError):
        return str(path.readlink())
    return ""


def command_of(pid: int) -> bytes:
    return content_of(Path(f"/proc/{pid}/cmdline"))


def is_gone(pid: int) -> bool:
    """Whether it has ended, reaped or not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.fixture
def start(workspace, register):
    """Starts an endpoint of these fields; it is ended afterwards."""
    started = []

    def go(**fields):
        register(1), register(2)
        started.append(Endpoint(workspace, **{"champion": CHAMPION, **fields}))
        return started[-1]

    yield go
    for endpoint in started:
        endpoint.process.kill()
        endpoint.process.wait()


def test_every_front_answers_alike_and_tells_what_all_have_counted(start):
    endpoint = start()
    fronts = endpoint.each()
    before = endpoint.requests(fronts[0])
    answers = [endpoint.predict(front, row=row) for front in fronts for row in (ROW, FAR) for _ in range(10)]
    assert {status for status, _ in answers} == {200}
    scores = [answer["predictions"][0]["score"] for _, answer in answers]
    assert scores[:20] == scores[20:]
    assert len({answer["request_id"] for _, answer in answers}) == 40
    refused = [endpoint.ask(front, "/predict", {"rows": []})[0] for front in fronts]
    for front in fronts:
        text = endpoint.ask(front, "/metrics")[1]
        assert endpoint.requests(front) == before + 40
        assert int(re.search(rf'refused_total\{{.*status="{refused[0]}"\}} (\d+)', text)[1]) == 2
        status = endpoint.ask(front, "/status")[1]
        assert (status["versions"][CHAMPION]["requests"], status["champion"]) == (before + 40, CHAMPION)
    assert endpoint.ask(fronts[1], "/flush", {})[1] == {"flushed": True}
    assert endpoint.record.count == before + 40
    assert len(newest(endpoint.log_dir, 1000)) == before + 40
    endpoint.process.terminate()
    assert endpoint.process.wait(30) == 143
    assert endpoint.record.versions[CHAMPION].requests == before + 40


def test_a_key_is_answered_by_the_same_arm_in_every_front(start):
    endpoint = start(canary=CANARY, share=0.5, salt="s")
    keys = [f"key {number}" for number in range(40)]
    for front in endpoint.each():
        found = [endpoint.predict(front, key)[1]["model"] for key in keys]
        assert found == [CANARY if key_position("s", key) < 0.5 else CHAMPION for key in keys]


class Load:
    """Requests on connections of their own, until it is left."""

    def __init__(self, endpoint, clients=4, keys="load") -> None:
        self.endpoint, self.keys = endpoint, keys
        self.statuses, self.models, self.broken = Counter(), Counter(), 0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(clients)]

    def _ask_on(self, client) -> None:
        connection, number = self.endpoint.connect(), 0
        while not self._is_over.is_set():
            number += 1
            try:
                status, answer = self.endpoint.predict(connection, f"{self.keys} {client} {number}")
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection = self.endpoint.connect()
                time.sleep(0.01)
                continue
            self.statuses[status] += 1
            self.models[answer.get("model")] += 1

    def __enter__(self):
        [thread.start() for thread in self._threads]
        return self

    def __exit__(self, *problem) -> None:
        self._is_over.set()
        [thread.join() for thread in self._threads]


def test_a_swap_under_load_fails_no_request_and_the_log_is_complete(start):
    endpoint = start()
    before = endpoint.requests(endpoint.each()[0])
    with Load(endpoint) as load:
        for model in (CANARY, CHAMPION, CANARY):
            endpoint.change(champion=model)
    front = endpoint.each()[0]
    assert (set(load.statuses), load.broken, set(load.models)) == ({200}, 0, {CHAMPION, CANARY})
    endpoint.ask(front, "/flush", {})
    answered = endpoint.requests(front)
    assert answered >= before + load.statuses[200] > before
    assert len(newest(endpoint.log_dir, 1_000_000)) == answered


def test_a_rollback_by_the_rule_is_by_the_requests_of_all_fronts_and_reaches_all(start, register):
    register(3, "nan")
    endpoint = start(canary="models:delay@3", share=0.5, salt="s", rollback_if=parse_bounds("errors > 1%"))
    [pid], number = endpoint.pids, 0
    [other] = [one for one in endpoint.each() if endpoint.is_with(one, pid)]

    def ask() -> bool:
        nonlocal number
        for _ in range(50):
            number += 1
            endpoint.predict(other, f"key {number}", FAR)
        return endpoint.record.rolled_back is not None

    until(ask, most_s=90)
    assert endpoint.record.canary is None
    for front in endpoint.each():
        assert endpoint.ask(front, "/readyz")[1]["canary"] is None
        found = {endpoint.predict(front, f"key {at}")[1]["model"] for at in range(40)}
        assert found == {CHAMPION}


def test_a_killed_front_costs_its_own_requests_alone_and_comes_back(start):
    endpoint = start()
    [pid] = endpoint.pids
    before = endpoint.requests(endpoint.each()[0])
    with Load(endpoint) as load:
        until(lambda: load.statuses[200] > 200, most_s=STARTS_S)
        os.kill(pid, signal.SIGKILL)
        until(lambda: endpoint.pids and endpoint.pids != [pid], most_s=STARTS_S)
        endpoint.each()
    assert (set(load.statuses), load.broken <= 4) == ({200}, True)
    # What it had counted is counted still.
    assert endpoint.requests(endpoint.each()[0]) >= before + load.statuses[200]


def test_what_each_front_has_taken_is_answered_before_the_endpoint_ends(start, register):
    register(3, "loop400000")
    endpoint = start(champion="models:delay@3")
    fronts, found = endpoint.each(), []

    def waiting() -> int:
        return endpoint.ask(endpoint.connect(), "/status")[1]["waiting_requests"]

    # Each front publishes its number a few times a second: that of the requests before must be gone first.
    until(lambda: waiting() == 0)
    threads = [threading.Thread(target=lambda one=one: found.append(endpoint.predict(one)[0])) for one in fronts]
    [thread.start() for thread in threads]
    until(lambda: waiting() == 2)
    endpoint.process.terminate()
    [thread.join() for thread in threads]
    assert (found, endpoint.process.wait(30)) == ([200, 200], 143)
    with pytest.raises(ConnectionRefusedError):
        endpoint.connect().connect()


def test_a_front_that_hangs_is_replaced(start):
    endpoint = start()
    [pid] = endpoint.pids
    os.kill(pid, signal.SIGSTOP)
    until(lambda: endpoint.pids and endpoint.pids != [pid], most_s=STARTS_S)
    endpoint.each()
    assert "gave no sign" in endpoint.output.read_text()


def test_no_process_outlives_an_agent_that_is_killed_and_the_next_one_has_its_port(start):
    endpoint = start()
    endpoint.each()
    tree = endpoint.tree()
    assert len(tree) >= 2 + 2 + 4  # two fronts, their fork servers, and a process that answers with its spare each
    port = endpoint.record.port
    endpoint.process.kill()
    endpoint.process.wait()
    until(lambda: all(map(is_gone, tree)), most_s=STARTS_S)
    endpoint.begin()
    assert endpoint.record.port == port  # nobody holds it


class FakeFront:
    """Is there, and keeps what it is sent."""

    def __init__(self, number, *rest):
        self.number, self.is_live, self.sent = number, True, []

    def send(self, message):
        self.sent.append(message)


@pytest.mark.parametrize("ends", ["loads", "cannot", "dies", "agent cannot"])
def test_a_version_is_opened_when_every_front_has_it_or_none(tmp_path, artifacts, monkeypatch, ends):
    monkeypatch.setattr(many_fronts, "FurtherFront", FakeFront)
    limits = ServingLimits(1e9, 0, 10.0, 1 << 20)
    given = []

    async def go():
        body = EndpointRecord(log_dir=str(tmp_path / "log"))
        fronts = ManyFronts(body, "delay", limits, object(), [None, None], lambda done: done())
        own = inline_workers.served(fronts.front.predictor, CHAMPION, artifacts("plain"))
        found = Failed("no", "another") if ends == "agent cannot" else own
        monkeypatch.setattr(fronts.front.predictor, "open", lambda *order: order[-1](found))
        fronts._open(CHAMPION, artifacts("plain"), {}, given.append)
        [further] = fronts.further
        if ends == "agent cannot":
            assert isinstance(given[0], Failed)
        else:
            assert given == []
        if ends == "dies":
            fronts._forget(further)
        elif ends != "agent cannot":
            problem = CannotServe("Damaged", "its files changed", "add it again") if ends == "cannot" else None
            fronts._hear(further, VersionLoaded(CHAMPION, problem))
        fronts.front.log.close()
        return own, [type(message) for message in further.sent], fronts._first(1)

    own, sent, first = asyncio.run(go())
    if ends in ("loads", "dies"):
        assert (given, own.workers.is_retired, sent) == ([own], False, [CountVersion, LoadVersion])
        assert [type(message) for message in first] == [BeginFront, LoadVersion]
    else:
        assert isinstance(given[0], Damaged if ends == "cannot" else Failed)
        assert (own.workers.is_retired, sent) == (ends == "cannot", [CountVersion, LoadVersion, RetireVersions])
        assert [type(message) for message in first] == [BeginFront]  # nor is one that is started later sent it


@pytest.mark.parametrize(
    ("count", "cores", "message"),
    [(0, 8, "leaves nobody to answer"), (2, 2, "needs a machine of 4 cores"), (9, 8, "is more than the 8 cores")],
)
def test_a_number_of_fronts_that_the_machine_has_no_cores_for_is_refused(workspace, monkeypatch, count, cores, message):
    monkeypatch.setenv("AIINFRA_DEPLOY_FRONTS", str(count))
    with pytest.raises(UsageProblem, match=message):
        front_count(settings(), cores)


def test_one_front_is_the_default_and_as_many_as_cores_are_the_most(workspace, monkeypatch):
    assert front_count(settings(), 1) == 1
    monkeypatch.setenv("AIINFRA_DEPLOY_FRONTS", "4")
    assert front_count(settings(), 4) == 4
