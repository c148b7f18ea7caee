"""A tracker of another package: the shipped suite, and every verb with it."""

import pytest

from aiinfra_lab import providers, train
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed
from aiinfra_lab.testing.train import TrackerContract
from aiinfra_lab.train import record, sync


class TestLedger(TrackerContract):
    @pytest.fixture
    def tracker(self, workspace, ledger):
        return providers.make("train.tracker")


def test_every_verb_works_with_it(rows, ledger):
    first = train.run("delay", rows=rows, code="run.log(loss=2)", params={"lr": 0.1})
    again = train.run("delay", rows=rows, code="run.log(loss=1)")
    assert (first.tracked_as, [item.uri for item in train.ls()]) == ("run-1", [again.uri, first.uri])
    assert train.get("delay").metrics == train.show(again).metrics == {"loss": 1.0}
    assert train.diff(again, first).changes
    assert train.stop("delay").state == "done"
    assert train.log("delay").measured[0].endswith("loss[0] = 1")
    assert not (settings().home / "mlflow" / "artifacts").exists()


def test_it_is_sent_what_it_missed(rows, ledger, monkeypatch):
    run = train.run("delay", rows=rows, code="run.log(loss=2)")
    record.change("delay@1", tracked=False)
    assert sync.catch_up(verify=True) == ["sent train:delay@1, which was done, to the tracking server"]
    assert sync.tracker().read(run.tracked_as).state == "done"


def test_without_its_server_a_run_does_not_begin_and_says_what_is_missing(rows, ledger, monkeypatch):
    monkeypatch.setenv("AIINFRA_TRAIN_LEDGER_URL", "http://127.0.0.1:9")
    with pytest.raises(Failed) as caught:
        train.run("delay", rows=rows, code="run.log(loss=2)")
    assert caught.value.fix == "set train.ledger_url"
    assert train.show("delay").state == "failed"
