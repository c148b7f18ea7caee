"""The metrics of a task, held against scikit-learn's, and what has none."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.train import scoring, signature
from aiinfra_lab.train.scoring import Unscored, class_names, score
from aiinfra_lab.train.signature import Signature, Task, Tensor

INPUTS = (Tensor("numbers", "FP32", (-1, 1)),)


def of(task: Task, **outputs: int | tuple[int, ...]) -> Signature:
    made = tuple(
        Tensor(name, "FP32", (-1, *(shape if isinstance(shape, tuple) else ()))) for name, shape in outputs.items()
    )
    return Signature(INPUTS, made, task)


def classes(count: int, rows: int = 60, seed: int = 0) -> tuple[Signature, dict, pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = tuple("abcdefgh"[:count])
    at = np.concatenate([np.arange(count), draw.integers(0, count, rows - count)])
    # Rounded, so that there are ties.
    chances = np.round(draw.dirichlet(np.ones(count), rows) + 0.3 * np.eye(count)[at], 1) + 0.05
    chances = (chances / chances.sum(1, keepdims=True)).astype(np.float32)
    truth = pd.DataFrame({"kind": [labels[place] for place in at]})
    return of(Task("classification", labels), kind=(count,)), {"kind": chances}, truth, at


def values(scored) -> dict[str, float | None]:
    return {one.name: one.value for one in scored.metrics}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_under_weights_each_metric_of_a_classification_is_scikit_learns(count):
    of_task, outputs, truth, at = classes(count)
    found = {one.name: one for one in score(of_task, outputs, truth).metrics}
    weights = np.random.default_rng(1).integers(0, 4, (3, len(at))).astype(float)
    weights[:, : 2 * count] += 1  # no class may be gone
    chances = outputs["kind"].astype(float) / outputs["kind"].astype(float).sum(1, keepdims=True)
    for row in weights:
        given = chances[:, 1] if count == 2 else chances
        wanted = {
            "accuracy": metrics.accuracy_score(at, chances.argmax(1), sample_weight=row),
            "log_loss": metrics.log_loss(at, chances, sample_weight=row),
            "brier": metrics.brier_score_loss(at, chances, sample_weight=row),
        }
        one_each = [metrics.roc_auc_score(at == each, chances[:, each], sample_weight=row) for each in range(count)]
        wanted["roc_auc"] = metrics.roc_auc_score(at, given, sample_weight=row) if count == 2 else np.mean(one_each)
        for name, value in wanted.items():
            assert found[name].draws(row[None])[0] == pytest.approx(value, rel=1e-9), name
    for name, one in found.items():
        assert one.draws(np.ones((1, len(at))))[0] == pytest.approx(one.value, rel=1e-9), name


def test_under_weights_each_metric_of_a_regression_is_scikit_learns():
    draw = np.random.default_rng(0)
    wanted = draw.normal(1e6, 1, 50)
    given = wanted + draw.normal(0, 0.3, 50)
    scored = score(of(Task("regression"), score=0), {"score": given}, pd.DataFrame({"y": wanted}))
    row = draw.integers(0, 4, 50).astype(float)
    found = {one.name: one.draws(row[None])[0] for one in scored.metrics}
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(wanted, given, sample_weight=row))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(wanted, given, sample_weight=row))
    assert found["r2"] == pytest.approx(metrics.r2_score(wanted, given, sample_weight=row))


def test_a_score_is_the_probability_of_the_second_of_two_labels():
    wide, outputs, truth, _ = classes(2)
    alone = of(wide.task, score=0)
    assert values(score(alone, {"score": outputs["kind"][:, 1]}, truth)) == pytest.approx(
        values(score(wide, outputs, truth)), rel=1e-5
    )
    with pytest.raises(Unscored, match="no probability of b"):
        score(alone, {"score": outputs["kind"][:, 1] * 9}, truth)


@pytest.mark.parametrize("count", [2, 3])
def test_a_hold_out_of_one_class_leaves_auc_unknown_and_nothing_is_nan(count):
    of_task, outputs, truth, at = classes(count)
    first = at == 0
    scored = score(of_task, {"kind": outputs["kind"][first]}, truth[first])
    found = values(scored)
    assert found.pop("roc_auc") is None
    assert {one.reason for one in scored.metrics} == {"", "no row is b"}
    assert all(np.isfinite(value) for value in found.values())


def test_of_many_labels_there_is_no_area():
    labels = tuple(map(str, range(30)))
    at = np.arange(60) % 30
    truth = pd.DataFrame({"kind": [labels[place] for place in at]})
    scored = score(of(Task("classification", labels), kind=(30,)), {"kind": np.eye(30)[at]}, truth)
    assert values(scored)["accuracy"] == 1
    assert [one.reason for one in scored.metrics if one.value is None] == ["it is computed of 20 labels at most"]


def test_a_constant_label_leaves_r2_unknown():
    scored = score(of(Task("regression"), score=0), {"score": np.arange(20.0)}, pd.DataFrame({"y": [1.0] * 20}))
    assert values(scored)["r2"] is None
    assert scored.metrics[-1].reason == "all rows have the same label"
    assert np.isnan(scored.metrics[-1].draws(np.ones((1, 20)))[0])


@pytest.mark.parametrize(
    "outputs", [{"a": 0, "b": 0}, {"both": (2,)}, {"one": 0, "other": 0}, {"a": 0, "b": 0, "c": 0}]
)
def test_several_labels_have_a_metric_each_and_the_mean(outputs):
    draw = np.random.default_rng(0)
    truth = pd.DataFrame(draw.normal(size=(30, 2)), columns=["a", "b"])
    off = truth.to_numpy() + np.array([0.5, 1.5])
    each = {name: off if shape else off[:, min(at, 1)] for at, (name, shape) in enumerate(outputs.items())}
    found = values(score(of(Task("regression"), **outputs), each, truth))
    assert (found["rmse_a"], found["rmse_b"], found["rmse"]) == pytest.approx((0.5, 1.5, 1.0))
    assert [*found] == ["rmse", "mae", "r2", "rmse_a", "mae_a", "r2_a", "rmse_b", "mae_b", "r2_b"]


@pytest.mark.parametrize(
    ("signature", "outputs", "truth", "what"),
    [
        (of(Task(), score=0), {"score": np.zeros(20)}, {"y": [0.0] * 20}, "no metric is computed for the task custom"),
        (of(Task("embedding"), score=0), {"score": np.zeros(20)}, {"y": [0.0] * 20}, "for the task embedding"),
        (of(Task("embedding"), v=(3,)), {"v": np.zeros((20, 3))}, {"y": [0.0] * 20}, "for the task embedding"),
        (of(Task("regression"), score=0), {"score": np.zeros(9)}, {"y": [0.0] * 9}, "9 rows are too few"),
        (of(Task("regression"), a=0, b=0), {"a": 0, "b": 0}, {"y": [0.0] * 20}, "which of a FP32 .* answers y"),
        (of(Task("regression"), score=0), {"score": np.zeros(20)}, {"y": ["a"] * 20}, "y is texts"),
        (of(Task("regression"), score=0), {"score": np.full(20, np.nan)}, {"y": [0.0] * 20}, "of 20 rows is not"),
        (of(Task("classification", ("a", "b", "c")), s=0), {"s": np.zeros(20)}, {"y": ["a"] * 20}, "which of s an"),
        (of(Task("classification", ("a", "b")), s=0), {"s": np.zeros(20)}, {"y": ["c"] * 20}, "no label 'c'"),
    ],
)  # fmt: skip
def test_what_has_no_metric_says_why(signature, outputs, truth, what):
    with pytest.raises(Unscored, match=what) as problem:
        score(signature, outputs, pd.DataFrame(truth))
    assert problem.value.fix


@pytest.mark.parametrize(
    ("column", "labels", "names"),
    [
        (["x", "y"], ("x", "y"), ["x", "y"]),
        ([0.0, 1.0], ("no", "yes"), ["no", "yes"]),
        ([1, 2], ("1", "2", "3"), ["1", "2"]),
        ([False, True], ("no", "yes"), ["no", "yes"]),
        ([True, False], ("false", "true"), ["true", "false"]),
        ([True, False], ("False", "True"), ["True", "False"]),
    ],
)
def test_a_class_is_its_name_or_its_place(column, labels, names):
    assert class_names(pd.Series(column, name="kind"), labels).tolist() == names


@pytest.mark.parametrize("column", [["x", "y", "z"], [0, 1, 2], [0.5, 1.0], [-1, 0]])
def test_more_classes_than_labels_are_refused(column):
    with pytest.raises(UsageProblem, match=f"kind has {len(column)} classes, .* and labels names others: x, y"):
        class_names(pd.Series(column, name="kind"), ("x", "y"))


def test_tasks_that_are_scored_are_tasks():
    assert {*scoring.SCORED} < {*signature.TASKS}


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        ([1, 2, 3, 4], ["1", "2", "3", "4", "5"], ["1", "2", "3", "4"]),
        ([5.0, 1.0], ["1", "2", "3", "4", "5"], ["5", "1"]),
        ([0, 2], ["a", "b", "c"], ["a", "c"]),
        ([0, 1], ["0", "1"], ["0", "1"]),
        ([1, 2], ["2", "1"], ["1", "2"]),
        ([True, True], ["no", "yes"], ["yes", "yes"]),
        ([True, True], ["True", "False"], ["True", "True"]),
        ([False, True], ["true", "false"], ["false", "true"]),
        ([False, True], ["1", "0"], ["0", "1"]),
        (["b", "a"], ["a", "b"], ["b", "a"]),
    ],
)
def test_the_labels_say_whether_a_number_is_a_name_or_a_place(values, labels, names):
    column = pd.Series(values, name="stars")
    assert class_names(column, labels).tolist() == names
    for at, name in enumerate(names):  # whatever other rows there are
        assert class_names(column.iloc[[at]], labels).tolist() == [name]


def test_a_number_that_is_no_name_is_no_place_where_numbers_are_names():
    with pytest.raises(UsageProblem, match="stars has 3 classes, 0, 1, 2, and labels names others: 1, 2, 3"):
        class_names(pd.Series([0, 1, 2], name="stars"), ["1", "2", "3"])
