"""What a model's process does with a batch: each request gets its own, and only rows at fault get an error."""

import json
import time

import pytest

from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.answering import MOST_RUNS, Answering, unanswered
from aiinfra_lab.deploy.server.messages import RawRequest

from .conftest import FAR, ROW

BAD = {**ROW, "temp": -1.0}


def call(*rows, number=0, **more):
    return RawRequest(f"r{number}", False, time.perf_counter(), json.dumps({"rows": rows, **more}).encode())


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
    replies = picky.answer([call(*rows) for rows in requests])
    assert picky.batches == [10]
    assert [scores(reply) for reply in replies] == [scores(*picky.answer([call(*rows)])) for rows in requests]
    assert [json.loads(reply.body)["request_id"] for reply in replies] == ["r0"] * 5


def test_of_forty_rows_the_poisoned_one_gets_the_error(picky):
    calls = [call(BAD if at == 17 else ROW, number=at) for at in range(40)]
    replies = picky.answer(calls)
    assert [reply.status for reply in replies] == [500 if at == 17 else 200 for at in range(40)]
    assert "below zero" in json.loads(replies[17].body)["predictions"][0]["error"]
    assert len(picky.batches) <= 2 * 6 + 1


def test_rows_of_one_request_are_told_apart_too(picky):
    [reply] = picky.answer([call(ROW, BAD, ROW)])
    assert (reply.status, reply.rows, reply.failed) == (200, 3, True)
    assert [score is None for score in scores(reply)] == [False, True, False]


def test_a_model_that_always_raises_is_not_run_for_ever(picky):
    [reply] = picky.answer([call(*[BAD] * 1000)])
    assert (reply.status, reply.rows) == (500, 1000)
    assert len(picky.batches) <= 2 * MOST_RUNS


def test_a_refused_request_leaves_the_others_alone(picky):
    replies = picky.answer([call(ROW), call({"temp": 1}), RawRequest("r", False, 0.0, b"{"), call(ROW)])
    assert [reply.status for reply in replies] == [200, 422, 400, 200]
    assert [(reply.rows, reply.lines) for reply in replies[1:3]] == [(0, b""), (0, b"")]


def test_the_log_gets_a_line_for_each_row(artifacts):
    answering = Answering(model.load("models:delay@1", artifacts("nan")))
    [reply] = answering.answer([call(ROW, {**FAR, "row_id": "far"})])
    good, bad = (json.loads(line) for line in reply.lines.splitlines())
    assert (good["outputs"], good["inputs"], good["row_id"]) == ({"score": scores(reply)[0]}, ROW, "r0-0")
    assert (bad["outputs"], bad["row_id"], "not finite" in bad["error"]) == (None, "far", True)
    assert good["latency_ms"] > 0


@pytest.mark.parametrize("body", [b"{", b'{"rows":7}', b'{"rows":[1]}', b"\xff", b'{"columns":{}}'])
def test_a_lost_request_is_answered_whatever_it_is_made_of(body):
    reply = unanswered(RawRequest("r", True, 0.0, body), "models:delay@1", ("score",), "it died", 500)
    assert (reply.status, reply.failed, b"it died" in reply.body) == (500, True, True)


def test_the_rows_of_a_lost_request_are_logged_as_they_came():
    reply = unanswered(call({**ROW, "row_id": "mine"}, ROW), "models:delay@1", ("score",), "it died", 500)
    first, second = (json.loads(line) for line in reply.lines.splitlines())
    assert (first["inputs"], first["row_id"], first["outputs"], first["error"]) == (ROW, "mine", None, "it died")
    assert (second["row_id"], reply.rows) == ("r0-1", 2)
