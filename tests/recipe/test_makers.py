"""What steps make and take: each thing is made by one of them, and taken by that step's name."""

from pathlib import Path

import pytest

from aiinfra_lab import recipe as recipes
from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.store import open_store

TOML = """
[parameters]
a = "one"
b = "two"
[steps.make]
notebook = "make.ipynb"
out = { t = "MADE" }
[steps.use]
notebook = "use.ipynb"
MORE
"""


@pytest.fixture
def write(workspace: Path, notebook, recipe):
    """`write("build/t.txt", 'in = { t = "build/t.txt" }')`: what `make` makes, and the keys of `use`."""
    for folder in ("build", "raw"):
        (workspace / folder).mkdir()
        (workspace / folder / "t.txt").write_text("0")
    notebook("make", "", "from aiinfra_lab import recipe", "recipe.outputs.t.write_text('1')")
    notebook("use", "t: list[str] = []")
    return lambda made, more: recipe("r", TOML.replace("MADE", made).replace("MORE", more))


@pytest.mark.parametrize(
    ("made", "taken"),
    [
        ("build/t.txt", "build/t.txt"),
        ("build/t.txt", "./build/../build/t.txt"),
        ("build/t.txt", "build"),
        ("build/t.txt", "build/*.txt"),
        ("build/t.txt", "**/t.txt"),
        ("build/made", "build/made/0.txt"),
        ("build/made", "build/made/*.txt"),
        ("build/made", "build/*/0.txt"),
        ("build/${params.a}.txt", "build/one.txt"),
        ("data:sales", "data:sales"),
    ],
)
def test_what_a_step_makes_is_taken_by_the_name_of_the_step(write, made, taken):
    for more in ("", '\nafter = ["make"]'):
        write(made, f'in = {{ t = "{taken}" }}{more}')
        with pytest.raises(Failed, match=r"use: t takes .*, which make makes \(r.toml line 10\)") as problem:
            declaration.read("r")
        assert problem.value.fix.startswith('write t = "make.t"')
    write(made, 'in = { t = "make.t" }')
    assert declaration.read("r").steps[1].depends_on == ("make",)


@pytest.mark.parametrize(
    ("made", "taken"),
    [
        ("build/t.txt", "raw/*.txt"),
        ("build/t.txt", "raw"),
        ("build/t.txt", "build/*.csv"),
        ("build/t.txt", "*/*/t.txt"),
        ("build/.t", "build/*"),
        ("build/made/t.txt", "build/*"),
        ("data:sales", "data:sales@1"),
        ("data:sales", "data:others"),
    ],
)
def test_what_no_step_makes_is_taken_as_it_is(write, made, taken):
    write(made, f'in = {{ t = "{taken}" }}')
    assert declaration.read("r").steps[1].depends_on == ()


@pytest.mark.parametrize("taken", ["raw/*.txt", "raw", "raw/z.txt"])
def test_a_step_does_not_take_the_file_that_it_makes(write, taken):
    write("build/t.txt", f'in = {{ t = "{taken}" }}\nout = {{ z = "raw/z.txt" }}')
    with pytest.raises(Failed, match="which it makes itself") as problem:
        declaration.read("r")
    assert "in another folder" in problem.value.fix


def test_nor_does_one_before_it(write):
    write("build/t.txt", 'in = { t = "raw/*.txt" }\n[steps.last]\nnotebook = "use.ipynb"\nafter = ["use"]'
          '\nout = { z = "raw/z.txt" }')  # fmt: skip
    with pytest.raises(Failed, match=r"raw/z.txt, which last makes") as problem:
        declaration.read("r")
    assert "in another folder" in problem.value.fix


def test_data_may_be_taken_as_the_run_before_has_left_it(write):
    write("build/t.txt", 'in = { t = "data:sales" }\nout = { z = "data:sales" }')
    assert declaration.read("r").steps[1].data == {"t": "data:sales"}
    write("build/t.txt", 'in = { t = "data:sales" }\n[steps.last]\nnotebook = "use.ipynb"\nafter = ["use"]'
          '\nout = { z = "data:sales" }')  # fmt: skip
    assert declaration.read("r").steps[1].data == {"t": "data:sales"}


def test_the_combinations_of_a_matrix_are_one_step(write):
    write('build/${matrix.n}.txt" }\nmatrix = { n = [1, 2] }\nin = { u = "build/*.txt', "")
    with pytest.raises(Failed, match=r"make: u takes build/\*.txt, and with it build/1.txt, which it makes"):
        declaration.read("r")


# ---- what given parameters make of it ----


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"b": "one"}, "use: build/one.txt is made by make already"),
        ({"b": "*"}, "names many files"),
        ({"b": "../../../x"}, "lies outside of the project"),
        ({"b": "x\ny"}, "can be no file"),
        ({"b": "x" * 300}, "can be no file"),
        ({"b": "x:y"}, "can be no file"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"dry": True}, {"wait": False}])
def test_what_given_parameters_make_wrong_is_found_before_there_is_a_run(write, given, what, how):
    write("build/${params.a}.txt", 'out = { z = "build/${params.b}.txt" }')
    with pytest.raises(UsageProblem, match=r"r.toml line 10") as problem:
        recipes.run("r", param=given, **how)
    assert what in problem.value.what
    assert problem.value.fix.startswith("give other parameters, or: ")
    assert open_store().get(RunRecord, "r@1") is None
    for verb in (recipes.check, lambda name, param: recipes.export(name, to="cron", param=param)):
        with pytest.raises(UsageProblem, match=r"r.toml line 10"):
            verb("r", param=given)


# ---- what the check says of it ----


def test_the_check_looks_at_given_parameters(write):
    write("build/t.txt", 'in = { t = "raw/${params.b}.txt" }')
    (untaken,) = recipes.check("r", param={"b": "t"}).notes
    assert untaken.startswith("No step takes the parameter a")
    assert recipes.check("r", param={"b": "t"}).parameters == {"a": "one", "b": "t"}
    note = recipes.check("r").notes[0]
    assert note.startswith("use could not run now: there is no file or folder raw/two.txt")
    assert "`%recipe check r -p b=…`" in note
    with pytest.raises(NotFound):
        recipes.run("r")
    with pytest.raises(UsageProblem, match="no parameter 'c'"):
        recipes.check("r", param={"c": 1})


@pytest.mark.parametrize("made", ["notebooks/make.ipynb", "notebooks/new.ipynb", "recipes/r.toml", "~/t.txt", "a:b/t"])
def test_a_file_that_people_write_is_none_that_a_step_makes(write, made):
    write(made, "")
    with pytest.raises(LabError):
        declaration.read("r")


@pytest.mark.parametrize("name", ["_page", "my-table", "the page", "class"])
def test_a_file_has_a_name_that_a_notebook_can_write(write, name):
    write("build/t.txt", f'out = {{ "{name}" = "build/z.txt" }}')
    with pytest.raises(Failed, match=r"use: recipe.outputs cannot have a file by the name"):
        declaration.read("r")
    write("build/t.txt", f'out = {{ "{name}" = "data:z" }}')
    assert name in declaration.read("r").steps[1].makes, "a thing is known by what it is called"
