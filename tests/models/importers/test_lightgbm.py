from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed
from aiinfra_lab.models.importers.lightgbm import LightgbmFile
from aiinfra_lab.testing.models import ImporterContract

from .tables import amounts, churned, customers

OPTIONS = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}


def with_kinds(count, seed=0, missing=0.0):
    rows = customers(count, seed, missing)
    return rows.assign(kind=np.random.default_rng(seed).choice(list("vwxyz"), count))


def booster(rows, labels, **options):
    kinds = rows.assign(kind=pd.Categorical(rows["kind"])) if "kind" in rows else rows
    return lightgbm.train({**OPTIONS, **options}, lightgbm.Dataset(kinds, label=labels), 10)


class TestLightgbm(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return LightgbmFile(settings())

    @pytest.fixture
    def trained(self):
        rows = with_kinds(400, missing=0.1)
        labels = (churned(rows, 3) + (rows["kind"] > "x")) % 3
        return booster(rows, labels, objective="multiclass", num_class=3)

    @pytest.fixture
    def file(self, trained, tmp_path):
        trained.save_model(tmp_path / "churn.txt")
        return tmp_path / "churn.txt"

    @pytest.fixture
    def example(self):
        return {"rows": with_kinds(40, seed=1, missing=0.2)}

    @pytest.fixture
    def rows(self):
        return with_kinds(200, seed=2, missing=0.1)

    @pytest.fixture
    def expected(self, trained, rows):
        return trained.predict(rows.assign(kind=pd.Categorical(rows["kind"], categories=list("vwxyz"))))


OBJECTIVES = [
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "binary",
    "cross_entropy", "lambdarank", "rank_xendcg", "multiclass",
]  # fmt: skip


def trained_for(objective, rows, **options):
    is_of_classes = objective in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg")
    classes = 3 if objective.startswith("multiclass") else 2 if is_of_classes else 0
    data = lightgbm.Dataset(rows, label=churned(rows, classes) if classes else amounts(rows))
    if "rank" in objective or objective == "lambdarank":
        data.set_group([10] * (len(rows) // 10))
    own = {"num_class": 3} if classes == 3 else {}
    return lightgbm.train({**OPTIONS, "objective": objective, **own, **options}, data, 10)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_objective_is_answered_as_its_library_does(workspace, objective):
    rows, others = customers(), customers(200, seed=3)
    model = trained_for(objective, rows)
    model.save_model("churn.txt")
    made = models.add("churn", from_="churn.txt", rows=rows.head(60))
    found, wanted = made.predict(others), model.predict(others)
    assert np.ptp(wanted) > 0.01 * np.abs(wanted).max()
    assert np.allclose(found if found.ndim == wanted.ndim else found[:, 1], wanted, rtol=1e-5, atol=1e-5)


def test_a_forest_gives_the_mean_of_its_trees(workspace):
    rows = customers()
    options = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7, "objective": "regression"}
    model = booster(rows, rows["income"], **options)
    model.save_model("income.txt")
    made = models.add("income", from_="income.txt", rows=rows)
    assert np.allclose(made.predict(rows), model.predict(rows), rtol=1e-5)


def test_numbers_that_differ_only_in_double_precision_are_told_apart(workspace):
    base = 1_700_000_000.0
    rows = pd.DataFrame({"at": base + np.arange(300.0), "other": np.zeros(300)})
    model = lightgbm.train({**OPTIONS, "objective": "regression"}, lightgbm.Dataset(rows, label=np.arange(300.0)), 20)
    model.save_model("at.txt")
    made = models.add("at", from_="at.txt", rows=rows)
    assert np.allclose(made.predict(rows), model.predict(rows), rtol=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("lowest", [-10, -1, 0])
def test_a_split_beside_zero_is_one_beside_all_that_its_library_takes_for_zero(workspace, lowest, missing):
    draw = np.random.default_rng(1)
    at = draw.integers(lowest, 31, 2000).astype(float)
    at[draw.random(2000) < missing] = np.nan
    rows = pd.DataFrame({"at": at})
    model = lightgbm.train(
        {**OPTIONS, "objective": "regression"},
        lightgbm.Dataset(rows, label=np.nan_to_num(at) + np.sin(at + 1 == 1)),
        40,
    )
    model.save_model("at.txt")
    made = models.add("at", from_="at.txt", rows=rows.head(60))
    around = [
        *range(lowest, 31),
        *(sign * tiny for sign in (-1, 1) for tiny in (1e-36, 1e-35, float(np.float32(1e-35)), 2e-35)),
    ]
    others = pd.DataFrame({"at": np.array(around, float)})
    assert np.allclose(made.predict(others), model.predict(others), rtol=1e-5, atol=1e-5)


def test_a_category_that_was_never_seen_goes_where_a_missing_one_does(workspace):
    rows = with_kinds(400)
    booster(rows, churned(rows), objective="binary").save_model("churn.txt")
    made = models.add("churn", from_="churn.txt", rows=rows)
    assert [item.categories for item in made.columns.categories] == [tuple("vwxyz")]
    row = rows.head(1).to_dict("records")[0]
    assert len(made.answers([{**row, "kind": "never"}])) == 1


def test_a_file_that_was_cut_off_is_refused(workspace):
    rows = customers()
    booster(rows, churned(rows), objective="binary").save_model("churn.txt")
    text = Path("churn.txt").read_text()
    Path("cut.txt").write_text(text[: text.index("end of trees") - 50])
    with pytest.raises(Failed, match="ends in the middle of its trees"):
        models.add("churn", from_="cut.txt", rows=rows)


@pytest.mark.parametrize(
    ("objective", "options"),
    [("multiclassova", {}), ("cross_entropy_lambda", {}), ("regression", {"reg_sqrt": True})],
)
def test_an_objective_that_cannot_be_converted_is_named(workspace, objective, options):
    rows = customers()
    trained_for(objective, rows, **options).save_model("churn.txt")
    with pytest.raises(Failed, match=f"was trained for {objective}"):
        models.add("churn", from_="churn.txt", rows=rows)


def test_leaves_of_linear_models_are_refused(workspace):
    rows = customers()
    booster(rows, rows["age"] * 1.5, objective="regression", linear_tree=True).save_model("age.txt")
    with pytest.raises(Failed, match="has linear models in its leaves"):
        models.add("age", from_="age.txt", rows=rows)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_what_differs_by_the_answers_own_size_is_refused_however_small_they_are(workspace, monkeypatch, size):
    from aiinfra_lab.models.importers import lightgbm as importer

    rows = customers()
    booster(rows, rows["age"] * size, objective="regression").save_model("age.txt")
    models.add("age", from_="age.txt", rows=rows)
    put = importer._Trees._put
    off = lambda self, tree, node, target: put(self, tree, {**node, "leaf_value": 0.0} if tree else node, target)  # noqa: E731
    monkeypatch.setattr(importer._Trees, "_put", off)
    with pytest.raises(Failed, match="what would serve answers otherwise"):
        models.add("other", from_="age.txt", rows=rows)
