"""What a model's process does with a batch: each request gets its own, and only rows at fault get an error."""

import json
import time

import pytest

from aiinfra_lab.deploy.server import model
from aiinfra_lab.deploy.server.answering import MOST_RUNS, Answering, ReplyWriter, unanswered
from aiinfra_lab.deploy.server.messages import RawRequest
from aiinfra_lab.deploy.server.model import Answered
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, newest
from aiinfra_lab.deploy.server.rows import MANY_ROWS, Parsed, logged_request

from .conftest import FAR, ROW

BAD = {**ROW, "temp": -1.0}


def raw_request(*rows, number=0, **more):
    return RawRequest(f"r{number}", time.perf_counter(), json.dumps({"rows": rows, **more}).encode())


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
    replies = picky.answer([raw_request(ROW), raw_request({"temp": 1}), RawRequest("r", 0.0, b"{"), raw_request(ROW)])
    assert [reply.status for reply in replies] == [200, 422, 400, 200]
    assert [reply.rows for reply in replies] == [1, 0, 0, 1]


def logged(folder, raw, reply):
    """The rows of that request in the log, the first one first."""
    log = PredictionsLog(folder / "log", 1e9)
    log.add("canary", 0.5, reply.logged_request or raw.body, reply.logged_answer or reply.body, reply.rows)
    log.close()
    return newest(folder / "log", 10_000)[::-1]


def test_the_log_has_each_row(artifacts, tmp_path):
    answering = Answering(model.load("models:delay@1", artifacts("nan")))
    raw = raw_request(ROW, {**FAR, "row_id": "far"})
    [reply] = answering.answer([raw])
    good, bad = logged(tmp_path, raw, reply)
    assert (good["outputs"], good["inputs"], good["row_id"]) == ({"score": scores(reply)[0]}, ROW, "r0-0")
    assert (bad["outputs"], bad["row_id"], "not finite" in bad["error"]) == (None, "far", True)


@pytest.mark.parametrize("more", [0, MANY_ROWS])
def test_columns_are_answered_as_columns_and_logged_as_rows(picky, tmp_path, more):
    rows = [{**ROW, "temp": 1.0}, BAD, *({**ROW, "temp": at} for at in range(more + 1))]
    columns = {name: [row[name] for row in rows] for name in ROW}
    raw = RawRequest("r0", time.perf_counter(), json.dumps({"columns": columns}, indent=1).encode())
    [reply, others] = picky.answer([raw, raw_request(ROW)])
    [as_rows] = picky.answer([raw_request(*rows)])
    answer = json.loads(reply.body)
    assert answer["columns"] == {"score": scores(as_rows)}
    assert scores(others) == scores(*picky.answer([raw_request(ROW)]))
    assert ([*answer["errors"]], reply.rows, reply.failed) == (["1"], len(rows), True)
    found = logged(tmp_path, raw, reply)
    assert [line["inputs"] for line in found] == rows
    assert [(line["outputs"] or {}).get("score") for line in found] == answer["columns"]["score"]
    assert [line["row_id"] for line in found] == [f"r0-{at}" for at in range(len(rows))]
    assert [line["arm"] for line in found] == ["canary"] * len(rows)
    assert "below zero" in found[1]["error"]


def test_of_a_long_text_the_log_has_the_beginning(tmp_path):
    reply = ReplyWriter("models:words@1", ("reply",), has_texts=True)
    raw = raw_request({"text": "late " * 50_000, "x": 1.0})
    body = json.loads(raw.body)
    answered = Answered({"reply": ["no " * 1000]}, {})
    [row] = logged(tmp_path, raw, reply.reply(raw, Parsed([()], [None], logged=logged_request(body)), answered))
    assert row["inputs"]["text"] == {"begins": "late " * 400, "characters": 250_000, "words": 50_000}
    assert (row["inputs"]["x"], row["outputs"]["reply"]["characters"]) == (1.0, 3000)


@pytest.mark.parametrize(
    "body", [b"{", b'{"rows":7}', b'{"rows":[1]}', b"\xff", b'{"columns":{}}', b'{"columns":{"a":[1],"b":[1,2]}}']
)
def test_a_lost_request_is_answered_whatever_it_is_made_of(body):
    reply = unanswered(RawRequest("r", 0.0, body), "models:delay@1", ("score",), "it died", 500)
    assert (reply.status, reply.failed, b"it died" in reply.body) == (500, True, True)


def test_lost_columns_are_answered_as_columns(tmp_path):
    body = json.dumps({"columns": {name: [value] * 2 for name, value in ROW.items()}}).encode()
    raw = RawRequest("r0", 0.0, body)
    reply = unanswered(raw, "models:delay@1", ("score",), "it died", 500)
    answer = json.loads(reply.body)
    assert (answer["columns"], answer["errors"]) == ({"score": [None, None]}, {"0": "it died", "1": "it died"})
    assert [(row["inputs"], row["error"]) for row in logged(tmp_path, raw, reply)] == [(ROW, "it died")] * 2


def test_the_rows_of_a_lost_request_are_logged_as_they_came(tmp_path):
    raw = raw_request({**ROW, "row_id": "mine"}, ROW)
    first, second = logged(tmp_path, raw, unanswered(raw, "models:delay@1", ("score",), "it died", 500))
    assert (first["inputs"], first["row_id"], first["outputs"], first["error"]) == (ROW, "mine", None, "it died")
    assert second["row_id"] == "r0-1"
