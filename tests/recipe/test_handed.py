"""Files that steps make, and what a notebook sees of its step: `recipe.inputs` and `recipe.outputs`."""

import json
from pathlib import Path

import pytest

from aiinfra_lab import data
from aiinfra_lab.errors import Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.recipe import declaration, inputs, outputs
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.handed import HANDED_OVER, handed_over
from tests.following import run

LOAD = "from aiinfra_lab import data, recipe"
MAKE = [
    LOAD,
    "lines = [line for path in recipe.inputs.raw for line in path.read_text().split()]",
    "recipe.outputs.table.write_text('\\n'.join(lines[:most]))",
    "rows = data.add('rows', recipe.outputs.table)",
]
USE = [LOAD, "print(recipe.inputs.table.read_text().split(), recipe.inputs.rows, path)"]
TOML = """
[parameters]
most = 3
[steps.make]
notebook = "make.ipynb"
parameters = { most = "${params.most}" }
in = { raw = "raw/*.csv" }
out = { table = "build/made/table.csv", rows = "data:rows" }
[steps.use]
notebook = "use.ipynb"
in = { table = "make.table", rows = "make.rows", path = "make.table" }
"""


@pytest.fixture
def files(workspace: Path, notebook, recipe) -> Path:
    (workspace / "raw").mkdir()
    (workspace / "raw" / "a.csv").write_text("n\n1\n")
    (workspace / "raw" / "b.csv").write_text("2\n")
    notebook("make", "most: int = 1", *MAKE)
    notebook("use", "path: str = ''", *USE)
    return recipe("files", TOML)


def states(done) -> dict[str, str]:
    return {name: step["state"] for name, step in done.steps.items()}


def because(done, name: str) -> str:
    return "; ".join(done.steps[name]["because"])


def printed(done, name: str) -> str:
    cells = json.loads(Path(done.steps[name]["archive"]).read_text())["cells"]
    return "".join(text for cell in cells for each in cell.get("outputs", []) for text in each.get("text", []))


def test_a_file_goes_from_the_step_that_makes_it_to_the_one_that_takes_it(files, workspace):
    done = run_recipe("files")
    assert states(done) == {"make": "done", "use": "done"}
    assert printed(done, "use") == "['n', '1', '2'] data:rows@1 ../build/made/table.csv\n"
    assert done.steps["make"]["outputs"] == {"table": "build/made/table.csv", "rows": "data:rows@1"}
    assert states(run_recipe("files")) == {"make": "skipped", "use": "skipped"}


def test_a_file_that_is_made_again_as_it_was_stops_the_wave(files, notebook):
    run_recipe("files")
    notebook("make", "most: int = 1", *MAKE, "print('another cell')")
    assert states(run_recipe("files")) == {"make": "done", "use": "skipped"}


def test_another_content_is_a_reason(files):
    run_recipe("files")
    done = run_recipe("files", param={"most": 2})
    assert states(done) == {"make": "done", "use": "done"}
    assert printed(done, "use").startswith("['n', '1'] data:rows@2")


def test_a_file_that_somebody_edits_or_removes_is_made_again(files, workspace):
    run_recipe("files")
    made = workspace / "build" / "made" / "table.csv"
    made.write_text("n\n7\n")
    done = run_recipe("files")
    assert because(done, "make") == "build/made/table.csv is not what it made any more"
    assert states(done) == {"make": "done", "use": "skipped"}
    made.unlink()
    done = run_recipe("files")
    assert because(done, "make") == "build/made/table.csv is not there any more"
    assert states(done) == {"make": "done", "use": "skipped"}


def test_a_step_that_does_not_write_its_file_has_failed(files, workspace, notebook):
    run_recipe("files")
    notebook(
        "make", "most: int = 1", LOAD, "rows = data.add('rows', recipe.inputs.raw[0])", "path = recipe.outputs.table"
    )
    with pytest.raises(Failed, match=r"make ran, but made no build/made/table.csv"):
        run_recipe("files")


