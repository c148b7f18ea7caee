"""A recipe is honest about files: what its steps take, what they open besides, and what that means for the next run."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab import data, recipe
from aiinfra_lab.errors import Denied, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.pool import match
from aiinfra_lab.recipe import declaration, taken
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.results import RecipeRun
from aiinfra_lab.store import open_store

Write = Callable[..., Path]
RUN = 'in = { rows = "SOURCE" }'
PRINT = "print(rows)"


@pytest.fixture
def one(notebook: Write, recipe: Write, workspace: Path) -> Callable[..., None]:
    """`one("raw/x.csv")`: a recipe of one step whose notebook takes that as `rows` and runs that code."""
    (workspace / "raw").mkdir()
    for name in ("x", "y"):
        (workspace / "raw" / f"{name}.csv").write_text("n\n1\n")

    def write(source: str, code: str = PRINT, parameter: str = 'rows: str = ""') -> None:
        notebook("a", parameter, code)
        given = f'in = {{ rows = "{source}" }}' if source else ""
        recipe("one", f'[steps.a]\nnotebook = "a.ipynb"\n{given}\n')

    return write


def run() -> RecipeRun:
    return recipe.run("one")


def state(done: RecipeRun) -> str:
    return done.steps["a"]["state"]


def notes(done: RecipeRun) -> str:
    """What its card says of files: in its notes, and of why the step ran."""
    card = done.card()
    return "\n".join([*card.notes, *(row[2] for row in card.parts[-1].rows if "changed" in row[2])])


def opened(done: RecipeRun) -> list[tuple[str, bool]]:
    return [(one["name"], one["by_step"]) for one in done.steps["a"]["opened"]]


# ---- what a notebook is given ----


def test_a_path_opens_from_where_the_notebook_runs(one):
    one("raw/x.csv", "assert open(rows).read() == 'n\\n1\\n'")
    assert run().steps["a"]["values"] == {"rows": "../raw/x.csv"}


@pytest.mark.parametrize("source", ["raw/*.csv", "**/*.csv", "raw", "./raw", "raw/[xy].csv"])
def test_a_list_is_given_the_files_and_a_text_the_glob(one, source):
    one(source, "import glob; assert len(rows) == 2; [open(row) for row in rows]", "rows: list[str] = []")
    assert run().steps["a"]["values"] == {"rows": ["../raw/x.csv", "../raw/y.csv"]}
    one(source, "import glob; assert rows.startswith('../')")
    assert state(run()) == "done"


def test_data_is_pinned_to_the_version_of_the_start_and_named_in_the_lineage(one):
    data.add("rows", pl.DataFrame({"n": [1]}))
    one("data:rows")
    assert run().steps["a"]["values"] == {"rows": "data:rows@1"}
    assert any("data:rows@1" in logged.event.inputs for logged in open_store().events(naming="recipe:one@1"))
    data.add("rows", pl.DataFrame({"n": [2]}))
    again = run()
    assert (state(again), again.steps["a"]["because"]) == ("done", ("data:rows@1 → @2",))


def test_a_step_wins_over_a_file_of_its_name_and_a_dot_before_it_means_the_file(notebook, recipe, workspace):
    notebook("a", 'x: str = ""')
    (workspace / "make.csv").touch()
    text = '[steps.make]\nnotebook = "a.ipynb"\nout = {{ csv = "data:csv" }}\n[steps.a]\nnotebook = "a.ipynb"\n'
    recipe("one", (text + 'in = {{ x = "{}" }}').format("make.csv"))
    assert declaration.read("one").steps[1].inputs == {"x": "make.csv"}
    recipe("one", (text + 'in = {{ x = "{}" }}').format("./make.csv"))
    assert declaration.read("one").steps[1].files == {"x": "./make.csv"}


# ---- what is found before a kernel starts ----


@pytest.mark.parametrize(
    ("source", "kind", "fix"),
    [
        ("raw/z.csv", NotFound, "put it there; did you mean raw/y.csv?"),
        ("raw/*.parquet", NotFound, "put one there, or correct"),
        ("raw/none/*", NotFound, "put one there, or correct"),
        ("../outside.csv", Denied, "copy or link it into the project"),
        ("/etc/hostname", Denied, "copy or link it into the project"),
        (".aiinfra/store.sqlite", Denied, "data:NAME"),
        ("data:none", NotFound, "known: data:other"),
        ("models:none", UsageProblem, "there are: data:other"),
        ("rax.csv", UsageProblem, "known: a"),
    ],
)
def test_what_is_not_there_is_found_before_there_is_a_run(one, source, kind, fix):
    data.add("other", pl.DataFrame({"n": [1]}))
    one(source)
    for verb in (recipe.run, recipe.check):
        with pytest.raises(LabError) as problem:
            verb("one")
        assert (type(problem.value), fix in problem.value.fix) == (kind, True), problem.value
    assert open_store().list(RunRecord) == []


@pytest.fixture
def recipe_file(workspace: Path) -> Path:
    return workspace / "recipes" / "one.toml"


@pytest.mark.parametrize("source", ["raw/gone.csv", "gone/*.csv", "data:gone", "../outside.csv"])
@pytest.mark.parametrize("table", [False, True])
def test_what_is_wrong_with_it_names_the_step_and_the_line(one, recipe_file, source, table):
    one(source)
    if table:
        recipe_file.write_text(f'[steps.a]\nnotebook = "a.ipynb"\n[steps.a.in]\n\nrows = "{source}"\n')
    for verb in (recipe.run, recipe.check):
        with pytest.raises(LabError, match=rf"^a: .+ \(one\.toml line {5 if table else 3}\)\n"):
            verb("one")


def test_an_empty_folder_means_no_file(one, workspace):
    (workspace / "empty").mkdir()
    one("empty")
    with pytest.raises(NotFound, match="means no file"):
        run()


def test_a_glob_that_means_too_many_files_is_refused_at_the_first_one_too_many(one, workspace, monkeypatch):
    monkeypatch.setattr(taken, "MOST_FILES", 5)
    seen = []
    visible = taken._visible
    monkeypatch.setattr(taken, "_visible", lambda *place: (seen.append(1) or each for each in visible(*place)))
    for number in range(200):
        (workspace / "raw" / f"{number}.csv").touch()
    one("raw/*.csv")
    with pytest.raises(UsageProblem) as problem:
        run()
    assert ("more than 5 files" in problem.value.what, "data:NAME" in problem.value.fix) == (True, True)
    assert len(seen) <= 10


def test_a_link_to_a_folder_above_ends_no_walk(workspace):
    (workspace / "raw").mkdir()
    (workspace / "raw" / "x.csv").touch()
    (workspace / "raw" / "up").symlink_to(workspace)
    assert taken.files_of("**/*.csv") == [workspace / "raw" / "x.csv"]


@pytest.mark.parametrize("kind", ["int", "float", "bool"])
def test_a_parameter_that_can_hold_no_path_is_an_error(one, kind):
    one("raw/x.csv", parameter=f"rows: {kind} = 0")
    with pytest.raises(Failed) as problem:
        recipe.check("one")
    assert "write `rows: str = …`" in problem.value.fix


# ---- what decides whether it runs ----


@pytest.mark.parametrize("source", ["raw/x.csv", "raw/*.csv", "raw"])
def test_a_file_that_changed_is_a_reason_to_run_and_is_named(one, workspace, source):
    one(source)
    assert [state(run()), state(run())] == ["done", "skipped"]
    (workspace / "raw" / "x.csv").write_text("n\n2\n")
    again = run()
    assert (state(again), f"ran: {source} changed" in notes(again)) == ("done", True)


def test_a_file_that_was_added_to_a_glob_is_a_reason_to_run(one, workspace):
    one("raw/*.csv")
    run()
    (workspace / "raw" / "z.csv").touch()
    assert [state(run()), state(run())] == ["done", "skipped"]


@pytest.mark.parametrize("source", ["raw/x*.csv", "raw", "**/x*.csv"])
def test_another_name_of_the_only_file_is_a_reason_to_run(one, workspace, source):
    (workspace / "raw" / "y.csv").unlink()
    one(source, parameter="rows: list[str] = []")
    run()
    (workspace / "raw" / "x.csv").rename(workspace / "raw" / "x2.csv")
    again = run()
    assert (state(again), again.steps["a"]["values"]) == ("done", {"rows": ["../raw/x2.csv"]})


def test_an_input_of_another_type_is_a_reason_to_run(one):
    imported = "from pathlib import Path\n"
    one("raw/x.csv", "print(repr(rows))", f"{imported}rows: str = ''")
    run()
    one("raw/x.csv", "print(repr(rows))", f"{imported}rows: Path = Path()")
    assert run().steps["a"]["because"] == ("rows str → Path",)
    one("raw/x.csv", "print(repr(rows))", f"{imported}rows: list[str] = []")
    assert run().steps["a"]["because"] == ("rows Path → list[str]",)


def test_an_input_that_changes_while_the_step_runs_makes_its_result_stand_for_nothing(one):
    one("raw/x.csv", "open('../raw/x.csv', 'a').write('2\\n')")
    first = run()
    assert first.steps["a"]["changed"] == ("raw/x.csv",)
    assert "raw/x.csv changed while it ran" in notes(first)
    assert state(run()) == "done"


def test_a_file_that_vanishes_on_the_way_fails_the_step_that_takes_it(one, notebook, workspace):
    one("raw/x.csv")
    notebook("b", "x: int = 1", "import os; os.remove('../raw/x.csv')")
    with (workspace / "recipes" / "one.toml").open("a") as file:
        file.write('after = ["b"]\n[steps.b]\nnotebook = "b.ipynb"\n')
    done = recipe.run("one", report=True)
    assert (done.state, "no file or folder raw/x.csv" in done.steps["a"]["error"]) == ("failed", True)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("os.remove('../raw/x.csv'); os.mkdir('../raw/x.csv')", "raw/x.csv means no file"),
        ("shutil.rmtree('../raw'); open('../raw', 'w').close()", "no file or folder raw/x.csv"),
    ],
)
def test_what_becomes_of_a_file_on_the_way_is_the_end_of_no_other_step(one, notebook, workspace, code, what):
    one("raw/x.csv")
    notebook("b", 'x: str = ""', f"import os, shutil; {code}")
    notebook("c", "", "import time; time.sleep(1)")
    with (workspace / "recipes" / "one.toml").open("a") as file:
        file.write('[steps.b]\nnotebook = "b.ipynb"\nin = { x = "raw/x.csv" }\n[steps.c]\nnotebook = "c.ipynb"\n')
        file.write('[steps.d]\nnotebook = "a.ipynb"\nin = { rows = "raw/x.csv" }\nafter = ["b"]\n')
    done = recipe.run("one", report=True)
    assert [done.steps[name]["state"] for name in "bcd"] == ["done", "done", "failed"]
    assert done.steps["b"]["changed"] == ("raw/x.csv",)
    assert what in done.steps["d"]["error"]


def test_a_file_that_cannot_be_read_is_named(one, workspace, monkeypatch):
    one("raw/x.csv")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(taken, "file_digest", refuse)
    for options in ({}, {"dry": True}):
        with pytest.raises(LabError, match=r"raw/x.csv cannot be read: Permission denied"):
            recipe.run("one", **options)


def test_a_name_that_is_no_text_is_refused(one, workspace):
    one("raw/*.csv")
    Path(os.fsdecode(bytes(workspace / "raw") + b"/caf\xe9.csv")).touch()
    for verb in (recipe.run, recipe.check):
        with pytest.raises(UsageProblem, match=r"the name of raw/caf\\xe9.csv is no UTF-8"):
            verb("one")


# ---- what it opened besides ----


def test_several_files_that_somebody_opened_are_several_in_the_sentence(one, workspace):
    (workspace / "raw" / "y.csv").write_text("n\n1\n")
    one("", "import subprocess; subprocess.run('cat ../raw/?.csv', shell=True)")
    assert "While a ran, raw/x.csv, raw/y.csv were opened, which `in` does not name" in notes(run())


def test_what_is_written_down_of_an_installed_package_is_none_of_a_steps_files(one, workspace):
    about = workspace / "src" / "ours.egg-info"
    about.mkdir(parents=True)
    (about / "entry_points.txt").write_text("[console_scripts]\n")
    one("", "import subprocess; subprocess.run('cat ../src/*/entry_points.txt', shell=True)")
    assert opened(run()) == []


def test_the_warm_pool_in_a_temporary_folder_of_the_project_is_none_of_a_steps_files(one, workspace, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(workspace / "raw"))
    monkeypatch.setenv("AIINFRA_POOL", "off")  # no other one begins there
    monkeypatch.setattr(match, "_LONGEST", 500)  # the folder of a test is longer than that of a socket may be
    place = Path(match.folder())
    place.mkdir(mode=0o700)
    (place / "lock").touch()
    one("", f"import subprocess; subprocess.run('cat ../raw/{place.name}/l*', shell=True)")
    assert opened(run()) == []


def test_a_name_that_is_no_text_is_spelled(one, workspace):
    Path(os.fsdecode(bytes(workspace / "raw") + b"/caf\xe9.csv")).touch()
    one("", "open(b'../raw/caf\\xe9.csv').read(); open(b'../raw/caf\\xe8.csv', 'w').close()")
    done = run()
    assert (opened(done), done.steps["a"]["wrote"]) == ([("raw/caf\\xe9.csv", True)], ("raw/caf\\xe8.csv",))


def test_a_file_that_a_step_opens_undeclared_is_named_and_counts_at_the_next_run(one, workspace):
    one("", "name = '../raw/' + 'x' + '.csv'; open(name).read()")
    first = run()
    assert opened(first) == [("raw/x.csv", True)]
    assert "a opened raw/x.csv, which `in` does not name" in notes(first)
    assert (state(run()), notes(run())) == ("skipped", "")
    (workspace / "raw" / "x.csv").write_text("n\n3\n")
    assert run().steps["a"]["because"] == ("raw/x.csv changed",)


@pytest.mark.parametrize(
    "code",
    [
        "import polars as pl; pl.read_csv('../raw/' + 'x.csv')",
        "import subprocess; subprocess.run(['cat', '../raw/' + 'x.csv'])",
    ],
)
def test_a_file_that_is_opened_past_python_is_named_and_counts_too(one, workspace, code):
    one("", code.replace("'x.csv'", "'x' + '.csv'"))
    first = run()
    assert opened(first) == [("raw/x.csv", False)]
    assert "While a ran, raw/x.csv was opened" in notes(first)
    (workspace / "raw" / "x.csv").write_text("n\n3\n")
    assert state(run()) == "done"


@pytest.mark.parametrize(
    "code",
    [
        "open('o' + '.txt', 'w').write('1'); open('o' + '.txt').read()",
        "import polars as pl; pl.DataFrame({'n': [1]}).write_csv('o' + '.csv'); pl.read_csv('o' + '.csv')",
        "import polars as pl; pl.DataFrame({'n': [1]}).write_csv('o' + '.csv'); open('o' + '.csv').read()",
        "open(rows).read()",
        "import json; json.load(open('a' + '.ipynb'))",
        "import subprocess; subprocess.run(['cat', 'other' + '.ipynb'])",
    ],
    ids=["own", "own past Python", "own past Python and then read", "declared", "notebook", "JupyterLab"],
)
def test_what_it_wrote_or_declared_is_not_named(one, code):
    one("raw/x.csv", code)
    assert opened(run()) == []
    assert opened(recipe.run("one", force=True)) == [], "nor when it is there from the run before"


def test_a_module_of_the_project_is_code_that_counts_by_its_meaning_and_is_not_named(one, workspace):
    one("", "import helper")
    module = workspace / "notebooks" / "helper.py"
    module.write_text("N = 1")
    first = run()
    assert (notes(first), opened(first), state(run())) == ("", [], "skipped")
    module.write_text("N  =  1  # laid out otherwise")
    assert state(run()) == "skipped"
    module.write_text("N = 2")
    again = run()
    assert (again.steps["a"]["because"], opened(again)) == (("notebooks/helper.py changed",), [])


def test_a_notebook_that_it_runs_and_one_that_that_runs_count_by_their_meaning(one, notebook):
    one("", "name = 'b'; get_ipython().run_line_magic('run', f'{name}.ipynb')")
    notebook("b", "", "%run c.ipynb")
    notebook("c", "n: int = 1", "print(n)")
    first = run()
    assert opened(first) == [("notebooks/b.ipynb", True), ("notebooks/c.ipynb", True)]
    assert notes(first) == "", "it is code"
    notebook("c", "n: int  =  1", "print(n)  # another comment")
    assert state(run()) == "skipped"
    notebook("c", "n: int = 2", "print(n)")
    assert run().steps["a"]["because"] == ("notebooks/c.ipynb changed",)


def test_a_file_that_it_looked_for_in_vain_is_a_reason_when_it_is_there(one, workspace):
    one("", "try: print(open('../raw/' + 'conf' + '.yaml').read())\nexcept FileNotFoundError: print('usual')")
    first = run()
    assert (notes(first), state(run())) == ("", "skipped")
    (workspace / "raw" / "conf.yaml").write_text("a: 1")
    assert run().steps["a"]["because"] == ("raw/conf.yaml changed",)
    assert state(run()) == "skipped"
    (workspace / "raw" / "conf.yaml").unlink()
    assert state(run()) == "done"


def test_a_reason_is_named_once(one, workspace):
    one("", "try: open('n.txt').read()\nexcept OSError: print('none')")
    run()
    (workspace / "notebooks" / "n.txt").write_text("1")
    assert run().steps["a"]["because"] == ("notebooks/n.txt changed",)


def test_what_it_made_and_removed_is_no_reason(one):
    one("", "import os; n = 'o' + '.txt'; open(n, 'w+').read(); open(n).read(); os.remove(n)")
    assert opened(run()) == []


def test_another_file_beside_the_recipes_counts(one, workspace):
    one("", "open('../recipes/' + 'conf' + '.yaml').read(); open('../recipes/' + 'one' + '.toml').read()")
    (workspace / "recipes" / "conf.yaml").write_text("a: 1")
    assert opened(run()) == [("recipes/conf.yaml", True)]


@pytest.mark.parametrize("name", ["'link.csv'", "'link' + '.csv'", "'folder/x' + '.csv'"])
def test_a_file_outside_that_a_link_in_the_project_leads_to_counts(one, workspace, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.csv").write_text("1")
    (workspace / "raw" / "link.csv").symlink_to(outside / "x.csv")
    (workspace / "raw" / "folder").symlink_to(outside)
    one("", f"open('../raw/' + {name}).read()" if "+" in name else "open('../raw/link.csv').read()")
    assert [state(run()), state(run())] == ["done", "skipped"]
    (outside / "x.csv").write_text("2")
    assert run().steps["a"]["because"] == (f"raw/{'folder/x' if 'folder' in name else 'link'}.csv changed",)


@pytest.fixture
def versions(one, workspace: Path) -> Callable[[str], None]:
    """Folders raw/v1 and raw/v2 with a file each; `versions("v2")`: from now on the link raw/current leads there."""
    for name in ("v1", "v2"):
        (workspace / "raw" / name).mkdir()
        (workspace / "raw" / name / "d.csv").write_text(name)

    def lead(name: str) -> None:
        (workspace / "raw" / "current").unlink(missing_ok=True)
        (workspace / "raw" / "current").symlink_to(name)

    lead("v1")
    return lead


FOLLOW = "from pathlib import Path; print([path.read_text() for path in Path('../raw/current').iterdir()])"


def test_a_link_in_the_project_that_leads_to_another_file_is_a_reason(one, workspace, versions):
    one("", FOLLOW)
    assert opened(run()) == [("raw/current/d.csv", True)], "once, for all that it may lead to"
    assert state(run()) == "skipped"
    versions("v2")
    assert run().steps["a"]["because"] == ("raw/current/d.csv changed",)
    (workspace / "raw" / "v2" / "d.csv").write_text("v3")
    assert run().steps["a"]["because"] == ("raw/current/d.csv changed",), "nor is a change behind it missed"
    (workspace / "raw" / "v1" / "d.csv").write_text("v3")
    versions("v1")
    assert state(run()) == "skipped", "it leads to the same content"


def test_a_link_to_a_declared_file_counts_besides(one, versions):
    one("raw/v1/d.csv", f"{FOLLOW}; open(rows).read()")
    assert opened(run()) == [("raw/current/d.csv", True)]
    versions("v2")
    assert [state(run()), state(run())] == ["done", "skipped"]


def test_a_file_that_is_opened_by_its_name_and_by_a_link_counts_by_both(one, workspace, versions):
    one("", f"{FOLLOW}; open('../raw/v1/' + 'd' + '.csv').read()")
    assert opened(run()) == [("raw/current/d.csv", True), ("raw/v1/d.csv", True)]


def test_a_link_that_leads_elsewhere_once_it_was_read_stands_for_nothing(one, versions):
    one("", f"{FOLLOW}; import os; n = '../raw/current'; os.unlink(n); os.symlink('v2', n)")
    assert opened(run()) == [("raw/current/d.csv", True)]
    assert run().steps["a"]["because"] == ("raw/current/d.csv changed",)


def test_a_way_back_behind_a_link_leads_where_the_system_says(one, workspace, versions):
    (workspace / "raw" / "v1" / "deep").mkdir()
    (workspace / "raw" / "link").symlink_to("v1/deep")
    one("", "open('../raw/link/../' + 'd' + '.csv').read()")
    assert opened(run()) == [("raw/v1/d.csv", True)]


def test_a_link_that_is_declared_is_not_named_besides(one, workspace, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.csv").write_text("1")
    (workspace / "raw" / "link.csv").symlink_to(outside / "x.csv")
    (workspace / "raw" / "inside.csv").symlink_to("x.csv")
    for name in ("link", "inside"):
        one(f"raw/{name}.csv", "open(rows).read()")
        assert opened(run()) == []


def test_a_module_whose_name_is_known_only_when_it_is_imported_counts_too(one, workspace):
    one("", "import importlib; importlib.import_module('hel' + 'per')")
    module = workspace / "notebooks" / "helper.py"
    module.write_text("N = 1")
    assert opened(run()) == [("notebooks/helper.py", True)]
    module.write_text("N  =  1  # laid out otherwise")
    assert state(run()) == "skipped"
    module.write_text("N = 2")
    assert run().steps["a"]["because"] == ("notebooks/helper.py changed",)
    run_again = recipe.run("one", force=True)  # now from what was compiled
    assert opened(run_again) == [("notebooks/helper.py", True)]


def test_a_step_after_one_that_ran_for_a_file_it_opened_runs_too(notebook, recipe, workspace):
    (workspace / "x.csv").write_text("1")
    notebook("a", "x: int = 1", "open('../x' + '.csv')")
    notebook("b", "x: int = 1")
    recipe("one", '[steps.a]\nnotebook = "a.ipynb"\n[steps.b]\nnotebook = "b.ipynb"\nafter = ["a"]')
    run()
    assert [step["state"] for step in run().steps.values()] == ["skipped", "skipped"]
    (workspace / "x.csv").write_text("2")
    assert [step["state"] for step in run().steps.values()] == ["done", "done"]


def test_what_a_killed_kernel_opened_is_known(one):
    one("", "open('../raw/' + 'x' + '.csv'); import os; os.kill(os.getpid(), 9)")
    assert opened(recipe.run("one", report=True)) == [("raw/x.csv", True)]


def test_nothing_of_the_watch_is_left_in_the_notebook_or_beside_it(one, workspace):
    one("", "assert 'watch' not in dir() and 'json' not in dir()")
    archive = Path(run().archive)
    assert [path.name for path in archive.iterdir()] == ["a.ipynb"]
    assert "addaudithook" not in (archive / "a.ipynb").read_text()


def test_a_file_that_somebody_changed_after_it_was_read_is_not_taken_for_what_was_read(one, workspace):
    one("", "import subprocess; n = '../raw/x' + '.csv'; open(n).read(); subprocess.run(['touch', n])")
    assert run().steps["a"]["opened"][0]["digest"] == ""
    assert state(run()) == "done"
