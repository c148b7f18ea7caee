"""A step whose output is not as good as it has to be has failed."""

import pytest

from aiinfra_lab import recipe
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.recipe import declaration
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
parameters = { auc = "$auc" }
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


def test_what_the_step_does_not_make_cannot_be_expected(notebook, recipe):
    notebook("a", "")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nout = { run = "train:x" }\nexpect = { rnu = "auc > 1" }\n')
    with pytest.raises(UsageProblem) as problem:
        declaration.read("r")
    assert problem.value.fix == "did you mean run?"


def test_nothing_is_asked_where_nothing_is_expected():
    assert unmet({}, {"run": "train:none@1"}) == ""
    assert unmet({"run": parse("auc > 1")}, {}) == ""
