"""Under load: no request fails through a swap, a stop loses no row, and the sender tells what it saw."""

import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from aiinfra_lab import deploy
from aiinfra_lab.deploy import client, lifecycle, predictions_log, traffic
from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.store import open_store

from .conftest import DF, FAR, ROW

BODIES = [json.dumps({"rows": [ROW], "key": number}).encode() for number in range(50)]


class Sending:
    """Traffic in the background of a test."""

    def __init__(self, url: str, rate: float, for_s: float) -> None:
        self.thread = threading.Thread(target=self._send, args=(url, rate, for_s))
        self.thread.start()

    def _send(self, url, rate, for_s):
        self.tally = traffic.send(url, BODIES, rate, for_s, lambda _: None)

    def result(self):
        self.thread.join()
        return self.tally


def test_no_request_fails_while_versions_are_swapped(register):
    for version in range(1, 5):
        register(version)
    endpoint = deploy.start("delay", model="models:delay@1")
    sending = Sending(endpoint.url, rate=300, for_s=3)
    for version in (2, 3, 4):
        deploy.start("delay", model=f"models:delay@{version}")
    tally = sending.result()
    assert (tally.ok, tally.errors, tally.refused) == (tally.sent, 0, 0)
    assert tally.sent == 900
    assert set(tally.versions) == {f"models:delay@{version}" for version in range(1, 5)}


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
        while deploy.show("delay").count < 100:
            time.sleep(0.01)
        stopped = deploy.stop("delay")
        answered = sum(future.result() for future in asking)
    folder = lifecycle.log_folder(open_store().get("deploy", "delay"))
    assert len(predictions_log.newest(folder, 1 << 20)) == answered == stopped.count


def test_deploy_run_sends_rows_and_says_what_came_back(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    load = deploy.run("delay", rows=DF, rate=100, for_="1s", batch=2)
    assert (load.sent, load.ok, load.errors, load.refused) == (100, 100, 0, 0)
    assert load.versions == {"models:delay@1": 100}
    assert load.rows.startswith("data:")
    assert 0 < load.p50_ms <= load.p95_ms <= load.p99_ms
    assert deploy.show("delay").count == 200
    told = [item.event for item in open_store().events() if item.event.verb == "deploy run"]
    assert [(event.inputs, event.detail["ok"]) for event in told] == [((load.rows,), 100)]
    with pytest.raises(NotFound, match="distance"):
        deploy.run("delay", rows=DF.drop(columns="distance"))
    with pytest.raises(UsageProblem):
        deploy.run("delay", rows=DF, rate=0)


def test_traffic_that_gets_no_score_fails_with_the_first_problem(register):
    register(1, "nan")
    deploy.start("delay", model="models:delay@1")
    with pytest.raises(Failed, match="no finite score"):
        deploy.run("delay", rows=pd.DataFrame([FAR]), rate=50, for_="1s")


def test_no_traffic_to_what_does_not_run(register):
    register(1)
    deploy.start("delay", model="models:delay@1")
    deploy.stop("delay")
    with pytest.raises(NotFound, match="not running"):
        deploy.run("delay", rows=DF)


def test_a_server_that_is_gone_is_told_as_errors():
    tally = traffic.send("http://127.0.0.1:9", BODIES, 100, 0.2, lambda _: None)
    assert (tally.sent, tally.errors) == (20, 20)
    assert "lost" in tally.first_problem


def test_waiting_for_a_slow_server_counts_as_latency(register):
    register(1, "slow")
    endpoint = deploy.start("delay", model="models:delay@1")
    slow = traffic.send(endpoint.url, BODIES, 200, 0.2, lambda _: None)
    assert slow.quantile_ms(0.95) > 20


def test_ctrl_c_ends_the_sending():
    def interrupt(tally):
        if tally.sent:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        traffic.send("http://127.0.0.1:9", BODIES, 20, 3600, interrupt)
    assert threading.active_count() == before
