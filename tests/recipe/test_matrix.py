"""A step that runs once for each combination of some values."""

from pathlib import Path

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.completion import complete
from aiinfra_lab.errors import Failed, LabError, UsageProblem
from aiinfra_lab.recipe import declaration, filling
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.base import RecipeStep
from aiinfra_lab.recipe.matrix import combinations, expanded, read_matrix

TOML = """
[parameters]
months = [4, 5]
rates = [0.1]
[steps.fit]
notebook = "fit.ipynb"
matrix = { month = "${params.months}", lr = "${params.rates}" }
out = { table = "build/fit-${matrix.month}-${matrix.lr}.txt", rows = "data:rows" }
[steps.score]
notebook = "score.ipynb"
matrix = { month = "${params.months}", lr = "${params.rates}" }
in = { table = "fit.table" }
out = { score = "build/score-${matrix.month}-${matrix.lr}.txt" }
[steps.best]
notebook = "best.ipynb"
matrix = { month = "${params.months}" }
in = { scores = "score.score", rows = "fit.rows" }
[steps.all]
notebook = "all.ipynb"
in = { scores = "score.score", rows = "fit.rows" }
after = ["best"]
"""
FIT = """
from aiinfra_lab import data, recipe
recipe.outputs.table.write_text(f"{month} {lr}")
data.add("rows", recipe.outputs.table)
"""
SCORE = """
from aiinfra_lab import recipe
recipe.outputs.score.write_text(recipe.inputs.table.read_text() + f" = {month * lr:g}")
"""
TAKE = """
from aiinfra_lab import recipe
print([path.read_text() for path in recipe.inputs.scores], [open(path).read() for path in scores])
print(recipe.inputs.rows == rows, rows)
"""


@pytest.fixture
def chain(workspace: Path, notebook, recipe) -> Path:
    notebook("fit", "month: int = 0\nlr: float = 0.0", FIT)
    notebook("score", "month: int = 0\nlr: float = 0.0", SCORE)
    notebook("best", "month: int = 0\nscores: list[str] = []\nrows: list[str] = []", TAKE)
    notebook("all", "scores: list[str] = []\nrows: list[str] = []", TAKE)
    return recipe("r", TOML)


def test_each_combination_is_a_step_of_its_own(chain, workspace, monkeypatch):
    done = run_recipe("r", param={"rates": [0.1, 0.01]})
    fits = ["fit-4-0_1", "fit-4-0_01", "fit-5-0_1", "fit-5-0_01"]
    assert [*done.steps] == [
        *fits,
        *("score-4-0_1", "score-4-0_01", "score-5-0_1", "score-5-0_01"),
        *("best-4", "best-5", "all"),
    ]
    assert done.steps["fit-5-0_01"]["values"] == {"month": 5, "lr": 0.01}
    assert (workspace / "build/score-5-0.1.txt").read_text() == "5 0.1 = 0.5"
    assert done.steps["score-4-0_1"]["values"] == {"month": 4, "lr": 0.1, "table": "../build/fit-4-0.1.txt"}
    scores = ["../build/score-5-0.1.txt", "../build/score-5-0.01.txt"]
    assert done.steps["best-5"]["values"]["scores"] == scores
    out = verbs.log("r@1/all").text
    assert "['4 0.1 = 0.4', '4 0.01 = 0.04', '5 0.1 = 0.5', '5 0.01 = 0.05']" in out
    assert out.count("True") == 1
    # Each of the versions of one thing, whichever was made first.
    rows = done.steps["all"]["values"]["rows"]
    assert sorted(rows) == ["data:rows@1", "data:rows@2", "data:rows@3", "data:rows@4"]
    assert [done.steps[name]["outputs"]["rows"] for name in fits] == rows
    assert done.steps["best-5"]["values"]["rows"] == rows[2:]

    assert [*run_recipe("r", only="fit", dry=True).steps] == ["fit-4-0_1", "fit-5-0_1"]
    alone = run_recipe("r", param={"rates": [0.1, 0.01]}, only="best", force=True)
    values = {name: step["values"] for name, step in alone.steps.items()}
    assert values == {name: done.steps[name]["values"] for name in ("best-4", "best-5")}
    with pytest.raises(UsageProblem, match="has no step 'fit-9'"):
        run_recipe("r", only="fit-9")

    # Opened by hand it is the first combination of the last good run.
    fives = ["5 0.1 = 0.5", "5 0.01 = 0.05"]
    monkeypatch.setenv("JPY_SESSION_NAME", str(workspace / "notebooks/all.ipynb"))
    assert [path.read_text() for path in verbs.inputs.scores] == ["4 0.1 = 0.4", "4 0.01 = 0.04", *fives]
    assert verbs.inputs.rows == rows
    monkeypatch.setenv("JPY_SESSION_NAME", "fit.ipynb")
    assert verbs.outputs.table.name == "fit-4-0.1.txt"
    assert verbs.outputs("r/fit-5-0_1").table.name == "fit-5-0.1.txt"


