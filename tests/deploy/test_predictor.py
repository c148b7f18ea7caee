"""What an endpoint does with a request, without sockets: which version, what answer, what is counted and logged."""

import asyncio
import json
import math
from collections import Counter

import pytest

from aiinfra_lab.deploy.agreement import agreements
from aiinfra_lab.deploy.server import predictor as predicting
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.judge import Judge
from aiinfra_lab.deploy.server.model import NOT_FINITE
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, newest
from aiinfra_lab.deploy.server.predictor import NO_OPTIONS, Predictor, RequestOptions, key_position
from aiinfra_lab.features.contract import Columns
from aiinfra_lab.stats.bounds import parse_bounds
from tests.fakes import inline_workers
from tests.fakes.inline_workers import served

from .conftest import FAR, ROW


@pytest.fixture
def ask(tmp_path, artifacts):
    """Gives `ask(routes, *bodies)`: each body's (status, answer); `routes` maps a Routes field to a kind of model."""

    def asked(routes, *bodies, options=NO_OPTIONS):
        async def run():
            predictor = Predictor(PredictionsLog(tmp_path / "log", 1e9), asyncio.get_running_loop())
            for role in ("champion", "canary", "shadow"):
                if kind := routes.get(role):
                    routes[role] = served(predictor, f"models:{role}@1", artifacts(kind))
            routes["candidates"] = [
                (served(predictor, f"models:candidate@{at}", artifacts("plain")), share)
                for at, share in enumerate(routes.get("candidates", ()))
            ]
            predictor.routes = inline_workers.routes(**routes)
            answers = []
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                predictor.predict(data, lambda status, answer: answers.append((status, json.loads(answer))), options)
            while len(answers) < len(bodies) or predictor.shadowing:
                await asyncio.sleep(0.001)
            predictor.log.close()
            return answers, predictor

        return asyncio.run(run())

    return asked


def test_an_answer_names_request_version_and_rows(ask):
    [(status, answer)], _ = ask({"champion": "plain"}, {"rows": [ROW, {**ROW, "row_id": "mine"}]})
    assert (status, answer["model"]) == (200, "models:champion@1")
    assert [item["row_id"] for item in answer["predictions"]] == [f"{answer['request_id']}-0", "mine"]
    assert answer["predictions"][0]["score"] == pytest.approx(1 / (1 + math.exp(-0.02)))


def test_a_row_without_a_score_is_null_and_an_error_and_the_others_are_answered(ask, tmp_path):
    [(status, answer)], predictor = ask({"champion": "nan"}, {"rows": [ROW, FAR]})
    assert status == 200
    assert [item["score"] is None for item in answer["predictions"]] == [False, True]
    assert answer["predictions"][1]["error"] == NOT_FINITE
    assert predictor.counts["models:champion@1"].errors == 1
    assert newest(tmp_path / "log", 1)[0]["error"] == NOT_FINITE


def test_a_request_of_which_no_row_has_a_score_is_a_500(ask):
    [(status, answer)], _ = ask({"champion": "nan"}, {"rows": [FAR]})
    assert status == 500
    assert answer["predictions"][0]["score"] is None


def test_what_is_logged_is_what_was_answered(ask, tmp_path):
    [(_, answer)], _ = ask({"champion": "plain"}, {"rows": [{**ROW, "row_id": "mine"}]})
    [line] = newest(tmp_path / "log", 10)
    assert line["inputs"] == ROW
    assert (line["request_id"], line["row_id"]) == (answer["request_id"], "mine")
    assert line["outputs"] == {"score": answer["predictions"][0]["score"]}
    assert line["latency_ms"] > 0


def test_refusals_are_counted_and_not_logged(ask, tmp_path):
    answers, predictor = ask({"champion": "plain"}, {"rows": [{"temp": 1}]}, b"{", {"rows": [ROW]})
    assert [status for status, _ in answers] == [422, 400, 200]
    assert predictor.refused == {422: 1, 400: 1}
    assert len(newest(tmp_path / "log", 10)) == 1


def test_an_endpoint_without_a_version_says_so(ask):
    [(status, answer)], _ = ask({}, {"rows": [ROW]})
    assert status == 503
    assert "not ready" in answer["error"]["what"]


def test_keys_in_a_canary_stay_in_it_when_its_share_grows():
    keys = [str(number) for number in range(5000)]
    small, large = ({key for key in keys if key_position("salt", key) < share} for share in (0.05, 0.2))
    assert small < large


