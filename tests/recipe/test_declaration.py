from pathlib import Path

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Denied, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.recipe import declaration, filling
from aiinfra_lab.recipe.base import RecipeStep

TWO = """
title = "Two steps"
[parameters]
n = 3
[steps.second]
notebook = "b.ipynb"
in = { path = "first.made" }
[steps.first]
notebook = "a.ipynb"
parameters = { n = "${params.n}" }
out = { made = "data:made" }
"""


@pytest.fixture
def two(notebook, recipe) -> None:
    notebook("a", "n: int = 1")
    notebook("b", "path: str = ''")
    recipe("two", TWO)


def test_steps_come_in_running_order(two):
    assert [step.name for step in declaration.read("two").steps] == ["first", "second"]


def test_a_recipes_parameter_reaches_the_notebook_with_its_type(two):
    read = declaration.read("two")
    assert filling.resolve(filling.filled_recipe(read, {"n": "7"}).steps[0], {}) == {"n": 7}


def test_an_input_is_the_uri_that_was_made(two):
    read = declaration.read("two")
    assert filling.resolve(read.steps[1], {"first.made": "data:made@4"}) == {"path": "data:made@4"}


def test_a_notebook_without_a_tagged_cell_is_mended_by_the_fix(workspace, notebook, recipe):
    path = notebook("n", "path: str = 'raw/x.csv'")
    tagged = path.read_text()
    path.write_text(tagged.replace('"parameters"', '"other"'))
    (workspace / "raw").mkdir()
    (workspace / "raw" / "x.csv").write_text("a\n1\n")
    recipe("r", '[steps.one]\nnotebook = "n.ipynb"\nin = { path = "raw/x.csv", also = "raw/x.csv" }')
    with pytest.raises(Failed, match=r"n.ipynb has no parameters, and is to be given path") as problem:
        declaration.read("r")
    assert "none yet" not in problem.value.fix
    assert "`path = …` in a cell" in problem.value.fix
    assert "tag the cell `parameters` (in JupyterLab" in problem.value.fix
    notebook("n", "path = ''\nalso = ''")
    assert declaration.read("r").steps[0].files == {"path": "raw/x.csv", "also": "raw/x.csv"}


def test_what_a_recipe_without_parameters_is_given_is_mended_by_the_fix(notebook, recipe):
    notebook("n", "x: int = 1")
    steps = '[steps.one]\nnotebook = "n.ipynb"\nparameters = { x = "${params.x}" }\n'
    recipe("r", steps)
    with pytest.raises(Failed, match="no parameter x") as problem:
        declaration.read("r")
    assert problem.value.fix == "there is none yet: write `x = …` below [parameters] in r.toml"
    recipe("r", f"{steps}[parameters]\nx = 3")
    assert declaration.read("r").parameters == {"x": 3}


def test_an_unknown_recipe_suggests_the_nearest(two):
    with pytest.raises(NotFound, match="did you mean two"):
        declaration.read("twoo")


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (('title = "Two steps"', 'titel = "x"'), "did you mean title"),
        (("notebook = ", "notebok = "), "did you mean notebook"),
        (('"first.made"', '"frist.made"'), "did you mean first.made?"),
        (('"first.made"', '"frist.result"'), "known: first.made"),
        (('"first.made"', '"secnd.made"'), "steps that are known: first, second; a file is to be put"),
        (('"first.made"', '"first.mode"'), "did you mean made"),
        (('{ n = "${params.n}" }', '{ m = "${params.n}" }'), "known: n"),
        (('"${params.n}"', '"${params.nn}"'), "did you mean n"),
        (("[steps.first]", "[steps.first]\nafter = ['second']"), "take one of these steps out of `in` or `after`"),
        (('"a.ipynb"', '"c.ipynb"'), "correct `notebook = …`"),
        (('"a.ipynb"', '"a"'), "did you mean a.ipynb?"),
        (
            ('{ n = "${params.n}" }', '{ n = "${run.dat}" }'),
            'write n = "${run.date}" below [parameters], and ${params.n}',
        ),
        (('{ n = "${params.n}" }', '{ n = "${zzz}" }'), "known: params.n, steps.STEP.out.NAME"),
        (('"a.ipynb"', '"a.ipnb"'), "did you mean a.ipynb?"),
        (('"first.made"', "3"), "write in = { path ="),
        (("[steps.first]", "[steps.first]\nafter = 'second'"), "write after = "),
        (('{ n = "${params.n}" }', '{ n = "abc" }'), "a value of type int"),
        (("n = 3", "n = 'many'"), "a value of type int"),
        (("n = 3", "n = "), "correct that line"),
        (('"first.made"', '"steps.first.out.made"'), 'write path = "first.made"'),
        (('"first.made"', '"${step.first.out.made}"'), "did you mean steps.first.out.made?"),
        (('"first.made"', '"${steps.first.outputs.made}"'), "did you mean steps.first.out.made?"),
        (('"first.made"', '"first"'), 'write path = "first.made"'),
        (('"first.made"', '"dta:nope"'), 'write path = "data:nope", or the path of a file'),
        (('"first.made"', '"sales.csv"'), "a file is to be put into the project"),
        (('"first.made"', '"aiinfra.tmol"'), "did you mean the file aiinfra.toml?"),
        (('{ path = "first.made" }', '{ path = "first.made", }'), "stands on one line, with no comma behind its last"),
        (('{ path = "first.made" }', '{\npath = "first.made" }'), "stands on one line, with no comma behind its last"),
    ],
)
def test_every_mistake_is_found_before_anything_runs(two, workspace: Path, change, fix):
    (workspace / "aiinfra.toml").touch()
    path = workspace / "recipes" / "two.toml"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(LabError) as problem:
        declaration.read("two")
    assert fix in problem.value.fix


