import numpy as np
import pandas as pd
import pytest
import xgboost

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.xgboost import XgboostFile
from aiinfra_lab.testing.models import ImporterContract

from .tables import NAMES, amounts, churned, customers


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


TASKS = {
    "binary:logistic": "classification",
    "multi:softprob": "classification",
    "multi:softmax": "classification",
    **dict.fromkeys(("rank:pairwise", "rank:ndcg", "rank:map"), "ranking"),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
            "reg:gamma", "reg:tweedie", "count:poisson",
        ),
        "regression",
    ),
}  # fmt: skip
OWN = {
    "reg:quantileerror": {"quantile_alpha": 0.7},
    "reg:pseudohubererror": {"huber_slope": 30},
    "multi:softprob": {"num_class": 3},
    "multi:softmax": {"num_class": 3},
}
UNCONVERTED = ["reg:logistic", "binary:logitraw", "binary:hinge", "survival:cox", "survival:aft"]


def trained_for(objective, rows):
    is_of_amounts = objective.startswith(("reg:", "count:", "survival:")) and objective != "reg:logistic"
    labels = amounts(rows) if is_of_amounts else churned(rows, 3 if objective.startswith("multi:") else 2)
    matrix = xgboost.DMatrix(rows[NAMES], label=labels, group=[10] * (len(rows) // 10) if "rank" in objective else None)
    if objective == "survival:aft":
        matrix = xgboost.DMatrix(rows[NAMES], label_lower_bound=labels, label_upper_bound=labels + 1)
    return xgboost.train({"objective": objective, "max_depth": 3, **OWN.get(objective, {})}, matrix, 8)


@pytest.mark.parametrize("objective", TASKS)
def test_each_objective_is_answered_as_its_library_does(workspace, objective):
    rows, others = customers(), customers(100, seed=3)
    trained_for(objective, rows).save_model("churn.json")
    made = models.add("churn", from_="churn.json", rows=rows.head(60))
    assert made.signature.task.name == TASKS[objective]
    # Labels alone are what the same trees call the most probable.
    wanted = answers(trained_for(objective.replace("softmax", "softprob"), rows), others)
    found = made.predict(others[NAMES])
    assert np.ptp(wanted) > 0.01 * np.abs(wanted).max()
    assert np.allclose(found if found.ndim == wanted.ndim else found[:, 1], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", UNCONVERTED)
def test_an_objective_that_cannot_be_converted_is_named(workspace, objective):
    rows = customers()
    trained_for(objective, rows).save_model("churn.ubj")
    with pytest.raises(Failed, match=f"was trained for {objective}, whose") as problem:
        models.add("churn", from_="churn.ubj", rows=rows)
    assert problem.value.fix == f"train it for one output and one of {', '.join(sorted(TASKS))}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.8]}, "trained for 2 outputs at once"),
        ({"booster": "dart"}, "trained with booster=dart"),
        ({"booster": "gblinear"}, "trained with booster=gblinear"),
    ],
)
def test_what_else_its_converter_does_not_know_is_named(workspace, options, said):
    rows = customers()
    booster(rows, amounts(rows), **options).save_model("bought.ubj")
    with pytest.raises(Failed, match=said):
        models.add("bought", from_="bought.ubj", rows=rows)


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
