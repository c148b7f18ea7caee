import numpy as np
import pandas as pd
import pytest
import xgboost

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.models.importers.xgboost import XgboostFile
from aiinfra_lab.testing.models import ImporterContract

from .tables import NAMES, churned, customers


def booster(rows, labels, names=NAMES, rounds=8, **options):
    matrix = xgboost.DMatrix(rows[NAMES].to_numpy(), label=labels, feature_names=names)
    return xgboost.train({"max_depth": 4, **options}, matrix, rounds)


def answers(model, rows):
    return model.predict(xgboost.DMatrix(rows[NAMES].to_numpy(), feature_names=model.feature_names))


def test_fewer_labels_than_classes_are_refused(workspace):
    rows = customers()
    booster(rows, churned(rows, 3), objective="multi:softprob", num_class=3).save_model("churn.ubj")
    with pytest.raises(UsageProblem, match="it has 3 classes, and 2 labels are given") as problem:
        models.add("churn", from_="churn.ubj", rows=rows, labels="goes,stays")
    assert "name 3, in the order of 0, 1, 2" in problem.value.fix
    assert models.ls().items == ()


class TestXgboost(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return XgboostFile(settings())

    @pytest.fixture
    def trained(self):
        rows = customers(missing=0.1)
        return booster(rows, churned(rows, 3), objective="multi:softprob", num_class=3)

    @pytest.fixture
    def file(self, trained, tmp_path):
        trained.save_model(tmp_path / "churn.ubj")
        return tmp_path / "churn.ubj"

    @pytest.fixture
    def example(self):
        return {"rows": customers(40, seed=1, missing=0.2)}

    @pytest.fixture
    def rows(self):
        return customers(200, seed=2, missing=0.1)[NAMES]

    @pytest.fixture
    def expected(self, trained, rows):
        return answers(trained, rows)


@pytest.mark.parametrize(
    ("objective", "task"),
    [("binary:logistic", "classification"), ("reg:squarederror", "regression"), ("count:poisson", "regression")],
)
def test_each_objective_is_answered_as_its_library_does(workspace, objective, task):
    rows, others = customers(), customers(100, seed=3)
    model = booster(rows, churned(rows), objective=objective)
    model.save_model("churn.json")
    made = models.add("churn", from_="churn.json", rows=others)
    found, wanted = made.predict(others[NAMES]), answers(model, others)
    assert made.signature.task.name == task
    assert np.allclose(found if found.ndim == 1 else found[:, 1], wanted, rtol=1e-5, atol=1e-5)


def test_labels_are_named_or_numbered(workspace):
    rows = customers()
    booster(rows, churned(rows), objective="binary:logistic").save_model("churn.ubj")
    assert models.add("churn", from_="churn.ubj", rows=rows).signature.task.labels == ("0", "1")
    made = models.add("churn", from_="churn.ubj", rows=rows, labels="stays,goes")
    answer = made.answers(rows[NAMES].head(1).to_dict("records"))[0]
    assert answer["prediction"] in ("stays", "goes")
    assert set(answer["prediction_probabilities"]) == {"stays", "goes"}
    with pytest.raises(UsageProblem, match="it has 2 classes, and 3 labels are given"):
        models.add("churn", from_="churn.ubj", rows=rows, labels="a,b,c")
    with pytest.raises(UsageProblem, match="it is a classification model, and --task says regression"):
        models.add("churn", from_="churn.ubj", rows=rows, task="regression")


def test_the_trees_after_the_best_iteration_are_left_out(workspace):
    rows, labels = customers(), churned(customers())
    held = xgboost.DMatrix(customers(50, seed=9)[NAMES].to_numpy(), label=1 - churned(customers(50, seed=9)))
    model = xgboost.train(
        {"objective": "binary:logistic"},
        xgboost.DMatrix(rows[NAMES].to_numpy(), label=labels), 12,
        evals=[(held, "held")], early_stopping_rounds=5, verbose_eval=False,
    )  # fmt: skip
    model.save_model("churn.ubj")
    assert model.best_iteration < 11
    rows = rows[NAMES]
    wanted = model.predict(xgboost.DMatrix(rows.to_numpy()), iteration_range=(0, model.best_iteration + 1))
    made = models.add("churn", from_="churn.ubj", rows=rows)
    assert np.allclose(made.predict(rows)[:, 1], wanted, atol=1e-5)


def test_columns_that_lack_are_named(workspace):
    rows = customers()
    booster(rows, churned(rows), objective="binary:logistic").save_model("churn.ubj")
    with pytest.raises(UsageProblem, match="the rows have no column 'income', which it takes"):
        models.add("churn", from_="churn.ubj", rows=rows.drop(columns="income"))
    with pytest.raises(UsageProblem, match="the column age is object, and the model takes numbers there"):
        models.add("churn", from_="churn.ubj", rows=rows.assign(age="old"))
    with pytest.raises(UsageProblem, match=r"was given no rows"):
        models.add("churn", from_="churn.ubj")


def test_a_model_without_names_takes_the_columns_in_their_order(workspace):
    rows = customers()
    model = booster(rows, churned(rows), names=None, objective="binary:logistic")
    model.save_model("churn.ubj")
    with pytest.raises(UsageProblem, match="takes 4, and the rows have 5"):
        models.add("churn", from_="churn.ubj", rows=rows.assign(more=1.0))
    made = models.add("churn", from_="churn.ubj", rows=rows)
    assert np.allclose(made.predict(rows)[:, 1], answers(model, rows), atol=1e-5)


def test_columns_of_categories_are_refused(workspace):
    rows = customers()[["age"]].assign(kind=pd.Categorical(["a", "b", "c"] * 100))
    matrix = xgboost.DMatrix(rows, label=churned(customers()), enable_categorical=True)
    xgboost.train({"objective": "binary:logistic"}, matrix, 3).save_model("churn.ubj")
    with pytest.raises(UsageProblem, match="has columns of categories"):
        models.add("churn", from_="churn.ubj", rows=rows)


def test_what_is_required_is_refused_where_it_lacks(workspace):
    rows = customers(missing=0.2)
    booster(rows, churned(rows), objective="binary:logistic").save_model("churn.ubj")
    made = models.add("churn", from_="churn.ubj", rows=rows)
    assert {item.name for item in made.columns if item.required} == {"age", "visits"}
    row = {"age": 30, "visits": 1.0}
    assert made.answers([row])[0] == made.answers([{**row, "income": None, "debt": None}])[0]
    with pytest.raises(ValueError, match="this required column is missing"):
        made.answers([{"age": 30}])


def test_a_json_of_anything_else_is_no_model_of_it(workspace, tmp_path):
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert not XgboostFile(settings()).suits(tmp_path / "other.json")