def test_a_folder_is_made_and_taken(workspace, notebook, recipe):
    notebook("make", "n: int = 2", LOAD, "recipe.outputs.parts.mkdir(exist_ok=True)",
             "for each in range(n): (recipe.outputs.parts / f'{each}.txt').write_text(str(each))")  # fmt: skip
    notebook(
        "use", "files: list[str] = []", LOAD, "print(files, sorted(p.name for p in recipe.inputs.folder.iterdir()))"
    )
    recipe("f", '[steps.make]\nnotebook = "make.ipynb"\nout = { parts = "build/parts" }\n[steps.use]\n'
                'notebook = "use.ipynb"\nin = { files = "make.parts", folder = "make.parts" }')  # fmt: skip
    done = run_recipe("f")
    assert printed(done, "use") == "['../build/parts/0.txt', '../build/parts/1.txt'] ['0.txt', '1.txt']\n"
    assert states(run_recipe("f")) == {"make": "skipped", "use": "skipped"}
    (workspace / "build" / "parts" / "1.txt").unlink()
    assert because(run_recipe("f"), "make") == "build/parts is not what it made any more"


def test_a_step_alone_takes_the_file_that_is_there(files, workspace):
    with pytest.raises(NotFound, match=r"use takes make.table, and there is no build/made/table.csv"):
        run_recipe("files", only="use")
    run_recipe("files")
    assert states(run_recipe("files", only="use")) == {"use": "skipped"}


def test_a_part_that_is_wanted_takes_files_that_are_there(files, notebook, recipe):
    run_recipe("files")
    text = f'{TOML}out = {{ used = "data:used" }}\n'
    recipe("files", text)
    notebook("use", "path: str = ''", *USE, "data.add('used', recipe.inputs.table)")
    assert run("recipe get files data:used").uri == "data:used@1"


def test_a_notebook_opened_by_hand_has_what_the_last_good_run_made(files, workspace, monkeypatch):
    with pytest.raises(NotFound, match=r"make has not made build/made/table.csv yet"):
        _ = inputs.table
    run_recipe("files")
    assert inputs.rows == "data:rows@1"
    assert inputs.table == workspace / "build" / "made" / "table.csv"
    assert inputs.raw == [workspace / "raw" / "a.csv", workspace / "raw" / "b.csv"]
    assert outputs.table == workspace / "build" / "made" / "table.csv"
    assert outputs.rows == "data:rows"
    assert dir(inputs) == ["path", "raw", "rows", "table"]
    monkeypatch.setenv("JPY_SESSION_NAME", str(workspace / "notebooks" / "use.ipynb"))
    assert dir(inputs) == ["path", "rows", "table"]
    assert repr(inputs) == "recipe.inputs: path, rows, table"


def test_what_a_run_that_failed_left_is_not_what_the_last_good_run_made(files, workspace):
    run_recipe("files")
    with pytest.raises(Failed):
        run_recipe("files", param={"most": 0})  # no rows: the table cannot be added
    what = "build/made/table.csv is not what recipe:files@1 made"
    with pytest.raises(NotFound, match=what) as problem:
        _ = inputs.table
    assert problem.value.fix == "`aiinfra recipe run files --only make` makes it"
    with pytest.raises(NotFound, match=what):
        run_recipe("files", only="use")
    run_recipe("files", only="make")
    assert inputs.table.read_text() == "n\n1\n2"
    assert states(run_recipe("files", only="use")) == {"use": "skipped"}


def test_a_part_that_is_wanted_takes_no_file_that_somebody_has_edited(files, notebook, recipe, workspace):
    run_recipe("files")
    recipe("files", f'{TOML}out = {{ used = "data:used" }}\n')
    (workspace / "build" / "made" / "table.csv").write_text("n\n7\n")
    with pytest.raises(NotFound, match=r"build/made/table.csv is not what recipe:files@1 made"):
        run("recipe get files data:used")


