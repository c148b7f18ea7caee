"""`%recipe export`: what it writes, what it leaves alone, and what it says when a file is stale."""

import subprocess
from pathlib import Path

import pytest
import yaml

from aiinfra_lab import recipe as recipes
from aiinfra_lab.cli import main
from aiinfra_lab.errors import Conflict, Denied, Failed, NotFound, UsageProblem

ROOT = Path(__file__).parents[3]
ONE = '[parameters]\nword = "hello"\n[steps.a]\nnotebook = "a.ipynb"\nparameters = { word = "${params.word}" }\n'


@pytest.fixture
def one(notebook, recipe, workspace):
    notebook("a", 'word: str = "x"', "import helper")
    (workspace / "notebooks" / "helper.py").write_text("")
    recipe("one", ONE)
    return workspace


def test_without_a_folder_the_file_is_shown_and_nothing_is_written(one):
    before = sorted(one.rglob("*"))
    done = recipes.export("one", to="systemd")
    assert done.file in str(done.card())
    assert "ExecStart=/usr/bin/env aiinfra recipe run one" in done.text
    assert (done.into, done.files) == ("", ("systemd/aiinfra-recipe-one@.service",))
    assert sorted(each for each in one.rglob("*") if ".aiinfra" not in each.parts) == before


def test_it_is_written_and_written_anew_when_the_recipe_changes(one, recipe):
    done = recipes.export("one", to="github", into=".")
    path = one / ".github" / "workflows" / "one.yml"
    assert path.read_text() == done.text
    assert "--only a" in done.text
    assert path.stat().st_mode & 0o444
    recipe("one", ONE.replace("steps.a", "steps.b"))
    recipes.export("one", to="github", into=".")
    assert "--only b" in path.read_text()


def test_a_check_says_which_file_is_stale_and_the_command_that_writes_it(one, recipe, capsys):
    recipes.export("one", to="dvc", into="out", param={"word": "it's"})
    assert recipes.export("one", to="dvc", into="out", param={"word": "it's"}, check=True).into == "out"
    recipe("one", ONE + "timeout = '1h'\nretries = 1\n[steps.b]\nnotebook = 'a.ipynb'\n")
    words = ["recipe", "export", "one", "--to", "dvc", "-p", "word=it's", "--into", "out", "--check"]
    assert main(words) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "out/dvc/one/dvc.yaml is stale" in told
    assert """`aiinfra recipe export one --to dvc -p 'word=it'"'"'s' --into out`""" in told
    assert ".gitignore" not in told


def test_a_check_without_a_folder_looks_at_the_project_and_writes_nothing(one):
    with pytest.raises(Failed, match=r"dags/one.py is not there"):
        recipes.export("one", to="airflow", check=True)
    assert not (one / "dags").exists()


def test_what_somebody_edited_is_kept_unless_forced(one):
    recipes.export("one", to="container", into=".")
    path = one / "container" / "one" / "Dockerfile"
    path.write_text(path.read_text() + "USER root\n")
    with pytest.raises(Failed, match="was edited by hand"):
        recipes.export("one", to="container", into=".", check=True)
    with pytest.raises(Conflict, match="edited by hand") as raised:
        recipes.export("one", to="container", into=".")
    assert "--force" in raised.value.fix
    assert path.read_text().endswith("USER root\n")
    recipes.export("one", to="container", into=".", force=True)
    assert "USER root" not in path.read_text()


def test_a_file_of_somebody_elses_is_not_overwritten_and_then_none_is_written(one):
    path = one / "container" / "one" / "Dockerfile.dockerignore"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff")
    with pytest.raises(Conflict):
        recipes.export("one", to="container", into=".")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_unknown_scheduler_or_recipe_brings_the_nearest(one):
    with pytest.raises(UsageProblem) as raised:
        recipes.export("one", to="githubb")
    assert "github" in raised.value.fix
    with pytest.raises(NotFound) as missing:
        recipes.export("onee", to="github")
    assert "one" in missing.value.fix


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        ({"to": "cron"}, "--cron"),
        ({"to": "argo"}, "--image"),
        ({"to": "github", "image": "r:1"}, "leave --image out"),
        ({"to": "dvc", "cron": "0 3 * * *"}, "leave --cron out"),
        ({"to": "github", "tz": "Europe/Berlin"}, "add --cron"),
        ({"to": "github", "cron": "0 3 * * *", "tz": "Europe/Berlin"}, "in UTC"),
        ({"to": "github", "cron": "0 3 * *"}, "five fields"),
        ({"to": "dvc", "param": {"wrd": "x"}}, "word"),
    ],
)
def test_what_a_scheduler_cannot_express_is_refused_with_a_fix(one, flags, fix):
    with pytest.raises(UsageProblem) as raised:
        recipes.export("one", **flags)
    assert fix in raised.value.fix


def test_a_folder_that_cannot_be_made_is_refused(one):
    (one / "taken").write_text("")
    with pytest.raises(Denied, match="cannot be made") as raised:
        recipes.export("one", to="dvc", into="taken")
    assert "--into" in raised.value.fix


@pytest.mark.parametrize(
    ("name", "installs"),
    [
        ("uv.lock", "uv sync --locked --active"),
        ("requirements.txt", "uv pip install -r requirements.txt"),
        ("pyproject.toml", "uv pip install -e ."),
        ("", "uv pip install aiinfra-lab=="),
    ],
)
def test_the_project_is_installed_by_what_it_has(one, name, installs):
    if name:
        (one / name).write_text("")
    assert installs in recipes.export("one", to="container").text


