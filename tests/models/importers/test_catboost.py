import catboost
import numpy as np
import pytest

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.catboost import CatboostFile
from aiinfra_lab.testing.models import ImporterContract

from .tables import NAMES, amounts, churned, customers

OPTIONS = {"iterations": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


class TestCatboost(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return CatboostFile(settings())

    @pytest.fixture
    def trained(self):
        rows = customers()
        names = np.array(["loyal", "open", "gone"])[churned(rows, 3)]
        return catboost.CatBoostClassifier(**OPTIONS).fit(rows, names)

    @pytest.fixture
    def file(self, trained, tmp_path):
        trained.save_model(tmp_path / "churn.cbm")
        return tmp_path / "churn.cbm"

    @pytest.fixture
    def example(self):
        return {"rows": customers(40, seed=1)}

    @pytest.fixture
    def rows(self):
        return customers(200, seed=2)[NAMES]

    @pytest.fixture
    def expected(self, trained, rows):
        return trained.predict_proba(rows)


def test_its_labels_are_those_of_the_training(workspace):
    rows = customers()
    names = np.array(["loyal", "gone"])[churned(rows)]
    model = catboost.CatBoostClassifier(**OPTIONS).fit(rows, names)
    model.save_model("churn.cbm")
    made = models.add("churn", from_="churn.cbm", rows=rows)
    assert made.signature.task.labels == ("gone", "loyal")
    assert np.allclose(made.predict(rows), model.predict_proba(rows), atol=1e-5)


def test_a_regression_gives_a_number_a_row(workspace):
    rows = customers(missing=0.1)
    model = catboost.CatBoostRegressor(**OPTIONS).fit(rows[NAMES].to_numpy(), rows["age"] * 2.0)
    model.save_model("age.cbm")
    made = models.add("age", from_="age.cbm", rows=rows)
    assert made.signature.task.name == "regression"
    assert np.allclose(made.predict(rows), model.predict(rows[NAMES].to_numpy()), rtol=1e-5)


def test_columns_of_categories_are_refused(workspace):
    rows = customers().assign(kind=["a", "b", "c"] * 100)
    model = catboost.CatBoostClassifier(**OPTIONS).fit(rows, churned(rows), cat_features=["kind"])
    model.save_model("churn.cbm")
    with pytest.raises(UsageProblem, match="has columns of categories"):
        models.add("churn", from_="churn.cbm", rows=rows)


REGRESSIONS = [
    "RMSE", "MAE", "MAPE", "Poisson", "Tweedie:variance_power=1.5", "Quantile:alpha=0.7", "LogLinQuantile:alpha=0.7",
    "Lq:q=3", "Huber:delta=1", "Expectile:alpha=0.3", "LogCosh", "Cox", "SurvivalAft:dist=Normal",
]  # fmt: skip
RANKINGS = [
    "YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "QueryRMSE", "QuerySoftMax", "StochasticFilter",
    "StochasticRank:metric=DCG", "LambdaMart", "GroupQuantile:alpha=0.6",
]  # fmt: skip
CLASSES = ["Logloss", "CrossEntropy", "MultiClass"]
UNCONVERTED = [
    "Focal:focal_alpha=0.5;focal_gamma=2", "MultiClassOneVsAll", "MultiLogloss", "MultiCrossEntropy",
    "RMSEWithUncertainty", "MultiQuantile:alpha=0.2,0.8", "MultiRMSE", "MultiRMSEWithMissingValues",
]  # fmt: skip


def trained_for(loss, rows):
    """By the class for it, whose `predict` is what its user knows as its answers."""
    options, labels, classes = {**OPTIONS, "loss_function": loss}, amounts(rows), churned(rows, 3)
    name = loss.partition(":")[0]
    if loss in RANKINGS:
        return catboost.CatBoostRanker(**options).fit(rows, classes, group_id=np.arange(len(rows)) // 10)
    if name in ("MultiLogloss", "MultiCrossEntropy"):
        labels = np.column_stack([classes > 0, classes > 1]).astype(int)
    elif name == "SurvivalAft":
        labels = np.column_stack([labels, labels + 1])
    elif name.startswith("MultiRMSE"):
        labels = np.column_stack([labels, -labels])
    if loss in (*CLASSES, *UNCONVERTED[:4]):
        labels = labels if labels.ndim == 2 else classes if name.startswith("MultiClass") else churned(rows)
        return catboost.CatBoostClassifier(**options).fit(rows, labels)
    return catboost.CatBoostRegressor(**options).fit(rows, labels)


@pytest.mark.parametrize("loss", [*REGRESSIONS, *RANKINGS, *CLASSES])
def test_each_loss_is_answered_as_predict_of_its_class_does(workspace, loss):
    rows, others = customers(), customers(200, seed=3)
    model = trained_for(loss, rows)
    model.save_model("bought.cbm")
    made = models.add("bought", from_="bought.cbm", rows=rows.head(60))
    wanted = model.predict_proba(others) if loss in CLASSES else model.predict(others)
    assert np.ptp(wanted) > 0.01 * np.abs(wanted).max()
    assert np.allclose(made.predict(others), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", UNCONVERTED)
def test_a_loss_that_cannot_be_converted_is_named(workspace, loss):
    rows = customers()
    trained_for(loss, rows).save_model("bought.cbm")
    with pytest.raises(Failed, match=f"was trained for {loss.partition(':')[0]}, whose") as problem:
        models.add("bought", from_="bought.cbm", rows=rows)
    offered = problem.value.fix.removeprefix("train it for one of ").split(", ")
    known = [each.partition(":")[0] for each in (*REGRESSIONS, *RANKINGS, *CLASSES)]
    assert offered == sorted(known)


def test_a_sum_of_models_says_nothing_of_what_its_numbers_mean(workspace):
    rows = customers()
    summed = catboost.sum_models([trained_for("RMSE", rows), trained_for("MAE", rows)], weights=[0.5, 0.5])
    summed.save_model("bought.cbm")
    made = models.add("bought", from_="bought.cbm", rows=rows)
    assert made.signature.task.name == "custom"
    assert np.allclose(made.predict(rows), summed.predict(rows), rtol=1e-5)
