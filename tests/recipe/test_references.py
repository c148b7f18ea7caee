"""What stands in `${…}` in a recipe's file."""

import datetime as dt
from pathlib import Path

import pytest

from aiinfra_lab.errors import Failed, LabError
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.recipe.references import filled, parameter_of, parameters_in, source_of
from aiinfra_lab.store import open_store
from tests.following import run

MEANINGS = {"params.n": 3, "params.region": "eu", "params.many": ["a", "b"], "params.odd": "${params.n}"}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("${params.n}", 3),
        ("${params.many}", ["a", "b"]),
        ("raw/${params.region}/${params.n}.csv", "raw/eu/3.csv"),
        ("of ${params.many}", "of a,b"),
        (["${params.n}", {"x": "${params.region}"}], [3, {"x": "eu"}]),
        ("$${params.n}", "${params.n}"),
        ("${params.odd}", "${params.n}"),
        ("${params.other} costs $5", "${params.other} costs $5"),
        (7, 7),
    ],
)
def test_a_value_is_filled(value, meant):
    assert filled(value, MEANINGS) == meant


def test_what_a_text_refers_to():
    assert [*parameters_in({"a": ["${params.x}${params.y}", "$${params.z}"]})] == ["x", "y"]
    assert parameter_of("${params.x}") == "x"
    assert parameter_of("${params.x}.csv") is None
    assert source_of("${steps.train.out.run}") == "train.run"
    assert source_of("${params.x}") is None


TOML = """
[parameters]
day = "${run.date}"
region = "eu"
n = 1
[steps.make]
notebook = "make.ipynb"
parameters = { region = "${params.region}" }
in = { rows = "raw/${params.region}.csv" }
out = { table = "data:rows-${params.region}" }
[steps.use]
notebook = "use.ipynb"
parameters = { table = "${steps.make.out.table}", title = "${params.region} at ${params.day}", n = "${params.n}" }
"""
MAKE = "from aiinfra_lab import data\ndata.add(f'rows-{region}', rows)"
USE = "print(table, title, n, n + 1)"


@pytest.fixture
def templated(workspace: Path, notebook, recipe) -> Path:
    (workspace / "raw").mkdir()
    for region in ("eu", "us"):
        (workspace / "raw" / f"{region}.csv").write_text(f"a\n{len(region)}\n")
    notebook("make", "region: str = ''\nrows: str = ''", MAKE)
    notebook("use", "table: str = ''\ntitle: str = ''\nn: int = 0", USE)
    return recipe("r", TOML)


def test_a_run_fills_what_its_file_refers_to(templated):
    done = run_recipe("r", param={"region": "us", "n": 4})
    today = dt.datetime.now(dt.UTC).date().isoformat()
    values = {name: step["values"] for name, step in done.steps.items()}
    assert values["make"] == {"region": "us", "rows": "../raw/us.csv"}
    assert values["use"] == {"table": "data:rows-us@1", "title": f"us at {today}", "n": 4}
    assert done.steps["make"]["outputs"] == {"table": "data:rows-us@1"}


def test_the_day_of_a_run_is_among_its_parameters_so_that_it_can_be_repeated(templated):
    run_recipe("r")
    record = open_store().get(RunRecord, "r@1")
    assert record.body.parameters == {"day": dt.datetime.now(dt.UTC).date().isoformat()}
    again = run_recipe("r@1", param={"day": "2013-04-01"})
    assert again.steps["use"]["values"]["title"] == "eu at 2013-04-01"
    assert again.steps["make"]["state"] == "skipped"
    assert run_recipe("r@2").steps["use"]["state"] == "skipped"


def test_a_parameter_that_looks_like_a_reference_is_none(templated):
    done = run_recipe("r", param={"day": "${params.n}"})
    assert done.steps["use"]["values"]["title"] == "eu at ${params.n}"


def test_the_check_looks_at_the_files_of_the_defaults(templated, workspace):
    assert run("recipe check r").notes == ()
    (workspace / "raw" / "eu.csv").unlink()
    (note,) = run("recipe check r").notes
    assert "make could not run now: there is no file or folder raw/eu.csv" in note
    assert run("recipe check r -p region=us").notes == ()


def test_one_step_alone_takes_what_its_parameters_say(templated):
    run_recipe("r", param={"region": "us"})
    done = run_recipe("r", param={"region": "us", "n": 2}, only="use")
    assert done.steps["use"]["values"]["table"] == "data:rows-us@1"


@pytest.mark.parametrize(
    ("before", "after", "what", "fix"),
    [
        ('"${params.region}" }', '"${params.regoin}" }', "recipe has no parameter regoin (r.toml line 8)", "region?"),
        ('"${params.region}" }', '"$regoin" }', "recipe has no parameter regoin (r.toml line 8)", "region?"),
        ('"${params.region}" }', '"${param.region}" }', "`parameters` has no ${param.region}", "mean params.region?"),
        ("raw/${params.region}", "raw/${run.date}", "`in` has no ${run.date} (r.toml line 9)", "below [parameters]"),
        ("${params.region} at", "${steps.make.out.table} at", "has no ${steps.make.out.table}", "nothing else in that"),
        ("${steps.make.out.table}", "${steps.make.out.tabel}", "make has no such output", "did you mean table?"),
        ("${steps.make.out.table}", "${steps.mkae.out.table}", "neither such a step nor", "did you mean make.table?"),
        ('day = "${run.date}"', 'day = "${run.day}"', "[parameters] has no ${run.day} (r.toml line 3)", "run.date"),
        ("data:rows-${params.region}", "data:rows-${params.r}", "no parameter r (r.toml line 10)", "region"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_its_line(templated, before, after, what, fix):
    text = templated.read_text()
    assert before in text
    templated.write_text(text.replace(before, after, 1))
    with pytest.raises(LabError) as problem:
        declaration.read("r")
    assert what in problem.value.what
    assert fix in problem.value.fix


def test_what_a_text_becomes_has_the_type_that_the_notebook_takes(templated, notebook):
    notebook("use", "table: str = ''\ntitle: int = 1\nn: int = 0", USE)
    with pytest.raises(Failed, match=r"title must be of type int, and 'eu at \d{4}-\d\d-\d\d' was given"):
        declaration.read("r")


def test_the_form_of_earlier_files_is_still_read(templated):
    templated.write_text(templated.read_text().replace('"${params.region}" }', '"$region" }'))
    assert run_recipe("r").steps["make"]["values"]["region"] == "eu"
