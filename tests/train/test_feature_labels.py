"""What a run learns from rows of a feature set without a time, of one label, of texts, or of several."""

import pytest

from aiinfra_lab import data, features, models, train
from aiinfra_lab.errors import LabError
from aiinfra_lab.features.record import NO_TIME
from tests.features.conftest import put
from tests.features.shop import CELL, shop_tables

from .test_plain import LINE

REGRESSION = LINE + "run.save(model, task='regression')"


@pytest.fixture
def orders(workspace, tmp_path, empty_mlflow):
    return put("orders", shop_tables(), tmp_path / "orders")


def test_a_run_on_it_says_what_is_not_promised_and_its_model_too(orders):
    features.add("spending", data=orders, label="price", id_="order", code=CELL)
    rows = features.get("spending", rows=orders)
    run = train.run("spending", rows=rows, code=REGRESSION)
    assert run.holdout == "25 % at random (seed 0)"
    assert NO_TIME in " ".join(run.card().text().split())
    model = models.add("spending", run=run)
    assert NO_TIME in model.model_card
    assert model.columns.features_uri == "features:spending@1"
    found = models.run(model, rows=orders)
    assert found.count == 60


def test_several_labels_reach_the_run_its_hold_out_and_the_outputs(orders):
    features.add("both", data=orders, label="price,rent", code=CELL)
    run = train.run("both", rows=features.get("both", rows=orders), code=REGRESSION)
    assert run.stored.label == ("price", "rent")
    assert {"holdout_rmse", "holdout_rmse_price", "holdout_rmse_rent"} <= {*run.metrics}
    model = models.add("both", run=run)
    assert [item.name for item in model.signature.outputs] == ["price", "rent"]


def test_a_label_of_texts_reaches_the_run_as_classes(orders):
    features.add("kind", data=orders, label="kind", code=CELL)
    code = LINE.split("learn, held")[0] + (
        "learn, held = run.split(0.25)\n"
        "model = Line(len(run.columns.numbers) + len(run.columns.sizes), 2)\n"
        "run.log(loss=torch.nn.functional.cross_entropy(model(learn.numbers, learn.codes), learn.y))\n"
        "run.save(model, outputs=['kind_is'], task='classification')\n"
    )
    run = train.run("kind", rows=features.get("kind", rows=orders), code=code)
    assert run.stored.label == ("kind",)
    model = models.add("kind", run=run)
    assert model.signature.task.labels == ("x", "y")


def test_rows_with_some_of_the_labels_have_none_to_learn_from(orders):
    features.add("both", data=orders, label="price,rent", code=CELL)
    rows = data.add("asked", orders.table().drop("rent"))
    found = features.get("both", rows=rows, data=orders)
    assert found.label == ""
    with pytest.raises(LabError, match="has no label") as problem:
        train.run("both", rows=found, code="run.tensors()")
    assert "choose rows that have price, rent" in problem.value.fix
