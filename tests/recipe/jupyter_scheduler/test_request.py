"""What a job asks for, by its file, its tags, and what was typed for its parameters."""

import nbformat
import pytest
from nbformat.v4 import new_notebook

from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.recipe.jupyter_scheduler import request


@pytest.mark.parametrize(
    ("filename", "tags", "recipe"),
    [
        ("report.ipynb", None, ""),
        ("report.ipynb", ["weekly", "team: a"], ""),
        ("report.ipynb", ["weekly", "recipe:nightly"], "nightly"),
        ("nightly.toml", [], "nightly"),
        ("nightly.toml", ["recipe:nightly"], "nightly"),
    ],
)
def test_a_tag_or_the_file_names_the_recipe(filename, tags, recipe):
    assert request.recipe_of(filename, tags) == recipe


@pytest.mark.parametrize(
    ("filename", "tags", "why"),
    [
        ("a.toml", ["recipe:b"], "this one names a, b"),
        ("a.ipynb", ["recipe: "], "the tag `recipe:` names no recipe"),
    ],
)
def test_two_recipes_are_none_and_so_is_a_tag_without_a_name(filename, tags, why):
    with pytest.raises(UsageProblem, match=why):
        request.recipe_of(filename, tags)


@pytest.mark.parametrize(
    ("fix", "shown"),
    [
        ("give -p a= a whole number, e.g. -p a=1", "give a= a whole number, e.g. a=1"),
        (
            "write recipes/x.toml, `%recipe check --help` shows",
            "write recipes/x.toml, `aiinfra recipe check --help` shows",
        ),
    ],
)
def test_a_fix_is_one_for_a_form(fix, shown):
    assert request.in_form(UsageProblem("it is wrong", fix)) == f"it is wrong\n  fix: {shown}"


def test_a_recipes_file_is_checked_by_its_copy_too(notebook, recipe, workspace, tmp_path):
    notebook("a", "x: int = 0")
    file = recipe("one", '[steps.a]\nnotebook = "a.ipynb"\n')
    copy = tmp_path / "staged" / "one.toml"
    request.check(copy, file.parent, None, {})
    with pytest.raises(UsageProblem, match="is no recipe of the project"):
        request.check(copy, copy.parent, None, {})


PARAMETERS = "months: int = 1\nname: str = ''\nratio: float | None = None\ndays: list[int] = [1]\nfree = None"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ({"months": " 3 "}, 3),
        ({"months": '"3"'}, 3),
        ({"name": "02139"}, "02139"),
        ({"name": '"02139"'}, "02139"),
        ({"name": "it's"}, "it's"),
        ({"ratio": "none"}, None),
        ({"days": "[1, 2]"}, [1, 2]),
        ({"days": "1,2"}, [1, 2]),
        ({"free": "{'a': (1, 2)}"}, {"a": [1, 2]}),
        ({"free": "two words"}, "two words"),
    ],
)
def test_a_typed_value_becomes_what_the_notebook_declares(notebook, typed, value):
    assert request.notebook_values(notebook("a", PARAMETERS), typed) == dict.fromkeys(typed, value)


def test_all_that_is_wrong_is_named_at_once(notebook):
    with pytest.raises(UsageProblem) as raised:
        request.notebook_values(notebook("a", PARAMETERS), {"months": "many", "nmae": "x"})
    assert "months must be of type int" in raised.value.what
    assert "no parameter 'nmae'" in raised.value.what


def test_a_job_without_parameters_changes_none(notebook):
    assert request.notebook_values(notebook("a", PARAMETERS), None) == {}


@pytest.mark.parametrize("typed", [{"import os; x": "1"}, {"class": "1"}, {"x": "b'bytes'"}])
def test_what_could_not_be_written_into_the_notebook_is_refused(workspace, typed):
    nbformat.write(new_notebook(), workspace / "plain.ipynb")
    with pytest.raises(UsageProblem):
        request.check(workspace / "plain.ipynb", workspace, [], typed)
    request.check(workspace / "plain.ipynb", workspace, [], {"x": "1"})


def test_another_languages_values_are_taken_by_its_names(workspace):
    spec = {"name": "ir", "display_name": "R", "language": "R"}
    nbformat.write(new_notebook(metadata={"kernelspec": spec}), workspace / "r.ipynb")
    request.check(workspace / "r.ipynb", workspace, [], {"my.value": "1"})


def test_a_recipe_is_checked_as_run_checks_it(notebook, recipe, workspace):
    path = notebook("a", "x: int = 0")
    file = recipe("one", '[parameters]\nx = 1\n[steps.a]\nnotebook = "a.ipynb"\nparameters = { x = "${params.x}" }\n')
    request.check(path, path.parent, ["recipe:one"], {"x": "2"})
    request.check(file, file.parent, None, {"x": '"2"'})
    for given, why in (({"x": "many"}, "x must be of type int"), ({"y": "1"}, "no parameter 'y'")):
        with pytest.raises(UsageProblem, match=why):
            request.check(file, file.parent, None, given)
    with pytest.raises(LabError, match="there is no recipe 'other'"):
        request.check(path, path.parent, ["recipe:other"], {})


def test_a_file_of_that_name_that_is_no_recipe_of_the_project_is_refused(notebook, recipe, workspace):
    notebook("a", "x: int = 0")
    recipe("one", '[steps.a]\nnotebook = "a.ipynb"\n')
    (workspace / "one.toml").write_text("")
    with pytest.raises(UsageProblem, match="is no recipe of the project"):
        request.check(workspace / "one.toml", workspace, None, {})


def test_the_project_is_that_of_the_variable_or_of_the_files_folder(workspace, tmp_path, monkeypatch):
    other = tmp_path / "other" / "notebooks"
    other.mkdir(parents=True)
    with request.project_of(other) as found:
        assert found.project == workspace
    monkeypatch.delenv("AIINFRA_WORKSPACE")
    with request.project_of(other) as found:
        assert found is None
    (other.parent / "aiinfra.toml").touch()
    with request.project_of(other) as found:
        assert found.project == other.parent
