"""Bringing a tracking server to what our files say, with a server that can be taken away."""

import pytest

from aiinfra_lab import train
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train import record, sync
from aiinfra_lab.train.history import Point
from aiinfra_lab.train.record import TrainingRun
from aiinfra_lab.train.sync import RunSync

from .many import make_runs


@pytest.fixture
def run(workspace, ledger) -> Record:
    """A run that has begun."""
    given = {
        "seed": 7,
        "code_digest": "c0",
        "machine": {"torch": "2"},
        "params": {"lr": 0.1},
        "rows": "features:a@1#0b",
    }
    return open_store().commit([Record.new("delay@1", TrainingRun(state="running", **given))])[0]


def points(count: int, start: int = 0) -> list[Point]:
    return [Point(1000.0 + step, "loss", step, float(step)) for step in range(start, start + count)]


def gone(monkeypatch) -> None:
    """From now on the server cannot be reached."""
    monkeypatch.setenv("AIINFRA_TRAIN_LEDGER_URL", "http://127.0.0.1:9")


def own(tracker: object) -> object:
    """The provider itself, behind what makes its errors ours."""
    return tracker.log.__wrapped__.__self__


def server() -> dict:
    """What the server has of the run."""
    found = sync.tracker().read("run-1")
    return {"state": found.state, "points": found.points, "tags": found.tags, "params": found.params}


def test_the_server_knows_what_the_run_was_given(run):
    assert RunSync(run).begin() == "run-1"
    tags = {"lab.seed": "7", "lab.code.digest": "c0", "lab.torch": "2"}
    assert server() == {"state": "running", "points": 0, "tags": tags, "params": {"lr": "0.1"}}
    assert open_store().get(TrainingRun, "delay@1").body.tracked_as == "run-1"


@pytest.mark.parametrize(("field", "tag"), [("resumed_from", "lab.resumed_from"), ("on", "lab.on")])
def test_what_a_run_came_from_and_where_it_ran_are_tags_when_there_is_one(run, field, tag):
    assert tag not in sync.intent(run).tags
    assert sync.intent(run.with_(**{field: "gpu:trainer"})).tags[tag] == "gpu:trainer"


def test_points_wait_until_enough_have_come_together(run):
    copy = RunSync(run)
    copy.begin()
    copy.add(points(10))
    assert server()["points"] == 0
    copy.add(points(sync.AT_MOST, start=10))
    assert server()["points"] == sync.AT_MOST + 10


def test_points_are_sent_after_a_while_however_few_they_are(run, monkeypatch):
    copy = RunSync(run)
    copy.begin()
    monkeypatch.setattr(sync, "EVERY_S", 0.0)
    copy.add(points(1))
    assert server()["points"] == 1


def test_the_end_is_sent_with_what_still_waited(run):
    copy = RunSync(run)
    copy.begin()
    copy.add(points(3))
    copy.close("stopped", 1010.0)
    assert (server()["state"], server()["points"]) == ("stopped", 3)
    assert open_store().get(TrainingRun, "delay@1").body.tracked


def test_a_server_that_goes_away_in_the_middle_fails_nothing(run, monkeypatch):
    copy = RunSync(run)
    copy.begin()
    monkeypatch.setattr(own(copy._tracker), "url", "http://127.0.0.1:9")
    copy.add(points(sync.AT_MOST))
    copy.close("done", 1010.0)
    assert not open_store().get(TrainingRun, "delay@1").body.tracked


def test_what_could_not_be_sent_is_kept_until_it_can(run, monkeypatch):
    copy = RunSync(run)
    copy.begin()
    with monkeypatch.context() as away:
        away.setattr(own(copy._tracker), "url", "http://127.0.0.1:9")
        copy.add(points(sync.AT_MOST))
    copy.close("done", 1010.0)
    assert (server()["state"], server()["points"]) == ("done", sync.AT_MOST)


def test_killed_runs_are_sent_with_what_their_files_have(workspace, ledger):
    make_runs(4, points=5)
    assert sync.behind() == [
        "the tracking server does not know how train:delay@4 ended",
        "the tracking server does not know how train:delay@2 ended",
    ]
    assert sync.catch_up() == [f"sent train:delay@{n}, which was killed, to the tracking server" for n in (4, 2)]
    assert (server()["state"], server()["points"], sync.behind(), sync.catch_up()) == ("killed", 5, [], [])


def test_what_is_tracked_is_not_asked_for_unless_the_server_is_to_be_verified(workspace, ledger):
    make_runs(4)
    for number in (1, 3):
        record.folder(f"delay@{number}").mkdir()  # as every run that began has it
    sync.catch_up()
    assert sync.behind() == []
    lost = [f"the tracking server does not know how train:delay@{n} ended" for n in (3, 1)]
    assert sync.behind(verify=True) == lost
    assert len(sync.catch_up(verify=True)) == 2
    assert sync.behind(verify=True) == []


def test_a_run_that_goes_on_is_left_to_itself(workspace, ledger):
    made = record.plan("delay", TrainingRun(state="starting"), ())
    assert (train.show(made.name).state, sync.behind(verify=True), sync.catch_up(verify=True)) == ("starting", [], [])


def refuse(monkeypatch, label: str) -> None:
    """What that run measured the server does not take."""
    send = sync._send_again

    def send_again(run) -> None:
        if run.record.name == label:
            raise Unavailable("a metric has no name", "give it one")
        send(run)

    monkeypatch.setattr(sync, "_send_again", send_again)


def test_a_run_that_cannot_be_sent_keeps_no_other_from_it(workspace, ledger, monkeypatch):
    make_runs(4)
    refuse(monkeypatch, "delay@4")
    assert sync.catch_up() == [
        "train:delay@4 could not be sent to the tracking server: a metric has no name; give it one",
        "sent train:delay@2, which was killed, to the tracking server",
    ]
    assert sync.behind() == ["the tracking server does not know how train:delay@4 ended"]


def test_a_run_whose_file_may_not_be_read_keeps_no_other_from_being_sent(workspace, ledger):
    make_runs(4)
    sync.behind()  # their ends are written
    path = record.folder("delay@4") / "metrics.jsonl"
    path.unlink()
    path.mkdir()  # root may read every file
    first, second = sync.catch_up()
    assert first.startswith("train:delay@4 could not be sent to the tracking server: [Errno")
    assert second.startswith("sent train:delay@2")


def test_a_server_that_is_away_is_asked_about_one_run(workspace, ledger, monkeypatch):
    make_runs(4)
    gone(monkeypatch)
    asked = []
    monkeypatch.setattr(sync, "intent", asked.append)
    with pytest.raises(Unavailable):
        sync.catch_up()
    assert len(asked) == 1
