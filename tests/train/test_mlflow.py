import shutil

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.testing.train import INTENT, TrackerContract
from aiinfra_lab.train.mlflow import Tracking, client, tracking_uri


class TestMlflow(TrackerContract):
    @pytest.fixture
    def tracker(self, workspace, empty_mlflow):
        (workspace / ".aiinfra" / "mlflow").mkdir(parents=True)
        shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow")
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