def test_places_are_even_and_another_salt_deals_anew():
    places = [key_position("salt", str(number)) for number in range(20_000)]
    assert 0.04 < sum(at < 0.05 for at in places) / len(places) < 0.06
    both = sum(key_position("other", str(number)) < 0.05 for number, at in enumerate(places) if at < 0.05)
    assert both / sum(at < 0.05 for at in places) < 0.1


def test_the_canary_gets_its_share_within_binomial_bounds(ask):
    bodies = [{"rows": [ROW], "key": number} for number in range(2000)]
    answers, _ = ask({"champion": "plain", "canary": "plain", "share": 0.2, "salt": "s"}, *bodies)
    got = sum(answer["model"] == "models:canary@1" for _, answer in answers)
    assert abs(got - 400) < 4 * math.sqrt(2000 * 0.2 * 0.8)


def test_a_key_is_always_answered_by_the_same_version(ask):
    bodies = [{"rows": [ROW], "key": "one"}, {"rows": [ROW], "key": "two"}] * 20
    answers, _ = ask({"champion": "plain", "canary": "plain", "share": 0.5, "salt": "s"}, *bodies)
    models = [answer["model"] for _, answer in answers]
    assert len(set(models[0::2])) == len(set(models[1::2])) == 1


def test_without_a_champion_the_canary_serves_everything(ask):
    answers, predictor = ask({"canary": "plain", "share": 0.05}, *[{"rows": [ROW]}] * 50)
    assert {answer["model"] for _, answer in answers} == {"models:canary@1"}
    assert predictor.routes.canary_share == 1.0


def test_the_judge_sees_what_both_versions_do(ask):
    judge = Judge(parse_bounds("errors > 1%"), share=0.5, salt="s", champion=Counts())
    routes = {"champion": "plain", "canary": "nan", "share": 0.5, "salt": "s", "judge": judge}
    answers, _ = ask(routes, *[{"rows": [FAR], "key": number} for number in range(100)])
    failed = sum(status == 500 for status, _ in answers)
    assert (judge.requests, judge.unanswered) == (failed, failed)
    verdict = judge.evaluate()
    assert (verdict.state, verdict.reasons[0][:10]) == ("breach", "errors 100")
    assert (verdict.measures[0].canary, verdict.measures[0].champion) == (failed, 100 - failed)
    assert judge.open == {}


def test_a_canary_that_gives_no_score_has_no_latency_to_be_judged_by(ask):
    judge = Judge(parse_bounds("p95_ms > 1000"))
    ask({"canary": "nan", "judge": judge}, *[{"rows": [FAR]}] * 200)
    assert (judge.evaluate().state, judge.judged, judge.unanswered) == ("undecided", 0, 200)


def test_rows_that_only_the_canary_refuses_are_its_errors_and_the_champion_answers_them(ask, artifacts, tmp_path):
    picky = tmp_path / "picky"
    picky.mkdir()
    for path in artifacts("plain").iterdir():
        (picky / path.name).write_bytes(path.read_bytes())
    text = (picky / "columns.json").read_text().replace('"required": false', '"required": true')
    assert Columns.from_json(text).columns[1].required
    (picky / "columns.json").write_text(text)
    judge = Judge(parse_bounds("errors > 1% or p95_ms > 500"), champion=Counts())
    lacking = {"carrier": "AA", "distance": 100}

    async def run():
        predictor, answers = Predictor(PredictionsLog(tmp_path / "log", 1e9), asyncio.get_running_loop()), []
        versions = [served(predictor, uri, path) for uri, path in (("a", artifacts("plain")), ("b", picky))]
        predictor.routes = inline_workers.routes(versions[0], versions[1], 1.0, "s", judge=judge)
        for row in (lacking, {"carrier": 5.5}):
            predictor.predict(json.dumps({"rows": [row]}).encode(), lambda status, body: answers.append((status, body)))
        while len(answers) < 2:
            await asyncio.sleep(0.001)
        predictor.log.close()
        return dict(answers)

    answers = asyncio.run(run())
    assert json.loads(answers[200])["model"] == "a"
    assert 422 in answers
    # What the champion refuses as well is the client's error, and what it answered for the canary is none of its own.
    assert (judge.requests, judge.unanswered, judge.open) == (1, 1, {})


# ---- further arms ----


def test_candidates_get_their_shares_and_keep_their_keys_while_a_canary_grows(ask):
    bodies = [{"rows": [{**ROW, "row_id": str(number)}], "key": number} for number in range(2000)]
    shares = {"champion": "plain", "canary": "plain", "salt": "s", "candidates": [0.2, 0.1]}
    few, many = (ask({**shares, "share": share}, *bodies)[0] for share in (0.05, 0.5))
    for answers, share in ((few, 0.05), (many, 0.5)):
        got = Counter(answer["model"] for _, answer in answers)
        expected = {"canary@1": share, "candidate@0": 0.2, "candidate@1": 0.1, "champion@1": 0.7 - share}
        for name, part in expected.items():
            assert abs(got[f"models:{name}"] - 2000 * part) < 4 * math.sqrt(2000 * part * (1 - part))
    before, after = (
        {answer["predictions"][0]["row_id"]: answer["model"] for _, answer in answers} for answers in (few, many)
    )
    assert all(after[key] == model for key, model in before.items() if model != "models:champion@1")


