"""The REST of the Jupyter server, spoken to a real one."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab import jobs
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.jupyter import calls
from aiinfra_lab.jupyter.items import CALL, ENDED_SHOWN, ItemFeed
from aiinfra_lab.store import Record, open_store
from tests.browser.serving import Served, serve
from tests.conftest import PATIENCE_S, until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("root")
    (root / "aiinfra.toml").touch()
    served = serve("jupyter_server", tmp_path_factory.mktemp("server"), root)
    yield served
    served.stop()


@pytest.fixture
def here(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The server, and this process in the same workspace; whatever the test started is ended."""
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(server.root))
    yield server
    for job in jobs.ls(live=True):
        jobs.cancel(job.id)
        if job.supervised:
            jobs.wait(job.id, timeout_s=PATIENCE_S)


def running(subject: str) -> jobs.Job:
    job = jobs.start(subject, SLEEP)
    until(lambda: jobs.poll(job.id).state == "running", "the job does not run")
    return job


def items(server: Served, since: int = 0) -> tuple[int, dict[str, dict[str, Any]]]:
    status, answer, _ = server.call("GET", f"/aiinfra/items?since={since}")
    assert status == 200
    return answer["rev"], {item["uri"]: item for item in answer["items"]}


# ---- what lives ----


def test_a_running_job_is_an_item_that_can_be_stopped(here: Served) -> None:
    job = running("deploy:delay")
    item = items(here)[1]["deploy:delay"]
    assert (item["noun"], item["name"], item["state"], item["stoppable"], item["job"]) == (
        *("deploy", "delay", "running", True),
        job.id,
    )
    assert abs(item["since"] - time.time()) < 30


def test_nothing_is_repeated_until_something_changes(here: Served) -> None:
    job = running("gpu:trainer")
    rev, _ = items(here)
    assert items(here, rev) == (rev, {})
    jobs.cancel(job.id)
    newer, changed = items(here, rev)
    assert newer > rev
    assert set(changed) == {"gpu:trainer"}


def test_the_deadline_is_told(here: Served) -> None:
    jobs.start("gpu:short", SLEEP, deadline_s=60)
    assert 0 < items(here)[1]["gpu:short"]["deadline"] - time.time() < 61


def test_a_revision_from_another_store_brings_everything(here: Served) -> None:
    running("gpu:again")
    assert "gpu:again" in items(here, 10**9)[1]


def test_the_newest_is_first(here: Served) -> None:
    running("gpu:one")
    running("gpu:two")
    _, answer, _ = here.call("GET", "/aiinfra/items?since=0")
    assert [item["name"] for item in answer["items"]][:2] == ["two", "one"]


def test_a_process_found_dead_surfaces_although_nothing_was_written(here: Served) -> None:
    body = {"subject": "train:gone@1", "state": "running", "started_at": time.time(), "supervised": False}
    open_store().commit([Record.new("train-gone-1", JobRecord(**{**body, "pid": 2**22 - 1, "born": 1.0}))])
    item = items(here)[1]["train:gone@1"]
    assert (item["state"], item["stoppable"]) == ("lost", False)


@pytest.mark.parametrize("since", ["-1", "x", "1e3", "%00", "9" * 40])
def test_a_revision_that_is_none_is_refused(here: Served, since: str) -> None:
    status, answer, _ = here.call("GET", f"/aiinfra/items?since={since}")
    assert status == 400
    assert answer["fix"]


def test_only_so_many_ended_things_are_shown(workspace: Path) -> None:
    store = open_store()
    for number in range(ENDED_SHOWN + 5):
        body = {"subject": f"train:a@{number + 1}", "state": "done", "started_at": 0, "ended_at": time.time() + number}
        store.commit([Record.new(f"train-a-{number}", JobRecord(**body))])
    old = {"subject": "train:old@1", "state": "done", "started_at": 0, "ended_at": 1}
    store.commit([Record.new("train-old", JobRecord(**old))])
    shown = {item.uri for item in ItemFeed(store).look()}
    assert len(shown) == ENDED_SHOWN
    assert "train:a@25" in shown
    assert "train:old@1" not in shown