def test_a_name_of_several_steps_is_that_of_the_open_notebook_or_the_one_that_is_named(files, recipe, monkeypatch):
    run_recipe("files")
    recipe("other", '[steps.make]\nnotebook = "make.ipynb"\nin = { raw = "raw/a.csv" }\nout = { table = "b/t.csv" }')
    with pytest.raises(UsageProblem, match="raw is in `in` of files/make, other/make") as problem:
        _ = inputs.raw
    assert problem.value.fix == 'say which: `recipe.inputs("files/make").raw`'
    assert inputs("other/make").raw.name == "a.csv"
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/use.ipynb")
    assert inputs.rows == "data:rows@1"


def test_in_a_run_the_step_that_a_notebook_names_is_its_own(workspace, notebook, recipe):
    (workspace / "raw").mkdir()
    for day in "12":
        (workspace / "raw" / f"{day}.txt").write_text(f"of {day}")
    notebook("x", "n: int = 1", LOAD, "print(recipe.inputs('a/x').raw.read_text())")
    text = '[parameters]\nday = 1\n[steps.x]\nnotebook = "x.ipynb"\nin = { raw = "raw/${params.day}.txt" }\n'
    recipe("a", text)
    recipe("b", text.replace("day = 1", "day = 2"))
    assert printed(run_recipe("a", param={"day": 2}), "x") == "of 2\n"
    assert printed(run_recipe("b"), "x") == "of 2\n"
    assert inputs("a/x").raw.read_text() == "of 2"


DAILY = """
[parameters]
day = "${run.date}"
[steps.first]
notebook = "first.ipynb"
in = { raw = "raw/${params.day}/*.csv" }
out = { totals = "build/${params.day}/totals.csv" }
[steps.second]
notebook = "second.ipynb"
in = { totals = "first.totals" }
out = { page = "build/${params.day}/page.html" }
"""


def test_a_notebook_opened_by_hand_has_all_of_one_run(workspace, notebook, recipe, monkeypatch):
    for day in ("2026-01-02", "2026-01-03"):
        (workspace / "raw" / day).mkdir(parents=True)
        (workspace / "raw" / day / "a.csv").write_text(day)
    notebook("first", "n: int = 1", LOAD, "recipe.outputs.totals.write_text(recipe.inputs.raw[0].read_text())")
    fails = "assert '01-02' in recipe.inputs.totals.read_text(), 'another day'"
    notebook("second", "n: int = 1", LOAD, fails, "recipe.outputs.page.write_text('page')")
    recipe("daily", DAILY)
    build = workspace / "build"
    with pytest.raises(NotFound, match=r"first has not made build/.* yet") as problem:
        _ = inputs.totals
    assert problem.value.fix == '`recipe.run("daily", only="first")` makes it'
    run_recipe("daily", param={"day": "2026-01-02"})
    assert (inputs.totals, outputs.page) == (build / "2026-01-02/totals.csv", build / "2026-01-02/page.html")
    assert inputs.raw == [workspace / "raw/2026-01-02/a.csv"]
    with pytest.raises(Failed):
        run_recipe("daily", param={"day": "2026-01-03"})
    # What the second takes went well: that is what it failed with, and is corrected for.
    assert (inputs.totals, outputs.page) == (build / "2026-01-03/totals.csv", build / "2026-01-03/page.html")
    assert inputs("daily/first").raw == [workspace / "raw/2026-01-03/a.csv"]
    inputs.totals.unlink()
    with pytest.raises(NotFound) as problem:
        _ = inputs.totals
    assert problem.value.fix == "`recipe.run(\"daily\", param={'day': '2026-01-03'}, only=\"first\")` makes it"


