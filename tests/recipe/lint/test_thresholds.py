"""LAB304: lines and thresholds that the toolkit refuses, in notebooks and with what a recipe gives."""

import pytest

from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.lint import lint

from .conftest import code_cell

LOAD = "%load_ext aiinfra_lab"


def parameters(source: str) -> dict[str, object]:
    return code_cell(source, tags=("parameters",))


@pytest.mark.parametrize(
    ("cells", "where", "what"),
    [
        (["%models check delay --require 'auc => 0.7'"], (2, 1), "'=>' is not a comparison of auc"),
        (["x = 1\n%models check delay --require 'auc >'"], (2, 2), "the number that auc is compared with is missing"),
        (["%deploy start d --model m --rollback-if 'p95 > 80'"], (2, 1), "there is no metric 'p95'"),
        (["%gpu start a --budget much"], (2, 1), "--budget 'much' is no amount of money"),
        (["%gpu start a --for 2 --budget 5"], (2, 1), "--for '2' has no unit"),
        (["%gpu start a --fro 2h"], (2, 1), "%gpu start has no flag --fro"),
        (["%gpu begin a"], (2, 1), "%gpu has no verb 'begin'"),
        (["%gpu start 'a"], (2, 1), "a quote is not closed"),
        (["m = %models check delay --require 'auc ! 1'"], (2, 1), "'!' is not a comparison of auc"),
        (["%%train run a --rows x --seed many\npass"], (2, 1), "--seed 'many' is not"),
        (["%%data check a\nx = 1"], (2, 1), "%%data check takes no cell body"),
    ],
)
def test_what_the_toolkit_refuses_is_found(found, cells, where, what):
    (only,) = found("LAB304", LOAD, *cells)
    assert (only.cell, only.line) == where
    assert what in only.what
    assert only.fix


@pytest.mark.parametrize(
    "cell",
    [
        "%models check delay --require 'auc > 0.7 and loss < 0.5'",
        "%models policy delay --require none",
        "%models check delay --require $require",
        "%models check delay --require 'auc > $least'",
        "%deploy start d --model $m --canary $share --rollback-if 'p95_ms > 80 or errors > 1%'",
        "%deploy start d --model $m --canary 5%",
        "%gpu start a --budget 5usd --for 1h30m --idle none",
        "%gpu start a --for $hours",
        "%gpu --help\n%gpu start?",
        "%data add x $frame",
        "%gpu",
        "%%gpu run a\n%gpu begin x",
        "%%train run a --rows $X -p epochs=3 -o run\npass",
    ],
)
def test_what_it_takes_is_not(found, cell):
    assert found("LAB304", LOAD, cell) == []


def test_a_parameters_default_is_read_where_it_is_used(places):
    first = parameters("require: str = 'auc => 1'\nother: str = 'auc => 1'")
    assert places("LAB304", first, LOAD, "%models check m --require $require") == [(3, 1)]
    assert places("LAB304", first, LOAD, "require = read()", "%models check m --require $require") == []


GIVING = """
[parameters]
require = "auc > 0.7"
budget = "5"

[small]
require = {small}

[steps.one]
notebook = "one.ipynb"
parameters = {{ require = {given}, budget = "${{params.budget}}" }}
"""


@pytest.mark.parametrize(
    ("given", "small", "line"),
    [
        ('"${params.require}"', '"auc > 0.6"', None),
        ('"${params.require}"', '"auc = 0.6"', 7),
        ('"auc =< 1"', '"auc > 0.6"', 11),
    ],
)
def test_a_recipes_value_is_found_in_its_file(notebook, recipe, given, small, line):
    notebook("one", "require: str = 'auc > 0.5'\nbudget: str = '1'", LOAD, "%models check m --require $require")
    path = recipe("r", GIVING.format(given=given, small=small))
    found = lint(declaration.read("r"))
    assert [(each.path, each.cell, each.line, each.code) for each in found] == (
        [(path, 0, line, "LAB304")] if line else []
    )
    assert all("in cell 3 of the notebook" in each.what for each in found)