def test_a_root_without_a_workspace_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    served = serve("jupyter_server", tmp_path / "server", root)
    try:
        status, answer, _ = served.call("GET", "/aiinfra/items")
        assert (status, answer["items"], "lab start" in answer["hint"]) == (200, [], True)
        assert list(root.iterdir()) == []
        (root / "aiinfra.toml").touch()
        _, answer, _ = served.call("GET", "/aiinfra/items")
        assert (answer["workspace"], answer["items"], len(answer["steps"])) == ("root", [], 2)
        assert [path.name for path in root.iterdir()] == ["aiinfra.toml"], "looking must make nothing"
    finally:
        served.stop()


# ---- one thing ----


def test_one_thing_is_told_by_its_uri_and_one_start_of_it_by_its_job(here: Served) -> None:
    job = running("deploy:delay")
    status, answer, _ = here.call("GET", "/aiinfra/items/deploy%3Adelay")
    assert (status, answer["facts"][0]["label"], answer["log"]) == (200, "started", "")
    assert here.call("GET", f"/aiinfra/items/deploy%3Adelay?job={job.id}")[:2] == (status, answer)


@pytest.mark.parametrize(("uri", "status"), [("train%3Anone%401", 404), ("none", 400), ("a%3Ab", 400), ("x%2Fy", 400)])
def test_what_is_not_there_says_how_to_find_it(here: Served, uri: str, status: int) -> None:
    running("deploy:delay")
    found, answer, _ = here.call("GET", f"/aiinfra/items/{uri}")
    assert (found, bool(answer["what"]), bool(answer["fix"])) == (status, True, True)


def test_the_price_an_hour_is_told_and_first_steps_where_nothing_runs(here: Served) -> None:
    running("deploy:delay")
    _, answer, _ = here.call("GET", "/aiinfra/items?since=0")
    assert (answer["usd_per_hour"], answer["is_least"], "steps" in answer) == (0.0, False, False)


# ---- stop ----


def test_stop_is_written_at_once_and_ends_the_job(here: Served) -> None:
    job = running("deploy:delay")
    status, answer, _ = here.call("POST", "/aiinfra/deploy/stop", {"args": ["delay"]})
    assert (status, answer) == (200, {"stopping": [job.id]})
    assert jobs.poll(job.id).stop_requested_at
    assert jobs.wait(job.id, timeout_s=PATIENCE_S).state == "stopped"


def test_stop_takes_a_uri_and_one_version(here: Served) -> None:
    third, fourth = running("train:delay@3"), running("train:delay@4")
    status, answer, _ = here.call("POST", "/aiinfra/train/stop", {"args": ["train:delay@3"]})
    assert (status, answer["stopping"]) == (200, [third.id])
    assert jobs.poll(fourth.id).stop_requested_at is None


def test_stop_of_what_does_not_live_is_404_with_a_suggestion(here: Served) -> None:
    running("deploy:delay")
    status, answer, _ = here.call("POST", "/aiinfra/deploy/stop", {"args": ["delya"]})
    assert (status, answer["error"], answer["fix"]) == (404, "NotFound", "did you mean delay?")


@pytest.mark.parametrize("body", [{}, {"args": []}, {"args": ["a", "b"]}, {"args": ["a"], "flags": {"now": True}}])
def test_stop_wants_one_name(here: Served, body: Any) -> None:
    status, answer, _ = here.call("POST", "/aiinfra/deploy/stop", body)
    assert status == 400
    assert answer["fix"]


# ---- other verbs are jobs ----


def test_a_verb_runs_as_a_job_whose_answer_is_its_json(here: Served) -> None:
    status, answer, _ = here.call("POST", "/aiinfra/lab/show", {"args": [], "flags": {}})
    assert status == 202
    jobs.wait(answer["job"], timeout_s=PATIENCE_S)
    status, answer, _ = here.call("GET", f"/aiinfra/jobs/{answer['job']}")
    assert (status, answer["state"], answer["error"]) == (200, "done", None)
    assert isinstance(answer["result"], dict)