def test_what_changed_for_one_combination_runs_what_takes_that(chain, notebook):
    run_recipe("r")
    planned = run_recipe("r", param={"months": [4, 5, 6]}, dry=True).steps
    assert [name for name, step in planned.items() if step["action"] != "skip"] == [
        *("fit-6-0_1", "score-6-0_1", "best-6", "all"),
    ]
    assert {step["action"] for step in run_recipe("r", dry=True).steps.values()} == {"skip"}
    notebook("score", "month: int = 0\nlr: float = 0.0", f"{SCORE}\n'another value'")
    done = run_recipe("r")
    assert [name for name, step in done.steps.items() if step["state"] == "done"] == ["score-4-0_1", "score-5-0_1"]
    notebook("fit", "month: int = 0\nlr: float = 0.0", FIT.replace("{lr}", "{lr if month == 4 else 1}"))
    done = run_recipe("r")
    states = {name: step["state"] for name, step in done.steps.items()}
    assert (states["best-4"], states["score-4-0_1"]) == ("skipped", "skipped")
    assert (states["best-5"], states["all"]) == ("done", "done")
    assert done.steps["best-5"]["because"] == ("score.score changed", "fit.rows changed")


def test_a_failure_blocks_what_needs_it_alone(chain, notebook):
    notebook("fit", "month: int = 0\nlr: float = 0.0", f"{FIT}\nassert month != 5")
    done = run_recipe("r", report=True)
    states = {name: step["state"] for name, step in done.steps.items()}
    assert states["fit-5-0_1"] == "failed"
    assert [name for name, state in states.items() if state == "blocked"] == ["score-5-0_1", "best-5", "all"]
    assert states["best-4"] == "done"


def test_what_it_takes_may_name_its_values(workspace, notebook, recipe):
    (workspace / "raw").mkdir()
    for month in (4, 5):
        (workspace / f"raw/{month}.csv").write_text(f"a\n{month}\n")
    notebook("m", "path: str = ''\ntitle: str = ''", "print(title, open(path).read())")
    toml = """
        [steps.m]
        notebook = "m.ipynb"
        matrix = { month = [4, 5] }
        in = { path = "raw/${matrix.month}.csv" }
        parameters = { title = "of ${matrix.month}" }
    """
    recipe("m", toml)
    done = run_recipe("m")
    assert done.steps["m-5"]["values"] == {"title": "of 5", "path": "../raw/5.csv"}
    (workspace / "raw/5.csv").write_text("a\n6\n")
    assert [step["state"] for step in run_recipe("m").steps.values()] == ["skipped", "done"]


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        ("matrix = 3", "matrix must be a table of lists", "matrix = { lr = [0.1, 0.01] }"),
        ("matrix = { lr = 3 }", "matrix.lr must be a list of values, and 3 was given", "lr = [VALUE, …]"),
        ("matrix = { lr = [] }", "matrix.lr is empty", "lr = [VALUE, …]"),
        ("matrix = { lr = [0.1, 0.1] }", "matrix.lr has 0.1 twice", "leave one of them out"),
        ("matrix = { lr = [[1]] }", "matrix.lr holds [1], which is no single value", "lr = [VALUE, …]"),
        ('matrix = { "l r" = [1] }', "'l r' cannot be a name in matrix", "letters, digits and _"),
        ('matrix = { lr = "${params.none}" }', "the recipe has no parameter none", "did you mean one"),
        ('matrix = { lr = "${steps.a.out.b}" }', "must be a list of values", "of a parameter that is a list"),
        ('matrix = { lr = "${params.one}" }', "must be a list of values, and 1 was given", "-p one=[1,2]"),
        ("matrix = { lr = [1] }\nparameters = { lr = 7 }", "lr stands in matrix and in parameters", "${matrix.lr}"),
        ('matrix = { lr = [1] }\nin = { lr = "m.ipynb" }', "lr stands in matrix and in in", "leave one of them out"),
        ("matrix = { lt = [1] }", "m.ipynb has no parameter 'lt' (m.toml line 5)", "lr"),
        ('matrix = { lr = ["x"] }', "parameter lr must be of type float", ""),
        (
            'matrix = { lr = [0.1] }\nout = { a = "build/${matrix.lt}.csv" }',
            "its matrix has no lt (m.toml line 6)",
            "matrix.lr",
        ),
        (
            'out = { a = "build/${matrix.lr}.csv" }',
            "it has no matrix (m.toml line 5)",
            "write matrix = { lr = [VALUE, …] } below [steps.m]",
        ),
        (
            'matrix = { lr = [0.1, 0.2] }\nout = { a = "build/x.csv" }',
            "m-0_2: build/x.csv is made by m-0_1 already (m.toml line 6)",
            "write ${matrix.lr} in it",
        ),
        (
            'matrix = { lr = [0.1, 0.2] }\nout = { a = "deploy:x" }',
            "deploy:x is made by m-0_1 already",
            "write ${matrix.lr} in it",
        ),
        (f"matrix = {{ lr = {list(range(300))} }}", "more than 256 combinations", "`-p`"),
    ],
)
def test_a_wrong_matrix_is_refused(workspace, notebook, recipe, line, what, fix):
    notebook("m", "lr: float = 0.0", "lr")
    recipe("m", f'[parameters]\none = 1\n[steps.m]\nnotebook = "m.ipynb"\n{line}\n')
    with pytest.raises(LabError) as caught:
        declaration.read("m")
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_values_that_no_notebook_takes_are_refused_before_a_run(chain):
    with pytest.raises(UsageProblem, match="parameter months must be of type int"):
        run_recipe("r", param={"months": ["x", "y"]})
    with pytest.raises(UsageProblem, match=r"matrix.month is empty"):
        run_recipe("r", param={"months": []})


