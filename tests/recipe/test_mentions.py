"""Which names of `in` and `out` the code of a notebook is known to take."""

import pytest

from aiinfra_lab.errors import Failed
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.mentions import assigned, mentioned
from aiinfra_lab.recipe.notebook import read_notebook


@pytest.mark.parametrize(
    "cells",
    [
        ("recipe.inputs.nb",),
        ("from aiinfra_lab import recipe as r", "r.inputs.nb"),
        ("from aiinfra_lab.recipe import inputs", "inputs.nb"),
        ("from aiinfra_lab.recipe import inputs as given", "def f():\n    return given.nb.read_text()"),
        ("import aiinfra_lab.recipe", "aiinfra_lab.recipe.inputs.nb"),
        ("i = recipe.inputs", "i.nb"),
        ("from aiinfra_lab import recipe", "mine = recipe.inputs('a/x')\nmine.nb"),
        ("recipe.inputs('a/x').nb",),
        ("%time x = 1\nrecipe.inputs.nb",),
        ("%%time\nrecipe.inputs.nb",),
        ("!wc -l {recipe.inputs.nb}",),
    ],
)
def test_a_name_is_known_by_whatever_its_owner_is_called(notebook, cells):
    read = read_notebook(notebook("a", "n: int = 1", *cells))
    assert (mentioned(read, "in"), mentioned(read, "out")) == ({"nb"}, set())


@pytest.mark.parametrize(
    "cells",
    [
        ("# recipe.inputs.nb", "'recipe.inputs.nb'"),
        ("from aiinfra_lab.recipe import inputs", "inputs, labels = batch", "inputs.shape"),
        ("recipe = load()", "recipe.inputs.nb"),
        ("i = recipe.inputs", "for i in range(3): i.real"),
        ("recipe.inputs.__class__",),
        ("getattr(recipe.inputs, name)",),
    ],
)
def test_a_name_that_may_be_something_else_is_not(notebook, cells):
    assert mentioned(read_notebook(notebook("a", "n: int = 1", *cells)), "in") == set()


def test_what_stands_as_a_parameter_does_is_known(notebook):
    cells = ("a = 1\nb: str = 'x'\nc = f()", "def g():\n    d = 1")
    assert assigned(read_notebook(notebook("a", "n: int = 1", *cells))) == {"n", "a", "b"}


STEP = '[steps.one]\nnotebook = "a.ipynb"\nin = { %s = "raw/" }\n'


@pytest.mark.parametrize("code", ["getattr(recipe.inputs, 'nb')", "import helper", "1"])
def test_what_nobody_is_seen_to_take_is_an_input_all_the_same(notebook, recipe, code):
    notebook("a", "n: int = 1", code)
    recipe("r", STEP % "nb")
    assert declaration.read("r").steps[0].files == {"nb": "raw/"}


@pytest.mark.parametrize(
    ("parameters", "name", "fix"),
    [
        ("table: str = ''", "tabel", "did you mean table?"),
        ("n: int = 1", "path", "known: n"),
    ],
)
def test_what_looks_like_a_parameter_misspelt_or_untagged_is_a_mistake(notebook, recipe, parameters, name, fix):
    notebook("a", parameters, "path = 'raw/x.csv'")
    recipe("r", STEP % name)
    with pytest.raises(Failed, match=f"a.ipynb has no parameter '{name}'") as problem:
        declaration.read("r")
    assert problem.value.fix == fix