def test_a_candidate_says_nothing_about_the_canary(ask):
    judge = Judge(parse_bounds("errors > 1%"), share=0.5, salt="s", champion=Counts())
    routes = {"champion": "plain", "canary": "plain", "share": 0.3, "salt": "s", "judge": judge, "candidates": [0.4]}
    answers, _ = ask(routes, *[{"rows": [ROW], "key": number} for number in range(200)])
    got = Counter(answer["model"] for _, answer in answers)
    first = judge.evaluate().measures[0]
    assert (first.canary, first.champion) == (got["models:canary@1"], got["models:champion@1"])


def test_a_shadow_is_asked_the_same_and_answers_nobody(ask, tmp_path):
    routes = {"champion": "plain", "shadow": "plain"}
    answers, predictor = ask(routes, *[{"rows": [{**ROW, "row_id": str(number)}]} for number in range(20)])
    assert {answer["model"] for _, answer in answers} == {"models:champion@1"}
    assert (predictor.counts["models:shadow@1"].shadowed.requests, predictor.counts["models:champion@1"].requests) == (
        20,
        20,
    )
    assert predictor.counts["models:shadow@1"].requests == 0  # by what it did as a shadow nobody is judged
    lines = newest(tmp_path / "log", 100)
    assert Counter((line["model"], line["arm"]) for line in lines) == {
        ("models:champion@1", "champion"): 20, ("models:shadow@1", "shadow"): 20,
    }  # fmt: skip
    [agreement] = agreements(lines)
    assert (agreement.output, agreement.rows, agreement.same, agreement.largest) == ("score", 20, 20, 0.0)


def test_a_shadow_that_fails_or_refuses_harms_nobody(ask, tmp_path):
    [(status, _)], predictor = ask({"champion": "plain", "shadow": "nan"}, {"rows": [FAR]})
    assert (status, predictor.counts["models:shadow@1"].shadowed.errors, predictor.refused) == (200, 1, {})
    [agreement] = agreements(newest(tmp_path / "log", 100))
    assert (agreement.rows, agreement.same, agreement.largest) == (1, 0, None)


def test_a_shadow_that_is_behind_is_spared_requests(ask, monkeypatch):
    monkeypatch.setattr(predicting, "MOST_SHADOWING", 3)
    _, predictor = ask({"champion": "plain", "shadow": "plain"}, *[{"rows": [ROW]}] * 20)
    assert (predictor.counts["models:shadow@1"].shadowed.requests, predictor.shadow_skipped) == (3, 17)
    assert predictor.counts["models:champion@1"].requests == 20


def test_who_names_a_version_gets_it_and_is_not_judged(ask):
    judge = Judge(None, share=0.01, salt="s", champion=Counts())
    routes = {"champion": "plain", "canary": "plain", "share": 0.01, "salt": "s", "judge": judge}
    answers, _ = ask(routes, *[{"rows": [ROW], "key": 1}] * 5, options=RequestOptions("models:canary@1"))
    assert {answer["model"] for _, answer in answers} == {"models:canary@1"}
    assert (judge.requests, judge.open) == (0, {})


def test_a_version_that_does_not_serve_cannot_be_named(ask):
    [(status, answer)], predictor = ask(
        {"champion": "plain"}, {"rows": [ROW]}, options=RequestOptions("models:" + "x" * 9000)
    )
    assert (status, predictor.refused) == (404, {404: 1})
    assert answer["error"]["what"].endswith("does not serve here; what does: models:champion@1")
    assert len(answer["error"]["what"]) < 250


def test_a_probe_is_answered_by_its_key_and_not_judged(ask):
    judge = Judge(None, share=0.5, salt="s", champion=Counts())
    routes = {"champion": "plain", "canary": "plain", "share": 0.5, "salt": "s", "judge": judge}
    bodies = [{"rows": [ROW], "key": number} for number in range(50)]
    answers, predictor = ask(routes, *bodies, options=RequestOptions(is_judged=False))
    assert len({answer["model"] for _, answer in answers}) == 2
    assert (judge.requests, sum(counts.requests for counts in predictor.counts.values())) == (0, 50)
