import shutil
from pathlib import Path

import numpy as np
import pytest

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.models.base import Entry
from aiinfra_lab.models.mlflow import Registry
from aiinfra_lab.train.mlflow import client, tracking_uri

from ..contract.models import RegistryContract


class TestMlflow(RegistryContract):
    @pytest.fixture
    def registry(self, run):
        return Registry(settings())

    @pytest.fixture
    def entry(self, run):
        def make(version: int) -> Entry:
            return Entry(f"models:delay@{version}", run.path / "model", run.tracked_as, "a note", {"lab.run": run.uri})

        return make


def broken(workspace) -> None:
    """MLflow's database as a crash of the disk leaves it."""
    (workspace / ".aiinfra" / "mlflow" / "mlflow.db").write_bytes(b"nothing" * 100)


def test_mlflow_itself_loads_the_champion(model):
    import mlflow

    models.check(model)
    models.promote(model)
    mlflow.set_tracking_uri(tracking_uri())
    mlflow.set_registry_uri(tracking_uri())
    try:
        loaded = mlflow.pyfunc.load_model("models:/delay@champion")
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    row = {"carrier": "A", "origin": "JFK", "temp": 3.0, "hour": 9}
    numbers, codes = model.columns.encode([row])
    assert np.allclose(loaded.predict({"numbers": numbers, "codes": codes})["score"], model.predict([row]))


def test_what_mlflow_holds_can_run_no_code(model):
    with client() as mlflow:
        source = mlflow.get_model_version("delay", "1").source
    place = source.removeprefix("file://")
    names = {path.name for path in Path(place).iterdir()}
    assert {"MLmodel", "model.onnx", "input_example.json"} <= names
    assert not any(name.endswith((".pkl", ".pickle", ".py", ".pt")) for name in names)


def test_versions_aliases_and_removals_are_mirrored(model, run):
    models.check(model)
    models.promote(model)
    other = models.add("delay", run=run, note="other")
    models.rm(other)
    assert (Registry(settings()).versions("delay"), dict(Registry(settings()).aliases("delay"))) == (
        {model.uri},
        {"champion": model.uri},
    )
    assert models.disagreements() == []


def test_our_record_stands_when_mlflow_does_not_listen_and_is_told_later(run, rows, workspace, empty_mlflow):
    broken(workspace)
    made = models.add("delay", run=run)
    assert "the other registry was not told" in made.said
    models.check(made)
    assert "the other registry was not told" in models.promote(made).said
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow" / "mlflow.db")
    said = models.disagreements()
    assert "the tracking server does not know how train:delay@1 ended" in said
    assert "the other registry does not have models:delay@1" in said
    assert "champion of models:delay is models:delay@1 here and nothing in the other registry" in said
    assert models.mend()
    assert models.disagreements() == []


def test_an_alias_that_somebody_moved_in_mlflow_is_found_and_put_back(model, run):
    models.check(model)
    models.promote(model)
    other = models.add("delay", run=run, note="other")
    Registry(settings()).alias("delay", "champion", other.uri)
    (said,) = models.disagreements()
    assert said == "champion of models:delay is models:delay@1 here and models:delay@2 in the other registry"
    assert models.mend() == ["champion of models:delay is models:delay@1 again in the other registry"]
    assert models.disagreements() == []