def test_matrices_that_do_not_agree_are_refused(workspace, notebook, recipe):
    notebook("a", "n: int = 0", "open(f'../{n}.txt', 'w').write('x')")
    notebook("b", "n: int = 0\nfile: str = ''", "file")
    toml = """
        [steps.a]
        notebook = "a.ipynb"
        matrix = { n = [1, 2] }
        out = { file = "${matrix.n}.txt" }
        [steps.b]
        notebook = "b.ipynb"
        matrix = { n = [2, 3] }
        in = { file = "a.file" }
    """
    recipe("m", toml)
    with pytest.raises(UsageProblem, match="b needs a with n = 3, which its matrix has not"):
        declaration.read("m")
    notebook("b", "file: str = ''", "file")
    recipe("m", toml.replace("matrix = { n = [2, 3] }\n", ""))
    with pytest.raises(Failed, match=r"b: file takes a.file of several combinations, and b.ipynb has it as str"):
        declaration.read("m")


def test_names_are_short_plain_and_each_once():
    step = RecipeStep("s", Path("s.ipynb"), matrix={"x": ["a b", "a/b", "é" * 100, True]})
    names = [each.name for each in expanded([step, RecipeStep("s-true", Path("s.ipynb"))], {})]
    assert names[0] == next(iter(expanded([RecipeStep("s", Path("s.ipynb"), matrix={"x": ["a b"]})], {}))).name
    assert len({*names}) == 5
    assert all(len(name) <= 63 and name.isascii() and " " not in name for name in names)


def test_two_steps_with_long_names_have_combinations_with_names_of_their_own():
    steps = [RecipeStep(f"{'s' * 60}{letter}", Path("s.ipynb"), matrix={"x": ["a b", 1000]}) for letter in "ab"]
    names = [each.name for each in expanded(steps, {})]
    assert len({*names}) == len(names) == 4


def test_true_and_1_are_two_values():
    fit = RecipeStep("fit", Path("s.ipynb"), matrix={"x": [1, True]})
    score = RecipeStep("score", Path("s.ipynb"), matrix={"x": [True, 1]}, inputs={"fit": "fit.run"})
    found = {each.name: each.inputs for each in expanded([fit, score], {})}
    assert (found["score-true"], found["score-1"]) == ({"fit": "fit-true.run"}, {"fit": "fit-1.run"})


def test_the_last_name_is_the_fastest():
    step = RecipeStep("s", Path("s.ipynb"), matrix=read_matrix("r.toml", {"x": [1, 2], "y": "${params.y}"}))
    assert [tuple(each.values()) for each in combinations(step, {"params.y": ["a", "b"]})] == [
        *((1, "a"), (1, "b"), (2, "a"), (2, "b")),
    ]
    assert combinations(RecipeStep("s", Path("s.ipynb")), {}) == [{}]


def test_the_recipe_shows_its_matrix(chain):
    assert "each month of ${params.months}" in str(verbs.show("r").card())
    offered = complete("recipe", "run r --only ")
    assert {"fit", "fit-4-0_1", "all"} <= {*offered}
    (first, *_) = filling.filled_recipe(declaration.read("r"), {"months": [7]}).steps
    assert (first.name, first.declared_name) == ("fit-7-0_1", "fit")


@pytest.mark.parametrize("to", ["github", "gitlab", "airflow", "argo", "dvc"])
def test_each_combination_is_a_task_of_another_scheduler(chain, to):
    image = "registry.example/project:1" if to == "argo" else ""
    cron = None if to == "dvc" else "0 3 * * *"
    done = verbs.export("r", to=to, cron=cron, image=image, param={"months": "[7]"})
    assert all(name in done.text for name in ("fit-7-0_1", "score-7-0_1", "best-7", "all"))
    assert "fit-4" not in done.text
    assert any(note.startswith("each comb") and note.endswith("again: months, rates") for note in done.notes)


def test_rules_see_a_value_of_it(workspace, notebook, recipe):
    notebook("m", "day: str = ''", "import datetime as dt\ndt.date.fromisoformat(day)")
    recipe("m", '[steps.m]\nnotebook = "m.ipynb"\nmatrix = { day = ["2026-01-01", "2026-01-02"] }')
    assert verbs.check("m").findings == ()
