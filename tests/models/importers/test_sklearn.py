import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    TweedieRegressor,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.sklearn import SklearnFile, SklearnModel
from aiinfra_lab.testing.models import ImporterContract

from .tables import NAMES, amounts, churned, customers
from .test_lightgbm import with_kinds


def dump(model: object, path: str | Path) -> None:
    import skops.io  # looks through all of scikit-learn: three seconds, in each process that collects this file

    skops.io.dump(model, path)


class TestSklearn(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return SklearnFile(settings())

    @pytest.fixture
    def trained(self):
        rows = with_kinds(400)
        parts = [("scaled", StandardScaler(), NAMES), ("coded", OneHotEncoder(handle_unknown="ignore"), ["kind"])]
        return make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(rows, churned(rows, 3))

    @pytest.fixture
    def file(self, trained, tmp_path):
        dump(trained, tmp_path / "churn.skops")
        return tmp_path / "churn.skops"

    @pytest.fixture
    def example(self):
        return {"rows": with_kinds(40, seed=1)}

    @pytest.fixture
    def rows(self):
        rows = with_kinds(200, seed=2)
        rows.loc[:20, "kind"] = "never seen"
        return rows

    @pytest.fixture
    def expected(self, trained, rows):
        return trained.predict_proba(rows)


def spread(count, seed=0):
    """The customers, with numbers of about the same size."""
    return customers(count, seed) / [90, 100_000, 10, 1]


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(10, random_state=0),
        make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=5, random_state=0)),
        make_pipeline(StandardScaler(), Ridge()),
        GradientBoostingRegressor(n_estimators=5),
        HistGradientBoostingRegressor(max_iter=20),
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20)),
    ],
    ids=lambda model: type(model[-1] if hasattr(model, "steps") else model).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_each_kind_is_answered_as_its_library_does(workspace, model):
    rows, others = customers(), customers(150, seed=3)
    is_classifier = hasattr(model, "predict_proba")
    model.fit(rows, churned(rows) if is_classifier else rows["age"] * 1.5)
    dump(model, "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=others)
    wanted = model.predict_proba(others) if is_classifier else model.predict(others)
    assert np.allclose(made.predict(others), wanted, rtol=1e-5, atol=1e-5)


def test_boosting_on_histograms_takes_missing_numbers_as_its_library_does(workspace):
    rows, others = customers(missing=0.2), customers(150, seed=3, missing=0.2)
    model = HistGradientBoostingClassifier(max_iter=20).fit(rows, churned(rows, 3))
    dump(model, "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=others)
    assert np.allclose(made.predict(others), model.predict_proba(others), rtol=1e-5, atol=1e-5)


def test_boosting_on_histograms_of_categories_is_refused_and_an_encoder_helps(workspace):
    rows = with_kinds(300)
    rows["kind"] = rows["kind"].map(ord)
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=["kind"]).fit(rows, churned(rows))
    dump(model, "churn.skops")
    with pytest.raises(UsageProblem, match=r"not known to be safe: functools\.partial") as problem:
        models.add("churn", from_="churn.skops", rows=rows)
    assert "by an encoder in the pipeline, not by categorical_features" in problem.value.fix
    rows = with_kinds(300)
    encoder = ColumnTransformer([("coded", OneHotEncoder(sparse_output=False), ["kind"])], remainder="passthrough")
    again = make_pipeline(encoder, HistGradientBoostingClassifier(max_iter=5, categorical_features=None))
    dump(again.fit(rows, churned(rows)), "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=rows)
    assert np.allclose(made.predict(rows), again.predict_proba(rows), rtol=1e-5, atol=1e-5)


def test_a_part_without_a_converter_names_those_that_have_one(workspace):
    rows = customers()
    model = KernelRidge().fit(rows[["age"]], rows["income"])
    dump(model, "income.skops")
    with pytest.raises(Failed, match="skl2onnx cannot convert this KernelRidge") as problem:
        models.add("income", from_="income.skops", rows=rows[["age"]])
    command = problem.value.fix.split("`")[1]
    listed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert "HistGradientBoostingRegressor" in listed
    assert "KernelRidge" not in listed


def test_a_model_that_was_not_trained_is_refused(workspace):
    dump(Ridge(), "age.skops")
    with pytest.raises(Failed, match=r"holds a Ridge that was not trained"):
        models.add("age", from_="age.skops", rows=customers())


def test_its_labels_are_its_classes(workspace):
    rows = customers()
    names = np.array(["stays", "goes"])[churned(rows)]
    dump(LogisticRegression(max_iter=10).fit(rows[["age"]].to_numpy() / 90, names), "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=rows[["age"]] / 90)
    assert made.signature.task.labels == ("goes", "stays")


def test_texts_as_places_in_an_order(workspace):
    rows = with_kinds(300)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    parts = [("coded", encoder, ["kind"]), ("rest", "passthrough", NAMES)]
    model = make_pipeline(ColumnTransformer(parts), RandomForestClassifier(4, random_state=0)).fit(rows, churned(rows))
    dump(model, "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=rows)
    assert np.allclose(made.predict(rows), model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    [OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)],
    ids=lambda each: type(each).__name__,
)
def test_a_number_between_categories_is_none_of_them(workspace, encoder):
    rows = spread(300).assign(kind=np.random.default_rng(0).integers(1, 7, 300).astype(float))
    parts = [("coded", encoder, ["kind"]), ("rest", "passthrough", NAMES)]
    model = make_pipeline(ColumnTransformer(parts), Ridge()).fit(rows, rows["kind"] * 2 + rows["age"])
    dump(model, "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=rows.head(60))
    odd = [1.0, 6.0, 1.5, 3.9999999, np.nextafter(4, 0), -1.0, 7.0, 99.0, 2.0**33 + 3, -3e9]
    others = rows.head(len(odd)).assign(kind=odd)
    assert np.allclose(made.predict(others), model.predict(others), rtol=1e-5, atol=1e-5)


def negated(values):
    return -values


def test_a_type_that_is_not_on_the_list_is_refused_by_name(workspace):
    rows = customers()
    dump(make_pipeline(FunctionTransformer(negated), Ridge()).fit(rows, rows["age"]), "age.skops")
    with pytest.raises(UsageProblem, match=r"not known to be safe: .*test_sklearn\.negated"):
        models.add("age", from_="age.skops", rows=rows)
    assert models.ls().items == ()


@pytest.mark.parametrize("model", [RidgeClassifier(), LinearSVC(), Perceptron()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("classes", [2, 3])
def test_labels_without_probabilities_are_refused_and_the_fix_is_taken(workspace, model, classes):
    rows, others = spread(300), spread(150, seed=3)
    dump(model.fit(rows, churned(customers(300), classes)), "churn.skops")
    with pytest.raises(UsageProblem, match="gives labels and no probabilities") as problem:
        models.add("churn", from_="churn.skops", rows=rows)
    assert "fit sklearn.calibration.CalibratedClassifierCV(model) with its method sigmoid" in problem.value.fix
    again = CalibratedClassifierCV(model, method="sigmoid").fit(rows, churned(customers(300), classes))
    dump(again, "churn.skops")
    made = models.add("churn", from_="churn.skops", rows=rows.head(60))
    assert np.allclose(made.predict(others), again.predict_proba(others), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["isotonic", "temperature"])
def test_a_calibration_that_is_converted_as_another_is_named_and_the_fix_is_taken(workspace, method):
    rows, labels = spread(300), churned(customers(300))
    forest = DecisionTreeClassifier(max_depth=4, random_state=0)
    dump(CalibratedClassifierCV(forest, method=method).fit(rows, labels), "churn.skops")
    with pytest.raises(UsageProblem, match=f"is calibrated by the method {method}") as problem:
        models.add("churn", from_="churn.skops", rows=rows)
    assert 'method="sigmoid"' in problem.value.fix
    dump(CalibratedClassifierCV(forest, method="sigmoid").fit(rows, labels), "churn.skops")
    assert models.add("churn", from_="churn.skops", rows=rows).uri == "models:churn@1"


PARTS = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
NUMBERS = [("line", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]


@pytest.mark.parametrize(
    "model",
    [
        VotingClassifier(PARTS, voting="soft"),
        StackingClassifier(PARTS),
        VotingRegressor(NUMBERS),
        StackingRegressor(NUMBERS),
        TweedieRegressor(power=1.5),
        TweedieRegressor(power=0),
        PoissonRegressor(),
        GammaRegressor(),
        HistGradientBoostingRegressor(loss="poisson", max_iter=10),
        HistGradientBoostingRegressor(loss="gamma", max_iter=10),
    ],
    ids=lambda model: f"{type(model).__name__}-{model.get_params().get('power', model.get_params().get('loss', ''))}",
)
def test_scikit_learns_own_parts_are_answered_as_they_predict(workspace, model):
    rows, others = spread(300), spread(150, seed=3)
    is_classifier = hasattr(model, "voting") or isinstance(model, StackingClassifier)
    model.fit(rows, churned(customers(300), 3) if is_classifier else amounts(customers(300)))
    dump(model, "bought.skops")
    made = models.add("bought", from_="bought.skops", rows=rows.head(60))
    wanted = model.predict_proba(others) if is_classifier else model.predict(others)
    assert np.ptp(wanted) > 0.01 * np.abs(wanted).max()
    assert np.allclose(made.predict(others), wanted, rtol=1e-5, atol=1e-5)


def test_missing_numbers_that_the_model_does_not_take_are_said(workspace):
    rows = customers()
    dump(make_pipeline(StandardScaler(), Ridge()).fit(rows, rows["age"]), "age.skops")
    with pytest.raises(Failed, match="cannot predict the example: Input X contains NaN"):
        models.add("age", from_="age.skops", rows=customers(missing=0.2))


TREES = [
    HistGradientBoostingClassifier(max_iter=30),
    HistGradientBoostingRegressor(max_iter=30),
    RandomForestClassifier(5, random_state=0),
    RandomForestRegressor(5, random_state=0),
    GradientBoostingClassifier(n_estimators=10),
    GradientBoostingRegressor(n_estimators=10),
    DecisionTreeRegressor(),
    ExtraTreesClassifier(5, random_state=0),
    AdaBoostRegressor(DecisionTreeRegressor(max_depth=3), n_estimators=3, random_state=0),
]


@pytest.mark.parametrize("model", TREES, ids=lambda model: type(model).__name__)
def test_trees_compare_large_numbers_as_scikit_learn_does(workspace, model):
    """Seconds since 1970 differ by less than float32 can tell; nothing of that is seen in five rows."""
    draw = np.random.default_rng(0)
    at = 1_760_000_000.0 + draw.integers(0, 86_400, 3000)
    rows = pd.DataFrame({"at": at, "amount": draw.normal(50, 10, 3000)})
    wanted = (at // 3600 % 2) + (rows["amount"] > 55)
    is_classifier = hasattr(model, "predict_proba")
    model.fit(rows, wanted.astype(int) if is_classifier else wanted)
    dump(model, "day.skops")
    made = models.add("day", from_="day.skops", rows=rows.head(5))
    found = made.predict(rows)
    assert np.allclose(found, model.predict_proba(rows) if is_classifier else model.predict(rows), rtol=1e-5, atol=1e-5)


def test_a_conversion_that_differs_only_at_thresholds_is_refused(workspace, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.models.importers.sklearn._converters", dict)
    rows = customers()
    dump(DecisionTreeRegressor().fit(rows, rows["age"] * 1.5), "age.skops")
    with pytest.raises(Failed, match="what would serve answers otherwise"):
        models.add("age", from_="age.skops", rows=rows.head(3))


@pytest.mark.parametrize("first", [TfidfVectorizer(), make_column_transformer((TfidfVectorizer(), "text"))])
def test_a_model_of_texts_is_refused_as_one(workspace, first):
    rows = pd.DataFrame({"text": ["good", "bad", "very good", "very bad"]})
    given = rows if hasattr(first, "transformers") else rows["text"]
    dump(make_pipeline(first, LogisticRegression()).fit(given, [1, 0, 1, 0]), "mood.skops")
    with pytest.raises(UsageProblem, match="takes texts by a TfidfVectorizer"):
        models.add("mood", from_="mood.skops", rows=rows)


def test_columns_that_are_taken_by_their_place_are_said(workspace):
    rows = customers()
    dump(DecisionTreeRegressor(max_depth=2).fit(rows.to_numpy(), rows["age"]), "age.skops")
    made = models.add("age", from_="age.skops", rows=rows)
    said = "it has no names of columns: those of "
    assert said in made.said
    assert f"are taken by their place, {', '.join(rows.columns)}" in made.model_card
    dump(DecisionTreeRegressor(max_depth=2).fit(rows, rows["age"]), "age.skops")
    assert said not in models.add("age", from_="age.skops", rows=rows).said


@pytest.mark.parametrize("scalers", [[StandardScaler()], [MinMaxScaler(), RobustScaler()]])
def test_thresholds_behind_scalers_are_named_in_the_columns_own_values(scalers):
    rows = customers()[["age"]].astype(float)
    trees = RandomForestRegressor(3, max_depth=3, random_state=0)
    model = make_pipeline(*scalers, trees).fit(rows, rows["age"])
    original = SklearnModel(model)
    original.columns(rows)
    (named,) = original.thresholds().values()
    alone = SklearnModel(RandomForestRegressor(3, max_depth=3, random_state=0).fit(rows, rows["age"]))
    alone.columns(rows)
    assert sorted(named) == pytest.approx(sorted(alone.thresholds()["age"]), rel=1e-5)
    # On both sides of each the model answers otherwise.
    below, above = (model.predict(pd.DataFrame({"age": [value + off for value in named]})) for off in (-1e-3, 1e-3))
    assert (below != above).all()


def test_what_mixes_columns_has_no_thresholds_to_name():
    rows = customers()[["age", "income"]].fillna(0.0)
    model = make_pipeline(PCA(2), RandomForestRegressor(3, random_state=0)).fit(rows, rows["age"])
    original = SklearnModel(model)
    original.columns(rows)
    assert original.thresholds() == {}
