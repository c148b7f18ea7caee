"""A step whose output is not as good as it has to be has failed."""

import pytest

from aiinfra_lab import recipe
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.recipe import declaration, expectations
from aiinfra_lab.recipe.expectations import unmet
from aiinfra_lab.rules import parse

TRAIN = """
import numpy as np, pandas as pd
from aiinfra_lab import train
rows = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60) % 2})
train.run("small", rows=rows, label="y", code=f"run.log(auc={auc})")
"""
ONE = """
[parameters]
auc = 0.8
[steps.fit]
notebook = "fit.ipynb"
parameters = { auc = "${params.auc}" }
out = { run = "train:small" }
expect = { run = "RULE" }
[steps.use]
notebook = "use.ipynb"
in = { made = "fit.run" }
"""


@pytest.fixture
def one(notebook, recipe):
    notebook("fit", "auc: float = 0.5", TRAIN)
    notebook("use", "made: str = ''", "assert made")

    def write(rule: str) -> None:
        recipe("one", ONE.replace("RULE", rule))

    return write


def test_what_is_good_enough_is_done_and_a_stricter_rule_fails_it_without_a_run(one):
    one("auc > 0.7")
    assert [step["state"] for step in recipe.run("one").steps.values()] == ["done", "done"]
    one("auc > 0.9")
    plan = recipe.run("one", dry=True)
    assert [(step["action"], step["because"]) for step in plan.steps.values()] == [
        ("fail", ("train:small@1 is expected to have auc > 0.9, and auc is 0.8",)),
        ("block", ("fit would not succeed",)),
    ]
    assert plan.card().lead.startswith("**1 step would fail**")
    done = recipe.run("one", report=True)
    assert [step["state"] for step in done.steps.values()] == ["failed", "blocked"]
    assert done.steps["fit"]["error"] == "train:small@1 is expected to have auc > 0.9, and auc is 0.8"
    with pytest.raises(Failed, match=r"auc is 0\.8") as problem:
        recipe.run("one")
    assert "correct `expect`, or the notebook, which did not run" in problem.value.fix
    one("auc > 0.75")
    states = [step["state"] for step in recipe.run("one").steps.values()]
    assert states == ["skipped", "skipped"], "nothing was trained meanwhile"


def test_a_metric_that_was_not_measured_satisfies_nothing(one):
    one("f1 > 0.1 or auc > 0.85")
    done = recipe.run("one", report=True)
    assert done.steps["fit"]["error"].endswith("f1 is not measured and auc is 0.8")
    assert done.steps["fit"]["outputs"] == {"run": "train:small@1"}, "it can be looked at"


@pytest.mark.parametrize(
    ("rule", "what"), [("auc", "expect run: "), ("auc >> 1", "expect run: "), ("", "expect run: the rule is empty")]
)
def test_what_is_no_rule_is_refused_with_its_place(one, rule, what):
    one(rule)
    with pytest.raises(UsageProblem) as problem:
        declaration.read("one")
    assert problem.value.what.startswith(f"one.toml [steps.fit]: {what}")


RECORDED = '[steps.a]\nnotebook = "a.ipynb"\nout = {{ o = "{uri}" }}\nexpect = {{ o = "{rule}" }}\n'


@pytest.mark.parametrize(("rule", "what"), [("rows > 2", "rows is 2"), ("size_bytes > 1000 and files > 0", "size_by")])
def test_rows_files_and_size_of_data_can_be_expected(notebook, recipe, workspace, rule, what):
    from aiinfra_lab import recipe as recipes

    notebook("a", "", "from aiinfra_lab import data; data.add('o', '../o.csv')")
    (workspace / "o.csv").write_text("x\n1\n2\n")
    recipe("r", RECORDED.format(uri="data:o", rule="rows >= 2 and files <= 1 and size_bytes < 10"))
    assert recipes.run("r").steps["a"]["state"] == "done"
    recipe("r", RECORDED.format(uri="data:o", rule=rule))
    assert what in recipes.run("r", report=True).steps["a"]["error"]


@pytest.mark.parametrize(
    ("uri", "what", "fix"),
    [
        ("data:o", "there is no metric 'row'", "did you mean rows?"),
        ("features:o", "nothing is measured of features", "data or train or models"),
        ("deploy:o", "nothing is measured of deploy", "data or train or models"),
    ],
)
def test_what_nobody_measures_is_refused_before_a_run(notebook, recipe, uri, what, fix):
    notebook("a", "")
    recipe("r", RECORDED.format(uri=uri, rule="row > 0"))
    with pytest.raises(UsageProblem) as problem:
        declaration.read("r")
    assert problem.value.what.startswith("r.toml [steps.a]: expect o: ")
    assert (what in problem.value.what, fix in problem.value.fix) == (True, True)


@pytest.mark.parametrize(
    ("rule", "value", "shown"),
    [
        ("x <= 0.5", 0.50000001, "0.50000001"),
        ("x > 0.5", 0.49999999, "0.49999999"),
        ("x <= 0.5", 0.7123456, "0.7123"),
        ("x <= 1000000", 1000001.0, "1000001"),
        ("x > 0.5", 0.5, "0.5"),
        ("x > 80", 1e300, "1e+300"),
        ("x > 80", float("-inf"), "-inf"),
        ("x > 0.5", float("nan"), "not a number (NaN)"),
        ("x > 0.3", 0.29999999999999993, "0.2999999999999999"),
    ],
)
def test_a_value_is_shown_where_it_lies(rule, value, shown):
    assert expectations._shown(parse(rule), "x", value) == shown


def test_nothing_is_expected_of_a_file(notebook, recipe):
    notebook("a", "n: int = 1")
    recipe("r", RECORDED.format(uri="build/t.txt", rule="rows > 0"))
    with pytest.raises(UsageProblem, match=r"expect o: build/t.txt is a file, and `expect` is for things") as problem:
        declaration.read("r")
    assert problem.value.fix == "leave o out of `expect`, and `assert` it in a cell of the notebook"


def test_what_the_step_does_not_make_cannot_be_expected(notebook, recipe):
    notebook("a", "")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nout = { run = "train:x" }\nexpect = { rnu = "auc > 1" }\n')
    with pytest.raises(UsageProblem) as problem:
        declaration.read("r")
    assert problem.value.fix == "did you mean run?"


def test_nothing_is_asked_where_nothing_is_expected():
    assert unmet({}, {"run": "train:none@1"}) == ""
    assert unmet({"run": parse("auc > 1")}, {}) == ""
