"""`models run`: all rows of a table at once."""

import numpy as np
import polars as pl
import pytest

from aiinfra_lab import data, lab, models
from aiinfra_lab.errors import Conflict, Damaged, LabError, UsageProblem
from aiinfra_lab.features.contract import BadRow
from aiinfra_lab.models import batch

from ..train.conftest import flights


@pytest.fixture
def new():
    """Rows that the model never saw, some without a temperature, each with its id."""
    return flights(500).assign(row_id=[f"r{at}" for at in range(500)])


def test_each_row_is_answered_in_its_order_as_the_model_does(model, new, monkeypatch):
    monkeypatch.setattr(batch, "BATCH", 64)
    found = models.run(model, rows=new)
    assert (found.uri, found.count, found.columns) == (model.uri, 500, ("row_id", "score"))
    assert found.table()["row_id"].to_list() == new["row_id"].tolist()
    assert np.allclose(found.df()["score"], model.predict(new), atol=1e-6)


def test_rows_without_a_name_get_one_of_the_model(model, new):
    assert models.run(model, rows=new).rows == "data:delay-rows@1"


def test_the_card_shows_the_first_rows_and_what_to_do(model, new):
    card = models.run(model, rows=new).card()
    assert card.lead.startswith("**500 rows answered** in ")
    assert card.parts[0].rows[0][0] == "r0"
    assert card.next == ["Next: `.df()` has them all"]


def test_the_answers_are_written_and_the_lineage_has_it(model, new, tmp_path):
    data.add("new", new)
    found = models.run(model, rows="data:new@1", into=tmp_path / "scores.parquet")
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(found.table())
    assert "models run" in str(lab.log(model.uri).as_json())
    with pytest.raises(Conflict):
        models.run(model, rows="data:new@1", into=tmp_path / "scores.parquet")


def test_no_rows_have_no_answers(model, new):
    found = models.run(model, rows=new.head(0).astype({"carrier": str, "origin": str}))
    assert (found.count, found.columns[-1], found.table().height) == (0, "score", 0)


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        (lambda df: df.drop(columns="carrier"), LabError, "no column 'carrier'"),
        (lambda df: df.assign(hour=float("inf")), BadRow, "row 0, column hour"),
        (lambda df: df.assign(hour="late"), BadRow, "row 0, column hour"),
    ],
)
def test_rows_that_do_not_fit_are_refused(model, new, change, kind, what):
    with pytest.raises(kind, match=what):
        models.run(model, rows=change(new))


def test_arrays_go_into_a_parquet_file_and_no_other(tmp_path):
    answers = pl.DataFrame({"vector": np.zeros((2, 3))})
    found = batch.BatchPrediction("models:a@1", "data:t@1", 2, ("vector",), 1.0, answers=answers)
    assert found.card().parts[0].rows
    with pytest.raises(UsageProblem, match="which no") as problem:
        batch.written(found, tmp_path / "x.csv")
    assert problem.value.fix == "--into x.parquet"
    batch.written(found, tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "x.parquet").equals(answers)


def test_a_version_that_is_not_there_is_an_error(workspace):
    with pytest.raises(LabError):
        models.run("none@1", rows="data:none")


@pytest.mark.parametrize("content", [b"", b"another network"])
def test_changed_files_answer_nothing(model, new, content):
    (model.path / "model.onnx").write_bytes(content)
    with pytest.raises(Damaged, match=r"model\.onnx was changed") as problem:
        models.run(model, rows=new)
    assert f"`%models add {model.uri[7:].partition('@')[0]} --run" in problem.value.fix