def test_the_error_of_a_verb_comes_with_its_fix(here: Served) -> None:
    _, answer, _ = here.call("POST", "/aiinfra/lab/show", {"flags": {"colour": "red"}})
    jobs.wait(answer["job"], timeout_s=PATIENCE_S)
    _, answer, _ = here.call("GET", f"/aiinfra/jobs/{answer['job']}")
    assert (answer["state"], answer["result"], answer["error"]["error"]) == ("failed", None, "UsageProblem")
    assert "--colour" in answer["error"]["what"]
    assert answer["error"]["fix"]


def test_a_job_that_says_nothing_is_explained_by_its_log(here: Served) -> None:
    job = jobs.start(f"{CALL}test", [sys.executable, "-c", "raise SystemExit('boom')"])
    jobs.wait(job.id, timeout_s=PATIENCE_S)
    error = calls.answer(jobs.poll(job.id))["error"]
    assert "boom" in error["what"]
    assert str(job.log_path) in error["fix"]


def test_an_unknown_job_is_404(here: Served) -> None:
    status, answer, _ = here.call("GET", "/aiinfra/jobs/nothing-1234")
    assert (status, answer["error"]) == (404, "NotFound")


def test_a_call_with_an_id_can_be_asked_about_by_it_and_is_begun_once(here: Served) -> None:
    body = {"args": [], "id": "5f0c21b9"}
    asked = "/aiinfra/jobs/lab:call-lab-show.5f0c21b9"  # as the panel writes it
    assert here.call("GET", asked)[0] == 404
    _, first, _ = here.call("POST", "/aiinfra/lab/show", body)
    assert here.call("POST", "/aiinfra/lab/show", body)[1] == first
    jobs.wait(first["job"], timeout_s=PATIENCE_S)
    status, answer, _ = here.call("GET", asked)
    assert (status, answer["job"], answer["state"]) == (200, first["job"], "done")


@pytest.mark.parametrize("call_id", [None, 3, "", "a", "A" * 8, "../../..", "x" * 41])
def test_an_id_that_is_none_is_refused(here: Served, call_id: Any) -> None:
    status, answer, _ = here.call("POST", "/aiinfra/lab/show", {"id": call_id})
    assert (status, bool(answer["fix"])) == (400, True)


# ---- what must not get in ----


@pytest.mark.parametrize(
    "path",
    [
        "/aiinfra/items?since=0",
        "/aiinfra/items/deploy%3Ad",
        "/aiinfra/jobs/x",
        "/aiinfra/notebooks/r@1/a",
        "/aiinfra/whatever/else/there",
    ],
)
def test_no_token_no_answer(here: Served, path: str) -> None:
    assert here.call("GET", path, token=None)[0] == 403
    assert here.call("GET", path, token="wrong")[0] == 403


def test_no_token_no_stop(here: Served) -> None:
    job = running("deploy:safe")
    assert here.call("POST", "/aiinfra/deploy/stop", {"args": ["safe"]}, token=None)[0] == 403
    assert jobs.poll(job.id).stop_requested_at is None


def test_a_cookie_needs_the_xsrf_header(here: Served) -> None:
    job = running("deploy:cookie")
    cookie, xsrf = logged_in(here)
    stop = ("POST", "/aiinfra/deploy/stop", {"args": ["cookie"]})
    assert here.call(*stop, token=None, headers={"Cookie": cookie})[0] == 403
    assert jobs.poll(job.id).stop_requested_at is None
    assert here.call(*stop, token=None, headers={"Cookie": cookie, "X-XSRFToken": xsrf})[0] == 200


def logged_in(server: Served) -> tuple[str, str]:
    """The cookies of somebody who followed the link with the token, and their XSRF token."""
    cookies: dict[str, str] = {}
    for path in ("/login", "/api/status?token=t"):
        _, _, headers = server.call("GET", path, token=None)
        pairs = [line.partition(";")[0].partition("=") for line in headers.get_all("Set-Cookie", [])]
        cookies |= {name: value for name, _, value in pairs}
    return "; ".join(f"{name}={value}" for name, value in cookies.items()), cookies["_xsrf"]