def test_modules_of_the_project_are_what_a_stage_depends_on(one):
    text = recipes.export("one", to="dvc").text
    assert "- notebooks/helper.py\n" in text
    assert "- parameters.word\n" in text


def test_one_step_runs_alone_with_what_was_made_before(notebook, recipe):
    notebook("make", 'word: str = "x"', "from aiinfra_lab import data", _ADD)
    notebook("use", 'made: str = "x"', "assert made == 'data:made@1', made")
    recipe("two", _TWO)
    with pytest.raises(NotFound) as raised:
        recipes.run("two", only="use")
    assert "--only make" in raised.value.fix
    assert [*recipes.run("two", only="make").steps] == ["make"]
    done = recipes.run("two", only="use")
    assert {name: step["state"] for name, step in done.steps.items()} == {"use": "done"}
    assert recipes.run("two", only="use").steps["use"]["state"] == "skipped"
    assert recipes.run("two").steps["use"]["state"] == "skipped"
    assert recipes.run("two", only="use", force=True).steps["use"]["state"] == "done"
    with pytest.raises(UsageProblem, match="no step 'us'"):
        recipes.run("two", only="us")


_ADD = 'import pathlib\npathlib.Path("made.csv").write_text("a\\n1\\n")\ndata.add("made", "made.csv")'
_TWO = """
[steps.make]
notebook = "make.ipynb"
parameters = { word = "hello" }
out = { made = "data:made" }
[steps.use]
notebook = "use.ipynb"
in = { made = "make.made" }
"""


@pytest.mark.parametrize(
    ("form", "is_noted"), [("github", True), ("airflow", True), ("dvc", False), ("container", False)]
)
def test_files_that_tasks_on_other_machines_lack_are_noted(notebook, recipe, form, is_noted):
    notebook("a", "word: str = ''", "from aiinfra_lab import recipe", "recipe.outputs.table.write_text('a')")
    recipe("one", f'{ONE}out = {{ table = "build/t.csv" }}\n')
    notes = recipes.export("one", to=form).notes
    assert any(note.startswith("files of") and note.endswith(": build/t.csv") for note in notes) == is_noted


@pytest.mark.parametrize(("form", "is_noted"), [("github", True), ("dvc", True), ("cron", False), ("systemd", False)])
def test_where_each_step_is_a_run_the_budget_is_of_each(notebook, recipe, form, is_noted):
    notebook("a", "word: str = ''")
    recipe("one", f'budget = "5 USD"\n{ONE}[schedule]\ncron = "0 3 * * *"\n')
    notes = recipes.export("one", to=form).notes
    assert any(note.startswith("each step is a run of its own there") for note in notes) == is_noted


def test_a_container_is_run_with_the_folders_that_steps_make_files_in(notebook, recipe):
    made = '{ a = "build/a.csv", b = "build/it\'s/b.csv", c = "c.csv", d = "out/${params.word}/d.csv", e = "plots/" }'
    notebook("a", "word: str = ''", "from aiinfra_lab import recipe", "recipe.outputs.a.touch()")
    recipe("one", f"{ONE.replace('hello', '${{run.date}}')}out = {made}\n".replace("${{", "${").replace("}}", "}"))
    done = recipes.export("one", to="container")
    for folder in ("build", "out", "plots"):
        assert f' -v "$PWD"/{folder}:/project/{folder} ' in done.use
    assert """ -v "$PWD"/'build/it'"'"'s:/project/build/it'"'"'s' """ in done.use
    assert "c.csv" in next(note for note in done.notes if note.startswith("what steps write"))


@pytest.mark.parametrize(("taken", "is_ignored"), [("raw/*.csv", True), ("build/*.csv", False), ("build", False)])
def test_what_a_recipe_takes_comes_into_its_image(one, notebook, recipe, taken, is_ignored):
    notebook("a", 'word: str = "x"', "from aiinfra_lab import recipe", "recipe.inputs.table")
    (one / "build").mkdir()
    recipe("one", f'{ONE}in = {{ table = "{taken}" }}\n')
    recipes.export("one", to="container", into=".")
    ignored = (one / "container" / "one" / "Dockerfile.dockerignore").read_text().splitlines()
    assert ("build" in ignored) == is_ignored
    assert ".aiinfra" in ignored


@pytest.mark.parametrize(("form", "check"), [("github", "check"), ("gitlab", "one-check")])
def test_where_a_checkout_lacks_what_a_recipe_takes_it_is_checked_where_it_runs(one, notebook, recipe, form, check):
    notebook("a", 'word: str = "x"', "from aiinfra_lab import recipe", "recipe.inputs.table, recipe.inputs.kept")
    recipe("one", f'{ONE}in = {{ table = "raw/2013/*.csv", kept = "kept/*.csv" }}\n')
    subprocess.run(["git", "init", "-q", "."], cwd=one, check=True)
    hosted, own = ("ubuntu-latest" if form == "github" else "merge_request_event"), "no checkout of the project"
    committed = recipes.export("one", to=form)
    assert hosted in str(yaml.safe_load(committed.text)[check if form == "gitlab" else "jobs"])
    assert not any(note.startswith(own) for note in committed.notes)
    (one / ".gitignore").write_text("raw/\n")
    ignored = recipes.export("one", to=form)
    assert hosted not in str(yaml.safe_load(ignored.text)[check if form == "gitlab" else "jobs"])
    assert next(note for note in ignored.notes if note.startswith(own)).endswith(": raw/2013/*.csv")
