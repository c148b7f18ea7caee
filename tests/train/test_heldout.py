"""The hold-out of a run: kept once by its content, and measured as the model is served."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import metrics

from aiinfra_lab import data, models, train
from aiinfra_lab.errors import Damaged, Failed, NotFound
from aiinfra_lab.train import heldout

from .conftest import NETWORK, flights

CODE = (
    NETWORK
    + """
learn, held = run.split(0.25)
model = Delay(len(run.columns.numbers), run.columns.sizes)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for epoch in range(run.params.get("epochs", 20)):
    loss = nn.functional.binary_cross_entropy(model(learn.numbers, learn.codes), learn.y.float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    run.log(loss=loss)
"""
)
SAVED = CODE + "run.save(model, task='classification', labels=run.labels or ['no', 'yes'])"
NAMES = ["holdout_log_loss", "holdout_roc_auc", "holdout_accuracy", "holdout_brier"]


@pytest.fixture
def learned(rows):
    return train.run("delay", rows=rows, code=SAVED, params={"epochs": 20})


def test_the_served_model_is_measured_on_rows_that_it_did_not_learn_from(learned):
    stored = learned.stored
    assert (stored.rows, stored.of, stored.label, learned.notes) == (100, 100, ("late",), ())
    assert {*learned.metrics} == {"loss", *NAMES}
    kept = heldout.read(stored)
    assert kept["late"].isin(["no", "yes"]).all()
    # The registered version, on rows that are read anew: the same numbers.
    found = models.add("delay", run=learned).predict(kept)
    truth = (kept["late"] == "yes").astype(int)
    assert learned.metrics["holdout_roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, found))
    assert learned.metrics["holdout_log_loss"] == pytest.approx(metrics.log_loss(truth, found), rel=1e-5)


def test_each_rows_answer_and_loss_are_kept_beside_the_run(learned):
    kept = pl.read_parquet(learned.path / heldout.PREDICTIONS)
    assert kept.columns == ["score", "loss"]
    assert kept["loss"].mean() == pytest.approx(learned.metrics["holdout_log_loss"])


def test_the_card_says_what_it_was_measured_on_and_draws_no_curve_of_one_point(learned):
    card = learned.card()
    assert ("measured on", "100 held out rows, as served") in card.facts
    assert [one.alt.split()[0] for one in card.parts[0].pictures] == ["loss"]
    assert "of 20:** loss" in card.lead


def test_the_same_rows_are_kept_once(rows, learned):
    again = train.run("delay", rows=rows, code=SAVED, seed=5)
    assert again.stored.digest == learned.stored.digest
    assert len([*heldout.path_of("").parent.iterdir()]) == 1


def test_rows_that_were_changed_or_are_gone_are_not_read(learned):
    path = heldout.path_of(learned.stored.digest)
    path.chmod(0o600)
    path.write_bytes(b"other")
    with pytest.raises(Damaged, match="was changed"):
        heldout.read(learned.stored)
    path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        heldout.read(learned.stored)


def test_of_many_rows_some_are_kept_and_that_is_stated(rows, monkeypatch):
    monkeypatch.setattr(heldout, "MOST_ROWS", 40)
    run = train.run("delay", rows=rows, code=SAVED)
    assert (run.stored.rows, run.stored.of) == (40, 100)
    assert run.notes == ("Of 100 held out rows 40 were measured and kept, drawn at random (seed 0).",)
    assert run.notes[0] in run.card().text().replace("\n", " ")


@pytest.mark.parametrize(
    ("end", "note"),
    [
        ("run.save(model)", "no metric is computed for the task custom; name it: run.save(model, task='regression')"),
        ("run.save(model, task='embedding')", "no metric is computed for the task embedding; log what matters"),
        ("run.save(model, task='embedding')", "no metric is computed for the task embedding"),
        ("run.save(model, task='generation')", "no metric is computed for the task generation"),
    ],
)
def test_no_metric_is_invented_for_other_tasks(rows, end, note):
    run = train.run("delay", rows=rows, code=CODE + end)
    assert [*run.metrics] == ["loss"]
    assert run.stored is None
    assert run.notes[0].startswith(f"Nothing was measured on a hold-out: {note}")
    assert run.notes[0].partition(";")[0] in " ".join(run.card().text().split())


def test_a_model_without_a_hold_out_says_how_to_get_one(rows):
    code = NETWORK + "model = Delay(len(run.columns.numbers), run.columns.sizes)\n"
    run = train.run("delay", rows=rows, code=code + "run.save(model, task='regression')")
    way = "run.split() in place of run.tensors() holds rows out."
    assert run.notes == (f"Nothing was measured on a hold-out: nothing was held out; {way}",)
    assert train.run("delay", rows=rows, code=code + "run.save(model)").notes == ()
    assert train.run("delay", rows=rows, code="run.split()").notes == ()


def test_a_label_with_more_classes_than_labels_is_refused(workspace, empty_mlflow):
    frame = flights().assign(late=np.arange(400) % 3)
    with pytest.raises(Failed, match="late has 3 classes, 0, 1, 2, and labels names others: no, yes"):
        train.run(
            "delay",
            rows=frame,
            label="late",
            columns=["temp", "carrier"],
            code=SAVED.replace("learn.y", "(learn.y > 0)"),
        )


def test_texts_are_classes_by_their_names(workspace, empty_mlflow):
    frame = flights().assign(late=lambda rows: rows["late"].map({0: "on time", 1: "late"}))
    run = train.run("delay", rows=frame, label="late", code=SAVED)
    assert heldout.read(run.stored)["late"].isin(["on time", "late"]).all()
    assert {*run.metrics} == {"loss", *NAMES}


def test_a_hold_out_of_one_class_cannot_tell_and_is_no_nan(workspace, empty_mlflow):
    frame = flights().assign(late=[0, 1] * 150 + [0] * 100)
    run = train.run("delay", rows=frame, label="late", timestamp="sched_dep", columns=["temp"], code=SAVED)
    assert "holdout_roc_auc" not in run.metrics
    assert run.notes == ("holdout_roc_auc: cannot tell, since no row is yes.",)


def test_a_constant_label_is_no_r2_and_no_classification(workspace, empty_mlflow):
    frame = flights().assign(late=1.0)
    regression = CODE + "run.save(model, task='regression')"
    run = train.run("delay", rows=frame, label="late", columns=["temp"], code=regression)
    assert run.notes == ("holdout_r2: cannot tell, since all rows have the same label.",)
    assert {*run.metrics} == {"loss", "holdout_rmse", "holdout_mae"}
    texts = CODE.replace("learn.y", "(learn.y * 0)") + "run.save(model, task='classification')"
    with pytest.raises(Failed, match=r"two labels or more, each once, not \['x'\]"):
        train.run("delay", rows=frame.assign(late="x"), label="late", columns=["temp"], code=texts)


def test_few_rows_measure_nothing(workspace, empty_mlflow):
    run = train.run("delay", rows=flights(9), label="late", columns=["temp"], code=SAVED)
    assert run.notes[0].startswith("Nothing was measured on a hold-out: 2 rows are too few to measure anything on")
    with pytest.raises(Failed, match="1 row leaves nothing"):
        train.run("delay", rows=flights(1), label="late", columns=["temp"], code="run.split()")


def test_several_labels_are_measured_each(workspace, empty_mlflow):
    from .test_plain import ONE

    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=200)}).assign(a=lambda rows: rows["x"], b=lambda rows: -rows["x"])
    run = train.run("two", rows=data.add("two", frame), label=["a", "b"], code=ONE)
    each = run.metrics["holdout_rmse_a"], run.metrics["holdout_rmse_b"]
    assert run.metrics["holdout_rmse"] == pytest.approx(np.mean(each))
    assert {"a", "b", "x"} == {*heldout.read(run.stored)}


def test_what_the_code_logged_by_that_name_gives_way_to_what_is_served(rows):
    code = SAVED.replace("run.log(loss=loss)", "run.log(loss=loss, holdout_accuracy=0.5)")
    run = train.run("delay", rows=rows, code=code, params={"epochs": 3})
    assert run.metrics["holdout_accuracy"] != 0.5
    assert "epoch" in run.card().lead
    assert max(point.step for point in run.points()) == 2


def test_a_model_that_is_resumed_after_its_last_epoch_is_measured_anew(rows):
    keeping = SAVED.replace("range(run", "range(run.resume(model, optimizer), run").replace(
        "run.log(loss=loss)", "run.log(loss=loss)\n    run.checkpoint(model, optimizer, epoch=epoch)"
    )
    first = train.run("delay", rows=rows, code=keeping)
    again = train.run("delay", rows=rows, code=keeping, resume=True)
    assert again.metrics == pytest.approx(first.metrics)
