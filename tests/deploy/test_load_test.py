"""Under load: no request fails through a swap, a stop loses no row, and the load generator counts what it got."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from aiinfra_lab import cost, data, deploy, features
from aiinfra_lab.deploy import client, load_generator, load_test
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server import predictions_log
from aiinfra_lab.errors import Failed, LabError, NotFound, Unavailable, UsageProblem
from aiinfra_lab.store import open_store
from tests.cards import one_line
from tests.conftest import PATIENCE_S, until
from tests.fakes import instant_endpoint

from .conftest import DF, FAR, ROW, server_pid

# A model that takes carrier, temp and distance, of which the rows themselves have no temp.
HEAT = """
import polars as pl
from aiinfra_lab.features import view

columns = ["carrier", "distance"]

@view(entity="carrier", timestamp="at")
def heat(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.select("carrier", pl.col("at").dt.offset_by("-1d"), temp=pl.lit(7.0)).unique()
"""
BODIES = [json.dumps({"rows": [ROW], "key": number}).encode() for number in range(50)]


class Sending:
    """Traffic in the background of a test: from when it flows, until it has seen those versions."""

    def __init__(self, url: str, rate: float, versions: set[str]) -> None:
        self.versions, self.flows = versions, threading.Event()
        self.thread = threading.Thread(target=self._send, args=(url, rate))
        self.thread.start()
        assert self.flows.wait(PATIENCE_S)

    def _send(self, url, rate):
        self.counts = load_generator.send(url, BODIES, rate, PATIENCE_S, self._look)

    def _look(self, counts):
        if counts.ok:
            self.flows.set()
        if set(counts.versions) >= self.versions:
            raise KeyboardInterrupt

    def result(self):
        self.thread.join()
        return self.counts


def test_no_request_fails_while_versions_are_swapped(register):
    for version in range(1, 5):
        register(version)
    endpoint = deploy.start("delay", model="models:delay@1")
    every = {f"models:delay@{version}" for version in range(1, 5)}
    sending = Sending(endpoint.url, 300, every)
    for version in (2, 3, 4):
        deploy.start("delay", model=f"models:delay@{version}")
    counts = sending.result()
    assert (counts.ok, counts.errors, counts.refused) == (counts.sent, 0, 0)
    assert set(counts.versions) == every


def tensors(rows: int) -> bytes:
    values = zip(ROW.items(), ("BYTES", "FP64", "INT64"), strict=True)
    inputs = [
        {"name": name, "shape": [rows], "datatype": kind, "data": [value] * rows} for (name, value), kind in values
    ]
    return json.dumps({"inputs": inputs}).encode()


def infer_until(url: str, ended: threading.Event) -> Counter[tuple[int, str]]:
    """Statuses and versions of the answers to tensors that follow each other on one connection."""
    found, body = Counter(), tensors(400)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    with contextlib.closing(connection):
        while not ended.is_set():
            connection.request("POST", "/v2/models/delay/infer", body)
            answer = connection.getresponse()
            found[answer.status, json.load(answer).get("model_version", "")] += 1
    return found


def test_no_request_of_tensors_fails_while_versions_are_swapped(register):
    for version in (1, 2):
        register(version)
    endpoint = deploy.start("delay", model="models:delay@1")
    ended = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(infer_until, endpoint.url, ended) for _ in range(4)]
        try:
            for version in (2, 1, 2):
                deploy.start("delay", model=f"models:delay@{version}")
        finally:
            ended.set()
        found = sum((future.result() for future in asking), Counter())
    assert found.keys() == {(200, "1"), (200, "2")}


def ask_until_it_ends(url: str) -> int:
    """How many answers came before the endpoint took no more."""
    answered = 0
    with contextlib.suppress(LabError):
        while client.predict(url, [ROW]):
            answered += 1
    return answered


def test_a_stop_answers_what_it_took_and_loses_no_logged_row(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_until_it_ends, endpoint.url) for _ in range(4)]
        until(lambda: deploy.show("delay").count >= 100)
        stopped = deploy.stop("delay")
        answered = sum(future.result() for future in asking)
    assert len(predictions_log.newest(Path(stopped.log_dir), 1 << 20)) == answered == stopped.count


def test_whoever_reads_after_the_traffic_finds_all_of_it(register):
    """The log, what it cost and the endpoint itself agree at once, also after a single request more."""
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    for number in range(1, 4):
        load = deploy.run("delay", rows=DF, rate=200, for_="200ms", batch=2)
        rows = 2 * number * load.ok
        assert cost.show("deploy:delay").predictions == deploy.show("delay").count == rows
        assert (
            len(predictions_log.newest(Path(endpoint.log_dir), 1 << 20))
            == len(deploy.log("delay", rows=500).rows)
            == rows
        )


def test_a_log_that_a_busy_machine_writes_late_is_waited_for(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")
    pid = server_pid(open_store().get(EndpointRecord, "delay").body.job)
    for number in range(1, 4):
        endpoint.predict([ROW])
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(2 * client.QUICK_S + 0.5, os.kill, (pid, signal.SIGCONT)).start()
        assert len(deploy.log("delay").rows) == number


def test_deploy_run_sends_rows_and_says_what_came_back(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    load = deploy.run("delay", rows=DF, rate=100, for_="1s", batch=2)
    assert (load.sent, load.ok, load.errors, load.refused) == (100, 100, 0, 0)
    assert load.versions == {"models:delay@1": 100}
    assert load.rows.startswith("data:")
    assert 0 < load.p50_ms <= load.p95_ms <= load.p99_ms
    assert deploy.show("delay").count == 200
    # Both have a p95, of different things: each says of which.
    assert all("at the client" in one_line(one.card()) for one in (load, deploy.show("delay")))
    runs = [item.event for item in open_store().events() if item.event.verb == "deploy run"]
    assert [(event.inputs, event.detail["ok"]) for event in runs] == [((load.rows,), 100)]
    with pytest.raises(NotFound, match="distance"):
        deploy.run("delay", rows=DF.drop(columns="distance"))
    with pytest.raises(UsageProblem) as problem:
        deploy.run("delay", rows=DF, rate=0)
    assert problem.value.fix == "give --rate 0.001 to 20000 requests a second"


def test_traffic_that_gets_no_score_fails_with_the_first_problem(register):
    register(1, "nan")
    deploy.start("delay", model="models:delay@1")
    with pytest.raises(Failed, match="not finite") as problem:
        deploy.run("delay", rows=pd.DataFrame([FAR]), rate=50, for_="1s")
    assert "%deploy log delay" in problem.value.fix  # the endpoint took the rows: they may be right


def test_no_traffic_to_what_does_not_run(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    deploy.stop("delay")
    with pytest.raises(Unavailable, match="not running") as problem:
        deploy.run("delay", rows=DF)
    assert "--model models:delay@1" in problem.value.fix


def test_a_server_that_is_gone_is_told_as_errors():
    counts = load_generator.send("http://127.0.0.1:9", BODIES, 100, 0.2, lambda _: None)
    assert (counts.sent, counts.errors) == (20, 20)
    assert "lost" in counts.first_problem


@pytest.mark.parametrize(
    ("rate", "for_s", "wanted"),
    [(0.5, 1, 1), (0.001, 0.1, 1), (0.29, 10, 3), (0.57, 10, 6), (100, 1.1, 110), (50, 1, 50)],
)
def test_what_was_asked_for_is_sent_rounded_up(rate, for_s, wanted):
    assert load_generator.requests_in(rate, for_s) == wanted


def test_one_request_is_sent_however_short_the_test(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    assert deploy.run("delay", rows=DF, rate=0.5, for_="1s").ok == 1


def test_a_client_that_cannot_keep_up_says_so():
    """Each answer holds so many rows that reading it takes longer than sending it."""
    with instant_endpoint.running(predictions=2000) as url:
        counts = load_generator.send(url, BODIES, 10_000, 0.2, lambda _: None)
    assert (counts.ok, counts.is_own_limit) == (2000, True)
    assert 0 < counts.ceiling_per_s < 10_000
    (note,) = load_test._limit_notes("delay", counts)
    assert note.startswith("the client, not the endpoint, was the limit: it sent ")
    assert "of 10,000 a second" in note


def test_a_slow_endpoint_is_not_the_clients_fault():
    with instant_endpoint.running(delay_s=0.5) as url:
        counts = load_generator.send(url, BODIES, 2000, 0.5, lambda _: None)
    assert (counts.ok, counts.is_own_limit) == (1000, False)
    # 256 at a time: the last waits for the three before it, and that is told.
    assert counts.quantile_ms(0.1) >= 500
    assert counts.quantile_ms(0.99) > 1000
    assert counts.busy_share < load_generator.MOST_BUSY


def test_a_thousand_requests_a_second_are_no_work_for_the_client():
    with instant_endpoint.running() as url:
        counts = load_generator.send(url, BODIES, 1000, 1.0, lambda _: None)
    assert (counts.sent, counts.ok, counts.errors) == (1000, 1000, 0)
    assert counts.versions == {instant_endpoint.MODEL: 1000}
    assert counts.ceiling_per_s > 5000
    assert counts.cpu_s < 0.2


def test_a_busy_notebook_does_not_hold_up_the_client():
    """All that this process does meanwhile is work, under the lock that its threads share."""

    def work(counts):
        until_at = time.perf_counter() + 0.2
        while time.perf_counter() < until_at:
            sum(range(1000))

    with instant_endpoint.running() as url:
        counts = load_generator.send(url, BODIES, 500, 1.0, work)
    assert (counts.ok, counts.is_own_limit) == (500, False)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<a>", "no JSON object"),
        (b'HTTP/1.1 502 Bad\r\ncontent-length: 18\r\n\r\n{"error": "proxy"}', "proxy"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "lost"),
        (b"SSH-2.0-OpenSSH\r\n", "lost"),
    ],
)
def test_whatever_answers_is_counted_as_an_error(answer, problem):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        counts = load_generator.send(f"http://127.0.0.1:{listener.getsockname()[1]}", BODIES, 50, 0.1, lambda _: None)
        listener.shutdown(socket.SHUT_RDWR)
    assert (counts.sent, counts.ok, counts.errors) == (5, 0, 5)
    assert re.search(problem, counts.first_problem)


def test_a_client_that_somebody_ends_is_no_result():
    def end(counts):
        for pid in Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split():
            if b"load_client" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    with instant_endpoint.running() as url, pytest.raises(Failed, match="exit code -9"):
        load_generator.send(url, BODIES, 10, 60, end)


def test_waiting_for_a_slow_server_counts_as_latency(register):
    register(1, "slow")
    endpoint = deploy.start("delay", model="models:delay@1")
    slow = load_generator.send(endpoint.url, BODIES, 200, 0.2, lambda _: None)
    assert slow.quantile_ms(0.95) > 20


def test_ctrl_c_ends_the_sending():
    def interrupt(counts):
        if counts.sent:
            raise KeyboardInterrupt

    before = {*threading.enumerate()}
    counts = load_generator.send("http://127.0.0.1:9", BODIES, 0.05, 3600, interrupt)  # the next is due in 20 s
    assert (counts.interrupted, counts.sent, counts.took_s < 20) == (True, 1, True)
    assert {*threading.enumerate()} <= before  # those of other tests may end meanwhile


def test_ctrl_c_keeps_the_count_of_what_was_sent(register):
    register(1)
    endpoint = deploy.start("delay", model="models:delay@1")

    def press():
        until(lambda: deploy.show("delay").count)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(Failed, match=r"you stopped the traffic after .*: [0-9]+ sent, [0-9]+ ok, 0 refused, 0 errors"):
        deploy.run("delay", rows=DF, rate=50, for_="60s")
    last = list(open_store().events())[-1].event
    assert (last.verb, last.detail["ok"], endpoint.state) == ("deploy run", deploy.show("delay").count, "running")


def test_columns_that_the_rows_lack_are_named(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    load = deploy.run("delay", rows=DF.drop(columns="temp"), rate=50, for_="0.2s")
    assert (load.ok, load.notes) == (10, ("the rows have no temp: sent as missing",))


def test_a_rollback_in_the_middle_is_told_with_the_counts(register):
    register(1), register(2, "nan")
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2", canary="50%", rollback_if="errors > 5%")
    load = deploy.run("delay", rows=pd.DataFrame([FAR]), rate=40, for_="4s")
    assert load.errors > 0
    assert any("meanwhile models:delay@2 was rolled back by rule: errors 100 % against" in note for note in load.notes)


def test_it_ends_once_its_canary_has_lost_its_traffic(register):
    register(1), register(2, "nan")
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2", canary="50%", rollback_if="errors > 5%")
    load = deploy.run("delay", rows=pd.DataFrame([FAR]), rate=40, for_="5m", until_decided=True)
    assert load.for_s < 200
    assert any("meanwhile models:delay@2 was rolled back by rule" in note for note in load.notes)


def test_it_ends_once_its_canary_is_shown_to_be_as_good(register, workspace):
    (workspace / "aiinfra.toml").write_text("[deploy]\nlook_s = 0.5\n")
    register(1), register(2)
    deploy.start("delay", model="models:delay@1")
    deploy.start("delay", model="models:delay@2", canary="50%", rollback_if="p95_ms > 5000 or errors > 20%")
    rows = pd.concat([DF] * 4000, ignore_index=True)
    rows["distance"] = range(len(rows))  # each a key of its own
    load = deploy.run("delay", rows=rows, rate=500, for_="4m", until_decided=True)
    assert load.notes[0].startswith("the verdict on models:delay@2 is known after ")
    assert load.notes[0].endswith(": ok")
    assert load.for_s < 200
    assert deploy.promote("delay").champion == "models:delay@2"


def test_where_nothing_is_on_trial_it_sends_to_the_end(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    load = deploy.run("delay", rows=DF, rate=50, for_="2s", until_decided=True)
    assert (load.ok, load.notes) == (100, ("no version is on trial, so there is nothing to decide",))


def test_rows_of_data_go_through_the_features_of_the_model(register):
    register(1)
    trips = data.add("trips", DF[["carrier", "distance"]].assign(at=pd.Timestamp("2026-01-02", tz="UTC")))
    features.add("delay", data=trips, timestamp="at", code=HEAT)
    deploy.start("delay", model="models:delay@1")
    load = deploy.run("delay", rows=trips, rate=50, for_="0.2s")
    assert (load.ok, load.notes, load.rows[:17]) == (10, (), "features:delay@1#")
    assert {row["inputs"]["temp"] for row in deploy.log("delay").rows} == {7.0}


def test_no_frame_is_left_where_the_rows_cannot_be_sent(register, monkeypatch):
    """A frame that stays says that it runs."""
    frames = []

    class Frame:
        def __init__(self, card):
            frames.append(card)

        def update(self, card):
            frames.append(card)

        def clear(self):
            frames.append(None)

    monkeypatch.setattr(load_test, "LiveFrame", Frame)
    register(1)
    deploy.start("delay", model="models:delay@1")
    with pytest.raises(NotFound, match="no column 'carrier'"):
        deploy.run("delay", rows=DF.drop(columns="carrier"), rate=10, for_=1)
    assert frames[-1:] in ([], [None])
