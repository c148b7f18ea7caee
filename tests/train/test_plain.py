"""Runs on rows that no feature set made: with or without a time, of one label or several."""

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import data, models, train
from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.train.plain import NO_PROMISE
from aiinfra_lab.words import understand

from .conftest import flights

LINE = """
import torch

class Line(torch.nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.line, self.count = torch.nn.Linear(width, count), count

    def forward(self, numbers, codes):
        found = self.line(torch.cat([numbers, codes.float()], dim=1))
        return found.squeeze(1) if self.count == 1 else found

learn, held = run.split(0.25)
count = learn.y.shape[1] if learn.y.ndim == 2 else 1
model = Line(len(run.columns.numbers) + len(run.columns.sizes), count)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for epoch in range(run.params.get("epochs", 30)):
    loss = torch.nn.functional.mse_loss(model(learn.numbers, learn.codes), learn.y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
run.log(loss=loss)
"""
ONE = LINE + "run.save(model, task='regression')"


@pytest.fixture
def houses(workspace, empty_mlflow):
    """Data without any time; `price` and `rent` follow size and town."""
    draw = np.random.default_rng(0)
    size, town = draw.normal(100, 30, 300), draw.choice(["a", "b", "c"], 300)
    price = 3 * size + 40 * (town == "a") + draw.normal(0, 5, 300)
    frame = pd.DataFrame({"size": size, "town": town, "price": price, "rent": price / 20 + draw.normal(0, 1, 300)})
    frame["seen"] = pd.date_range("2020-01-01", periods=300)[::-1]
    frame["kind"] = ["x", "y"] * 150
    return frame


def test_a_model_is_made_of_rows_without_a_time_or_features(houses):
    rows = data.add("houses", houses.drop(columns=["seen", "rent", "kind"]))
    run = train.run("houses", rows=rows, label="price", code=ONE)
    assert (run.rows, run.table.columns) == ("data:houses@1", ("size", "town"))
    assert run.holdout == "25 % at random (seed 0)"
    card = run.card().text()
    assert NO_PROMISE.split(":")[0] in card
    model = models.add("houses", run=run)
    assert NO_PROMISE in model.model_card
    assert model.columns.features_uri == ""
    assert models.run(model, rows=rows).count == 300


def test_rows_of_a_feature_set_are_promised_to_be_of_their_time(rows):
    run = train.run("delay", rows=rows, code="run.split()")
    assert NO_PROMISE.split(":")[0] not in run.card().text()


def test_a_data_frame_and_a_file_are_rows_too(houses, tmp_path):
    houses.to_csv(tmp_path / "houses.csv", index=False)
    for rows in (houses, tmp_path / "houses.csv"):
        run = train.run("houses", rows=rows, label=["price"], columns=["size"], code="run.split()")
        assert run.table.columns == ("size",)


def test_rows_without_a_name_get_one_of_the_run(houses):
    for name, frame in (("houses", houses), ("towns", houses.head(200))):
        run = train.run(name, rows=frame, label=["price"], columns=["size"], code="run.split()")
        assert run.rows == f"data:{name}-rows@1"


def test_the_line_names_labels_columns_and_time(houses):
    data.add("houses", houses)
    words = ["run", "houses", "--rows", "data:houses", "--label", "price,rent"]
    words += ["--columns", "size,town", "--timestamp", "seen"]
    run = understand("train", words, "assert run.tensors().y.shape == (300, 2)\nrun.split()").run()
    assert run.table.label == ("price", "rent")
    assert run.holdout == "the latest 20 % by seen"


def test_times_and_lists_are_no_columns_and_that_is_said(houses):
    run = train.run("houses", rows=houses, label="price", code="run.split()")
    assert run.table.left_out == ("seen",)
    assert ("columns", "4, without seen") in run.card().facts  # size, town, rent, kind... less the label


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({}, "the latest 25 % by seen"),
        ({"seen": pd.Timestamp("2020-01-01")}, "25 % at random (seed 0), since seen has one value only"),
        ({"seen": [pd.NaT, *pd.date_range("2020-01-01", periods=299)]},
         "25 % at random (seed 0), since 1 of 300 rows have no seen"),
    ],
)  # fmt: skip
def test_nothing_is_split_by_a_constant_or_missing_time(houses, change, how):
    code = "run.split(0.25)"
    run = train.run("houses", rows=houses.assign(**change), label="price", timestamp="seen", code=code)
    assert run.holdout == how


def test_several_labels_are_a_matrix_and_an_output_each(houses):
    run = train.run("houses", rows=houses.drop(columns="seen"), label=["price", "rent"], code=ONE)
    model = models.add("houses", run=run)
    assert [str(item) for item in model.signature.outputs] == ["price FP32 [rows]", "rent FP32 [rows]"]
    assert model.signature.task.name == "regression"
    (answer,) = model.answers(houses.head(1))
    assert set(answer) == {"price", "rent"}
    assert ("label", "price, rent") in run.card().facts
    assert "It predicts `price, rent` from:" in model.model_card


def test_several_labels_may_be_one_output(houses):
    code = LINE + "run.save(model, task='regression', outputs=['both'])"
    run = train.run("houses", rows=houses.drop(columns="seen"), label=["price", "rent"], code=code)
    assert [str(item) for item in models.add("houses", run=run).signature.outputs] == ["both FP32 [rows, 2]"]


@pytest.mark.parametrize(
    ("given", "kind", "what"),
    [
        ({"label": "prize"}, NotFound, "no column 'prize'.*\n.*price"),
        ({"label": ["price", "prize"]}, NotFound, "no column 'prize'"),
        ({"label": "price", "columns": ["sise"]}, NotFound, "no column 'sise'"),
        ({"label": "price", "timestamp": "when"}, NotFound, "no column 'when'"),
        ({"label": "price", "columns": ["price", "size"]}, UsageProblem, "'price' is named twice"),
        ({"label": "price", "timestamp": "town"}, UsageProblem, "no order in time"),
        ({"columns": ["size"]}, UsageProblem, "without --label"),
        ({"label": ["price", "kind"]}, Failed, "kind is texts, and the label price is not"),
    ],
)
def test_what_can_be_no_label_or_column_is_refused(houses, given, kind, what):
    with pytest.raises(LabError, match=what) as problem:
        train.run("houses", rows=houses, code="run.tensors()", **given)
    assert isinstance(problem.value, kind)


def test_a_request_that_is_refused_leaves_no_run(houses):
    with pytest.raises(NotFound):
        train.run("houses", rows=houses, label="prize", code="run.tensors()")
    assert not len(train.ls())


def test_rows_of_a_feature_set_say_themselves_what_their_label_is(rows):
    with pytest.raises(UsageProblem, match="says itself what its label is"):
        train.run("delay", rows=rows, label="late", code="run.tensors()")


@pytest.mark.parametrize("column", ["price", "kind"])
def test_rows_without_a_label_are_counted(houses, column):
    houses.loc[:2, column] = None
    with pytest.raises(Failed, match=f"3 of 300 rows have no {column}"):
        train.run("houses", rows=houses, label=["price", "rent"] if column == "price" else column, code="run.split()")


def test_the_way_from_data_to_a_run_works_when_followed(workspace, empty_mlflow):
    rows = data.add("flights", flights())
    with pytest.raises(Failed, match=r"nothing says which.*\n.*--rows data:flights@1 --label COLUMN`"):
        train.run("delay", rows=rows, code="run.tensors()")
    assert train.run("delay", rows=rows, label="late", code="run.tensors()").state == "done"