@pytest.mark.parametrize(
    ("step", "note"),
    [
        ("", 'one takes it with x = "${params.x}" in `parameters` below [steps.one]'),
        (
            "parameters = { x = 3 }",
            'take it out, or write x = "${params.x}" into `parameters` of the step that is meant',
        ),
        ('parameters = { x = "${params.x}" }', ""),
    ],
)
def test_a_parameter_that_no_step_takes_is_noted(notebook, recipe, step, note):
    notebook("n", "x: int = 1")
    recipe("r", f'[parameters]\nx = 2\n[steps.one]\nnotebook = "n.ipynb"\n{step}\n')
    what = f"No step takes the parameter x, which changes nothing so: {note}."
    assert verbs.check("r").notes == ((what,) if note else ())


def test_a_notebook_that_is_not_there_is_named_with_its_step_and_line(two, recipe):
    recipe("two", TWO.replace('"a.ipynb"', '"one.ipynb"').replace('"b.ipynb"', '"two.ipynb"'))
    with pytest.raises(Failed) as problem:
        declaration.read("two")
    assert "first: there is no notebook notebooks/one.ipynb (two.toml line 9)" in problem.value.what
    assert "second: there is no notebook notebooks/two.ipynb (two.toml line 6)" in problem.value.what


def test_a_step_depends_on_its_inputs_and_on_what_it_comes_after():
    step = RecipeStep("c", Path("c.ipynb"), inputs={"x": "a.one", "y": "a.two"}, after=("b",))
    assert step.depends_on == ("a", "b")


def test_steps_that_do_not_need_each_other_keep_their_order(notebook, recipe):
    notebook("a", "x: str = ''")
    text = "".join(
        f'[steps.{name}]\nnotebook = "a.ipynb"\n{more}\n'
        for name, more in (("a", ""), ("b", 'after = ["a"]'), ("c", ""))
    )
    recipe("three", text)
    assert [step.name for step in declaration.read("three").steps] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "name", ["../../../notebooks/victim", "/etc/passwd", ".", "a/b", "", "a b", "x" * 64, "ü", "a\\nb"]
)
def test_a_step_whose_name_is_no_file_name_is_refused(notebook, recipe, name):
    notebook("a", "n: int = 1")
    recipe("one", f'[steps."{name}"]\nnotebook = "a.ipynb"\n')
    with pytest.raises(UsageProblem, match="cannot be the name of a step"):
        declaration.read("one")


@pytest.mark.parametrize(
    "path",
    [
        "../../x.ipynb",
        "/etc/x.ipynb",
        "out/x.ipynb",
        "../notebooks/../../x.ipynb",
        "a\\u0000b.ipynb",
        "n" * 256 + ".ipynb",
        ".",
        "",
    ],
)
def test_a_notebook_that_is_no_file_of_the_project_is_refused(workspace, recipe, path):
    (workspace / "notebooks").mkdir()
    (workspace / "notebooks" / "out").symlink_to(workspace.parent)
    recipe("one", f'[steps.a]\nnotebook = "{path}"\n')
    with pytest.raises(UsageProblem) as problem:
        declaration.read("one")
    assert problem.value.fix == 'write notebook = "NAME.ipynb", of a file in the project\'s folder `notebooks`'


def test_the_folder_of_notebooks_may_be_a_link(workspace, notebook, recipe, tmp_path):
    notebook("a", "n: int = 1")
    (workspace / "notebooks").rename(tmp_path / "shared")
    (workspace / "notebooks").symlink_to(tmp_path / "shared")
    recipe("one", '[steps.a]\nnotebook = "a.ipynb"\n')
    assert declaration.read("one").steps[0].notebook == tmp_path / "shared" / "a.ipynb"


def test_two_steps_that_write_one_output_are_refused_with_the_line(two, recipe):
    recipe("two", TWO.replace('notebook = "b.ipynb"', 'notebook = "b.ipynb"\nout = { other = "data:made" }'))
    with pytest.raises(Failed, match=r"second: data:made is made by first already \(two.toml line 7\)"):
        declaration.read("two")


def test_a_notebook_named_from_the_projects_folder_is_named_as_it_is_to_be(two, recipe):
    recipe("two", TWO.replace('"a.ipynb"', '"notebooks/a.ipynb"'))
    with pytest.raises(NotFound) as problem:
        declaration.read("two")
    assert problem.value.fix == 'write notebook = "a.ipynb"'


def test_a_file_with_a_byte_order_mark_is_read(two, recipe):
    recipe("two", f"\ufeff{TWO}")
    assert declaration.read("two").title == "Two steps"
    assert declaration.parameters("two") == {"n": 3}


def test_a_file_that_is_not_utf_8_is_to_be_stored_as_that(two, workspace):
    path = workspace / "recipes" / "two.toml"
    path.write_text(TWO, "utf-16")
    with pytest.raises(UsageProblem, match=r"two.toml is not UTF-8: .+\n  fix: store it with the encoding UTF-8"):
        declaration.read("two")
    path.write_text(path.read_text("utf-16"), "utf-8")
    assert declaration.read("two")


def test_an_expectation_without_an_output_says_what_is_to_be_written(two, recipe):
    recipe("two", TWO + '[steps.third]\nnotebook = "a.ipynb"\nexpect = { run = "auc > 0.7" }\n')
    with pytest.raises(UsageProblem) as problem:
        declaration.read("two")
    assert 'write out = { run = "…" }' in problem.value.fix


def test_a_recipe_that_may_not_be_read_is_an_error_of_ours(two, recipe, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(declaration, "text_of", refuse)
    with pytest.raises(Denied, match="Permission denied"):
        declaration.read("two")