@pytest.mark.parametrize(
    "path",
    [
        "/aiinfra/jobs/..%2f..%2fstore.sqlite",
        "/aiinfra/jobs/../../etc/passwd",
        "/aiinfra/jobs/%2e%2e",
        "/aiinfra/jobs/%00",
        "/aiinfra/..%2f..%2fapi",
        "/aiinfra/",
    ],
)
def test_a_path_that_climbs_finds_nothing(here: Served, path: str) -> None:
    assert here.call("GET", path)[0] == 404


@pytest.mark.parametrize(
    "path", ["os/system", "gpu/reboot", "gpu/__init__", "..%2fgpu/start", "gpu;ls/start", "gpu/a/b"]
)
def test_only_nouns_and_verbs_of_the_language(here: Served, path: str) -> None:
    before = len(jobs.ls())
    status, answer, _ = here.call("POST", f"/aiinfra/{path}", {"args": []})
    assert (status, bool(answer["what"]), bool(answer["fix"])) == (404, True, True)
    assert len(jobs.ls()) == before


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[" * 50_000,
        b'{"args":' + b"[" * 50_000,
        b"[]",
        b"3",
        b'{"args": "a"}',
        b'{"flags": []}',
        b'{"argv": []}',
    ],
)
def test_a_body_that_is_no_call_is_400(here: Served, body: bytes) -> None:
    status, answer, _ = here.call("POST", "/aiinfra/gpu/start", body)
    assert (status, bool(answer["what"]), bool(answer["fix"])) == (400, True, True)


@pytest.mark.parametrize(
    "body",
    [
        {"args": ["--debug"]},
        {"args": ["-p"]},
        {"args": [None]},
        {"args": [["a"]]},
        {"args": [True]},
        {"args": ["a\0b"]},
        {"args": ["\ud800"]},
        {"args": ["x" * 30_000]},
        {"args": ["x"] * 300},
        {"flags": {"for=1h --gpu": "x"}},
        {"flags": {"--for": "2h"}},
        {"flags": {"debug": True}},
        {"flags": {"json": "x"}},
        {"flags": {"help": True}},
        {"flags": {"for": {"a": 1}}},
        {"flags": {"for": None}},
        {"flags": {"p": {"--debug": "1"}}},
        {"flags": {"p": {"a=b": "1"}}},
    ],
)
def test_no_value_becomes_an_option(body: Any) -> None:
    with pytest.raises(UsageProblem):
        calls.words("gpu", "start", body)


def test_values_stay_one_word_each() -> None:
    body = {"args": ["trainer", 3], "flags": {"gpu": "A --spot; rm $HOME", "for": "-1h", "spot": True, "wait": False}}
    assert calls.words("gpu", "start", body) == [
        *("gpu", "start", "--json", "--gpu=A --spot; rm $HOME", "--for=-1h", "--spot", "--no-wait"),
        *("trainer", "3"),
    ]


def test_parameters_are_pairs() -> None:
    body = {"flags": {"p": {"epochs": 3, "note": "--debug"}}}
    assert calls.words("train", "run", body)[3:] == ["-p", "epochs=3", "-p", "note=--debug"]


def test_a_word_for_a_shell_reaches_the_verb_as_it_is(here: Served, tmp_path: Path) -> None:
    word = f"x; touch {tmp_path}/made $(touch {tmp_path}/made)"
    _, answer, _ = here.call("POST", "/aiinfra/lab/show", {"args": [word]})
    assert jobs.wait(answer["job"], timeout_s=PATIENCE_S).state == "failed"
    assert list(tmp_path.iterdir()) == []


def test_unknown_words_suggest_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean gpu"):
        calls.words("gup", "start", {})
    with pytest.raises(NotFound, match="did you mean start"):
        calls.words("gpu", "strat", {})
