"""What a model's process does with a batch: each request gets its own, and only rows at fault get an error."""

import json
import time

import pytest

from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.answering import MOST_RUNS, Answering, unanswered
from aiinfra_lab.deploy.server.messages import RawRequest
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, newest

from .conftest import FAR, ROW

BAD = {**ROW, "temp": -1.0}


def raw_request(*rows, number=0, **more):
    return RawRequest(f"r{number}", "champion", time.perf_counter(), json.dumps({"rows": rows, **more}).encode())


@pytest.fixture
def picky(artifacts):
    """Answers, by a model that raises when a row of a batch has a temperature below 0; remembers its batches."""
    loaded = model.load("models:delay@1", artifacts("plain"))
    predict, answering = loaded.predict, Answering(loaded)
    answering.batches = []

    def raising(values):
        answering.batches.append(len(values))
        if any(row[1] is not None and row[1] < 0 for row in values):
            raise ValueError("below zero")
        return predict(values)

    loaded.predict = raising
    return answering


def scores(reply):
    return [row["score"] for row in json.loads(reply.body)["predictions"]]


def test_requests_that_come_together_run_together_and_each_gets_its_own(picky):
    requests = [[{**ROW, "temp": at}, {**ROW, "temp": at + 0.5}] for at in range(5)]
    replies = picky.answer([raw_request(*rows) for rows in requests])
    assert picky.batches == [10]
    assert [scores(reply) for reply in replies] == [scores(*picky.answer([raw_request(*rows)])) for rows in requests]
    assert [json.loads(reply.body)["request_id"] for reply in replies] == ["r0"] * 5


def test_of_forty_rows_the_poisoned_one_gets_the_error(picky):
    requests = [raw_request(BAD if at == 17 else ROW, number=at) for at in range(40)]
    replies = picky.answer(requests)
    assert [reply.status for reply in replies] == [500 if at == 17 else 200 for at in range(40)]
    assert "below zero" in json.loads(replies[17].body)["predictions"][0]["error"]
    assert len(picky.batches) <= 2 * 6 + 1


def test_rows_of_one_request_are_told_apart_too(picky):
    [reply] = picky.answer([raw_request(ROW, BAD, ROW)])
    assert (reply.status, reply.rows, reply.failed) == (200, 3, True)
    assert [score is None for score in scores(reply)] == [False, True, False]


def test_a_model_that_always_raises_is_not_run_for_ever(picky):
    [reply] = picky.answer([raw_request(*[BAD] * 1000)])
    assert (reply.status, reply.rows) == (500, 1000)
    assert len(picky.batches) <= 2 * MOST_RUNS


def test_a_refused_request_leaves_the_others_alone(picky):
    replies = picky.answer(
        [raw_request(ROW), raw_request({"temp": 1}), RawRequest("r", "champion", 0.0, b"{"), raw_request(ROW)]
    )
    assert [reply.status for reply in replies] == [200, 422, 400, 200]
    assert [(reply.rows, reply.lines) for reply in replies[1:3]] == [(0, b""), (0, b"")]


def test_the_log_gets_a_line_for_each_row(artifacts):
    answering = Answering(model.load("models:delay@1", artifacts("nan")))
    [reply] = answering.answer([raw_request(ROW, {**FAR, "row_id": "far"})])
    good, bad = (json.loads(line) for line in reply.lines.splitlines())
    assert (good["outputs"], good["inputs"], good["row_id"]) == ({"score": scores(reply)[0]}, ROW, "r0-0")
    assert (bad["outputs"], bad["row_id"], "not finite" in bad["error"]) == (None, "far", True)
    assert good["latency_ms"] > 0


def test_columns_are_answered_as_columns_and_logged_as_rows(picky, artifacts, tmp_path):
    rows = [{**ROW, "temp": 1.0}, BAD, {**ROW, "temp": 2.0}]
    columns = {name: [row[name] for row in rows] for name in ROW}
    raw = RawRequest("r0", "canary", time.perf_counter(), json.dumps({"columns": columns}).encode())
    [reply], [as_rows] = picky.answer([raw]), picky.answer([raw_request(*rows)])
    answer = json.loads(reply.body)
    assert answer["columns"] == {"score": scores(as_rows)}
    assert ([*answer["errors"]], reply.rows, reply.failed) == (["1"], 3, True)
    log = PredictionsLog(tmp_path / "log", 1e9)
    log.add(reply.lines, reply.rows)
    log.close()
    logged = newest(tmp_path / "log", 10)[::-1]
    assert [line["inputs"] for line in logged] == rows
    assert [(line["outputs"] or {}).get("score") for line in logged] == answer["columns"]["score"]
    assert [line["row_id"] for line in logged] == ["r0-0", "r0-1", "r0-2"]
    assert [line["arm"] for line in logged] == ["canary"] * 3
    assert "below zero" in logged[1]["error"]


@pytest.mark.parametrize("body", [b"{", b'{"rows":7}', b'{"rows":[1]}', b"\xff", b'{"columns":{}}'])
def test_a_lost_request_is_answered_whatever_it_is_made_of(body):
    reply = unanswered(RawRequest("r", "canary", 0.0, body), "models:delay@1", ("score",), "it died", 500)
    assert (reply.status, reply.failed, b"it died" in reply.body) == (500, True, True)


def test_lost_columns_are_answered_as_columns():
    body = json.dumps({"columns": {name: [value] * 2 for name, value in ROW.items()}}).encode()
    reply = unanswered(RawRequest("r0", "canary", 0.0, body), "models:delay@1", ("score",), "it died", 500)
    answer = json.loads(reply.body)
    assert (answer["columns"], answer["errors"]) == ({"score": [None, None]}, {"0": "it died", "1": "it died"})
    assert (reply.rows, b'"columns"' in reply.lines) == (2, True)


def test_the_rows_of_a_lost_request_are_logged_as_they_came():
    reply = unanswered(raw_request({**ROW, "row_id": "mine"}, ROW), "models:delay@1", ("score",), "it died", 500)
    first, second = (json.loads(line) for line in reply.lines.splitlines())
    assert (first["inputs"], first["row_id"], first["outputs"], first["error"]) == (ROW, "mine", None, "it died")
    assert (second["row_id"], reply.rows) == ("r0-1", 2)
