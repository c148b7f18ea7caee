import catboost
import numpy as np
import pytest

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.models.importers.catboost import CatboostFile
from aiinfra_lab.testing.models import ImporterContract

from .tables import NAMES, churned, customers

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
