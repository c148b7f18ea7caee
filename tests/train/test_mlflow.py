import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.testing.train import INTENT, TrackerContract
from aiinfra_lab.train import sync
from aiinfra_lab.train.mlflow import Tracking, client, tracking_uri
from aiinfra_lab.train.observing import find

from .many import make_runs


@pytest.fixture
def mlflow_home(workspace, empty_mlflow):
    """An empty MLflow in the test's workspace."""
    home = workspace / ".aiinfra" / "mlflow"
    home.mkdir(parents=True)
    shutil.copy(empty_mlflow, home)
    return home


class TestMlflow(TrackerContract):
    @pytest.fixture
    def tracker(self, mlflow_home):
        return Tracking(settings())


def test_the_rows_are_mlflows_data_set_with_our_digest(rows):
    run = Tracking(settings()).begin(INTENT)
    with client() as mlflow:
        (data,) = mlflow.get_run(run).inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == (INTENT.rows, INTENT.digest[:36])


def test_it_makes_its_database_without_a_word(workspace, capfd):
    Tracking(settings()).begin(INTENT)
    assert (workspace / ".aiinfra" / "mlflow" / "mlflow.db").exists()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_database_is_said_to_be_so(workspace):
    place = workspace / ".aiinfra" / "mlflow"
    place.mkdir(parents=True)
    (place / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable, match="MLflow at sqlite"):
        Tracking(settings()).begin(INTENT)


def test_a_server_of_ones_own_is_named_in_the_settings(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_TRAIN_TRACKING_URI", f"sqlite:///{workspace}/own.db")
    assert tracking_uri() == f"sqlite:///{workspace}/own.db"
    assert Tracking(settings()).look().endswith("own.db")


def as_mlflow_has_it(run_id: str) -> Any:
    """The run as MLflow has it."""
    with client() as mlflow:
        return mlflow.get_run(run_id)


@pytest.mark.parametrize("at", ["log_batch", "log_inputs"])
def test_a_run_that_was_made_and_not_described_is_described_by_the_next_beginning(
    mlflow_home: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, at, killed)
        with pytest.raises(SystemExit):
            Tracking(settings()).begin(INTENT)
    for _ in range(2):
        run = as_mlflow_has_it(Tracking(settings()).begin(INTENT))
        assert (run.data.params, len(run.inputs.dataset_inputs)) == (INTENT.params, 1)


def killed(*_: object, **__: object) -> None:
    raise SystemExit(9)


def test_a_run_began_and_ended_when_it_did_whenever_it_is_sent(mlflow_home: Path) -> None:
    tracker = Tracking(settings())
    run_id = tracker.begin(dataclasses.replace(INTENT, started_at=1000.0))
    tracker.end(run_id, "killed", at=1060.5)
    assert (as_mlflow_has_it(run_id).info.start_time, as_mlflow_has_it(run_id).info.end_time) == (1_000_000, 1_060_500)


def test_a_run_that_was_killed_long_ago_is_sent_with_its_own_times(mlflow_home: Path) -> None:
    make_runs(2)
    assert len(sync.catch_up()) == 1
    run = find("train:delay@2")
    sent = as_mlflow_has_it(run.record.body.tracked_as).info
    assert (sent.start_time, sent.end_time) == (2000, int(run.ended_at * 1000))


def test_the_tag_of_a_killed_run_goes_when_it_ended_otherwise(mlflow_home: Path) -> None:
    tracker = Tracking(settings())
    run_id = tracker.begin(INTENT)
    tracker.end(run_id, "killed")
    assert as_mlflow_has_it(run_id).data.tags["lab.killed"] == "true"
    for _ in range(2):
        tracker.end(run_id, "stopped")
        assert (as_mlflow_has_it(run_id).info.status, "lab.killed" in as_mlflow_has_it(run_id).data.tags) == (
            "KILLED",
            False,
        )


def test_runs_of_every_page_are_known(mlflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracking(settings())
    runs = [tracker.begin(dataclasses.replace(INTENT, uri=uri)) for uri in ("train:a@1", "train:b@1", "train:b@2")]
    # A server may answer with shorter pages than it is asked for; here with one thing each.
    for search in (MlflowClient.search_experiments, MlflowClient.search_runs):
        monkeypatch.setattr(MlflowClient, search.__name__, in_short_pages(search))
    assert tracker.known(runs) == set(runs)


def in_short_pages(search: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **options: search(*given, **{**options, "max_results": 1})
