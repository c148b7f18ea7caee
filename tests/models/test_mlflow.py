import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import models, nouns
from aiinfra_lab.config import settings
from aiinfra_lab.errors import NotFound
from aiinfra_lab.features.contract import BadRow
from aiinfra_lab.files import until
from aiinfra_lab.models import sync
from aiinfra_lab.models.base import Entry
from aiinfra_lab.models.mlflow import Registry
from aiinfra_lab.testing.models import RegistryContract
from aiinfra_lab.train.mlflow import client, tracking_uri
from aiinfra_lab.train.sync import behind

from .importers.made import LOGITS, ROWS, linear


class TestMlflow(RegistryContract):
    @pytest.fixture
    def registry(self, run):
        return Registry(settings())

    @pytest.fixture
    def entry(self, run):
        def make(version: int) -> Entry:
            return Entry(f"models:delay@{version}", run.path / "model", run.tracked_as, "a note", {"lab.run": run.uri})

        return make

    def test_a_version_of_an_unknown_run_is_refused(self, registry, entry):
        known = entry(1)
        with pytest.raises(NotFound):
            registry.register(Entry(known.uri, known.folder, "f" * 32, known.note, known.tags))
        assert registry.versions("delay") == set()


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
    # A column of whole numbers, one of texts, and one more than the model takes.
    rows = pd.DataFrame({"carrier": ["A", "new"], "origin": ["JFK", "LGA"], "temp": [3, 4], "hour": [9, 10], "more": 0})
    assert np.allclose(loaded.predict(rows)["score"], model.predict(rows))
    assert [(each.name, str(each.type)) for each in loaded.metadata.get_input_schema()] == [
        (item.name, "Any" if item.type == "number" else "DataType.string") for item in model.columns
    ]
    assert loaded.metadata.get_output_schema().input_names() == ["score"]
    with pytest.raises(BadRow, match="row 1, column temp: a number is needed, not the text 'warm'"):
        loaded.predict(rows.assign(temp=[3, "warm"]))


@pytest.mark.slow
def test_mlflow_itself_serves_it_over_http(model, tmp_path):
    with client() as mlflow:
        place = mlflow.get_model_version("delay", "1").source
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        place,
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    row = {"carrier": "A", "origin": "JFK", "temp": 3, "hour": 9}
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: is_up(url), TimeoutError((tmp_path / "log").read_text()), within_s=120)
        body = json.dumps({"dataframe_records": [row]}).encode()
        asked = urllib.request.Request(f"{url}/invocations", body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            (found,) = json.load(answer)["predictions"]
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait()
    assert found == {"score": pytest.approx(model.answers([row])[0]["score"])}


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_version_that_mlflow_holds_comes_back_by_its_uri(model, tmp_path):
    row = {"carrier": "A", "origin": "JFK", "temp": 3.0, "hour": 9}
    numbers, codes = model.columns.encode([row, row])
    made = models.add("again", from_="models:/delay/1", example={"numbers": numbers, "codes": codes})
    found = made.predict([{"numbers": numbers[0].tolist(), "codes": codes[0].tolist()}])
    assert np.allclose(found, model.predict([row]))


def test_mlflow_itself_loads_what_was_trained_elsewhere(workspace):
    import mlflow

    made = models.add("net", from_=linear(workspace / "net.onnx"), example={"x": ROWS})
    assert made.said == ""
    mlflow.set_tracking_uri(tracking_uri())
    mlflow.set_registry_uri(tracking_uri())
    try:
        loaded = mlflow.pyfunc.load_model("models:/net/1")
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    assert np.allclose(loaded.predict({"x": ROWS})["y"].tolist(), LOGITS, atol=1e-6)
    assert [each.shape for each in loaded.metadata.get_input_schema()] == [(-1, *ROWS.shape[1:])]
    assert (list(sync.disagreements()), behind()) == ([], [])


def test_what_mlflow_holds_can_run_no_code(model):
    with client() as mlflow:
        source = mlflow.get_model_version("delay", "1").source
    place = source.removeprefix("file://")
    names = {path.name for path in Path(place).iterdir()}
    assert {"MLmodel", "model.onnx", "input_example.json", "columns.json", "signature.json"} <= names
    assert not any(name.endswith((".pkl", ".pickle", ".py", ".pt")) for name in names)


def test_versions_aliases_and_removals_are_kept_in_mlflow_too(model, run):
    models.check(model)
    models.promote(model)
    other = models.add("delay", run=run, note="other")
    models.rm(other)
    assert (Registry(settings()).versions("delay"), dict(Registry(settings()).aliases("delay"))) == (
        {model.uri},
        {"champion": model.uri},
    )
    assert differences() == []


def test_our_record_stands_when_mlflow_cannot_be_used_and_is_sent_later(run, rows, workspace, empty_mlflow):
    broken(workspace)
    made = models.add("delay", run=run)
    assert "the other registry does not have it yet" in made.said
    models.check(made)
    assert "the other registry does not have it yet" in models.promote(made).said
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow" / "mlflow.db")
    assert "the tracking server does not know how train:delay@1 ended" in behind(verify=True)
    assert differences() == [
        "the other registry does not have models:delay@1",
        "champion of models:delay is models:delay@1 here and nothing in the other registry",
    ]
    notes = [note for noun in ("train", "models") for note in nouns.find(noun).reconcile()]
    assert "sent train:delay@1, which was done, to the tracking server" in notes
    assert (behind(verify=True), differences()) == ([], [])


def differences() -> list[str]:
    """Where MLflow and our records do not agree."""
    return [found.what for found in sync.disagreements()]


def test_an_alias_that_somebody_moved_in_mlflow_is_found_and_put_back(model, run):
    models.check(model)
    models.promote(model)
    other = models.add("delay", run=run, note="other")
    Registry(settings()).alias("delay", "champion", other.uri)
    (what,) = differences()
    assert what == "champion of models:delay is models:delay@1 here and models:delay@2 in the other registry"
    assert sync.reconcile() == ["champion of models:delay is models:delay@1 again in the other registry"]
    assert differences() == []