def test_a_notebook_of_no_step_has_what_it_names(notebook, recipe, monkeypatch):
    notebook("use", "x: str = ''")
    recipe("sales", '[steps.report]\nnotebook = "use.ipynb"\nin = { t = "raw/" }\n[steps.b]\nnotebook = "use.ipynb"\n')
    monkeypatch.setenv("JPY_SESSION_NAME", "work/Untitled.ipynb")
    with pytest.raises(NotFound, match=r"no recipe has a step with Untitled.ipynb") as problem:
        _ = inputs.t
    assert problem.value.fix == '`recipe.inputs("sales/report").t` is that of sales/report'
    for name, fix in (("sales/reprt", "did you mean sales/report?"), ("nothing", "known: sales/b, sales/report")):
        with pytest.raises(NotFound, match=f"there is no step {name}") as problem:
            _ = inputs(name).t
        assert problem.value.fix == fix
    with pytest.raises(NotFound, match="`in` of sales/report has no tt") as problem:
        _ = inputs("sales/report").tt
    assert problem.value.fix == "did you mean t?" or "known: t" in problem.value.fix
    assert getattr(inputs, "none", 3) == 3


def test_a_name_that_nobody_has_is_refused(files, monkeypatch):
    with pytest.raises(NotFound, match="no step of a recipe has tabel in its `in`") as problem:
        _ = inputs.tabel
    assert "did you mean table?" in problem.value.fix
    monkeypatch.setenv(HANDED_OVER, handed_over({"x": "data:x@1"}, {}))
    assert inputs.x == "data:x@1"
    with pytest.raises(NotFound, match="`in` of this step has no tabel"):
        _ = inputs.tabel
    assert not hasattr(inputs, "_repr_html_")
    assert not hasattr(inputs, "tabel")


@pytest.mark.parametrize(
    ("before", "after", "what", "fix"),
    [
        ("build/made/table.csv", "../table.csv", "lies outside of the project", "name a path of the project"),
        ("build/made/table.csv", "build/*.csv", "names many files", "the folder in which they lie"),
        ('raw = "raw', 'row = "raw', "make.ipynb takes recipe.inputs.raw, and `in` has no such name", "mean row?"),
        ('{ table = "build', '{ tables = "build', "takes recipe.outputs.table, and `out` has no", "mean tables?"),
        ("make.table", "make.tabel", "make has no such output", "did you mean table?"),
        ('rows = "make.rows", ', "", "use.ipynb takes recipe.inputs.rows, and `in` has no such name", "known: path"),
    ],
)
def test_what_cannot_be_is_found_before_it_runs(files, before, after, what, fix):
    text = files.read_text()
    assert before in text
    files.write_text(text.replace(before, after))
    with pytest.raises(LabError) as problem:
        declaration.read("files")
    assert what in problem.value.what
    assert fix in problem.value.fix


@pytest.mark.parametrize("other", ["build/made/table.csv", "build/made", "build/made/table.csv/x"])
def test_two_steps_do_not_make_one_file(files, other):
    files.write_text(f'{files.read_text()}out = {{ again = "{other}" }}\n')
    with pytest.raises(Failed, match=r"use: build/made.* is made by make already"):
        declaration.read("files")


def test_rows_of_data_are_what_the_file_held(files):
    run_recipe("files")
    assert len(data.get("rows").df()) == 2


def test_what_is_written_besides_is_named_on_the_card_and_by_the_check(workspace, notebook, recipe):
    notebook("make", "n: int = 1", LOAD, "import pathlib, helper",
             "for each in ('x.txt', 'y.txt'): pathlib.Path(each).write_text('a')",
             "recipe.outputs.table.write_text('b')", "pathlib.Path('y.txt').unlink()")  # fmt: skip
    (workspace / "notebooks" / "helper.py").write_text("a = 1\n")
    path = recipe("f", '[steps.make]\nnotebook = "make.ipynb"\nout = { table = "build/t.csv" }\n')
    done = run_recipe("f")
    assert done.steps["make"]["wrote"] == ("notebooks/x.txt",)
    assert "make wrote notebooks/x.txt, which `out` does not name." in str(done.card())
    (found,) = [each for each in run("recipe check f --report").findings if each["code"] == "LAB109"]
    assert found["what"] == "make wrote notebooks/x.txt when it ran last"
    assert "recipe.outputs.NAME in the notebook" in found["fix"]
    path.write_text(path.read_text().replace("}", ', other = "notebooks/x.txt" }'))
    assert not [each for each in run("recipe check f --report").findings if each["code"] == "LAB109"]
