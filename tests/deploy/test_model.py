"""From an artifact folder to something that predicts, and what is refused on the way."""

import json
import shutil

import pytest

from aiinfra_lab.deploy.server import model
from aiinfra_lab.errors import Damaged, Failed, Unavailable

from .conftest import COLUMNS, ROW


@pytest.fixture
def folder(artifacts, tmp_path):
    """A copy of an artifact, to be spoilt."""
    return shutil.copytree(artifacts("plain"), tmp_path / "model")


def test_scores_do_not_depend_on_the_batch(artifacts):
    loaded = model.load("models:delay@1", artifacts("plain"))
    rows = COLUMNS.validate([ROW, {"carrier": "ZZ", "distance": 1}, {**ROW, "temp": 30}])
    assert loaded.predict(rows).rows() == [loaded.predict([row]).rows()[0] for row in rows]


@pytest.mark.parametrize("name", ["model.onnx", "columns.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(Unavailable, match=name):
        model.load("models:delay@1", folder)


def test_a_file_that_is_no_model_is_refused(folder):
    (folder / "model.onnx").write_bytes(b"\x80\x04\x95 no model")
    with pytest.raises(Failed, match="cannot be served"):
        model.load("models:delay@1", folder)


def test_a_file_that_is_no_contract_is_refused(folder):
    (folder / "columns.json").write_text("[]")
    with pytest.raises(Damaged):
        model.load("models:delay@1", folder)


def test_a_contract_of_another_model_is_refused(folder):
    body = json.loads(COLUMNS.to_json())
    body["columns"].append({**body["columns"][-1], "name": "more"})
    (folder / "columns.json").write_text(json.dumps(body))
    (folder / "example.json").unlink()
    with pytest.raises(Failed, match="cannot be served"):
        model.load("models:delay@1", folder)


def test_an_example_that_scores_differently_by_now_is_refused(folder):
    (folder / "example.json").write_text(json.dumps({"rows": [ROW], "scores": [0.9]}))
    with pytest.raises(Failed, match="do not belong together"):
        model.load("models:delay@1", folder)


def test_an_example_that_scores_as_before_is_served(folder):
    answers = model.load("models:delay@1", folder).predict(COLUMNS.validate([ROW])).rows()
    (folder / "example.json").write_text(json.dumps({"rows": [ROW], "answers": answers}))
    assert model.load("models:delay@1", folder).predict(COLUMNS.validate([ROW])).rows() == answers
