"""Parameters of recipes: checked before anything runs, kept as texts and numbers, given back as what they were."""

import ast
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import nbformat
import numpy as np
import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.completion import complete
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.recipe import Secret, declaration, filling
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.store import open_store
from tests.following import run

RICH = """
import datetime as clock
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Optional
from aiinfra_lab.recipe import Range, Secret
day: date = date(2026, 1, 1)
at: clock.datetime = datetime(2026, 1, 1)
where: Path = Path("a")
price: Decimal = Decimal("1.10")
size: Literal["small", "base"] = "small"
lr: Annotated[float, Range(1e-5, 1), "learning rate"] = 3e-4
pair: tuple[int, date] = (1, date(2026, 1, 1))
tags: set[str] = {"a"}
limit: Optional[int] = 3
count: int = 1
token: Secret = Secret("HF_TOKEN")
"""
NAMES = ("day", "at", "where", "price", "size", "lr", "pair", "tags", "limit", "count", "token")
TOML = """
[parameters]
day = 2013-07-01
at = 2013-07-01T12:00:00
where = "data/x"
price = 0.1
size = "base"
lr = 1
pair = [1, 2013-07-01]
tags = ["b", "a"]
limit = 4
count = 2
token = "OTHER_TOKEN"
[steps.one]
notebook = "rich.ipynb"
[steps.one.parameters]
""" + "".join(f'{name} = "${{params.{name}}}"\n' for name in NAMES)
SHOWN = "print([" + ", ".join(NAMES) + "])\nprint(len(token.value))"
GIVEN = {
    "day": dt.date(2014, 1, 2),
    "at": np.datetime64("2014-01-02T03:04", "ns"),
    "where": Path("b/c"),
    "price": Decimal("2.50"),
    "size": "small",
    "lr": np.float32(0.5),
    "pair": (7, dt.date(2014, 1, 2)),
    "tags": {"z", "y"},
    "limit": None,
    "count": np.int64(9),
    "token": Secret("THIRD_TOKEN"),
}
STORED = {
    "day": "2014-01-02",
    "at": "2014-01-02T03:04:00",
    "where": "b/c",
    "price": "2.50",
    "size": "small",
    "lr": 0.5,
    "pair": [7, "2014-01-02"],
    "tags": ["y", "z"],
    "limit": None,
    "count": 9,
    "token": "THIRD_TOKEN",
}


@pytest.fixture
def rich(notebook, recipe) -> None:
    notebook("rich", RICH, SHOWN)
    recipe("rich", TOML)


def printed(archive: Path) -> str:
    cells = nbformat.read(archive, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_what_a_recipe_gives_is_what_the_notebook_declares(rich):
    read = declaration.read("rich")
    values = filling.resolve(filling.filled_recipe(read, {}).steps[0], {})
    assert (values["day"], values["at"], values["price"], values["lr"]) == (
        "2013-07-01",
        "2013-07-01T12:00:00",
        "0.1",
        1.0,
    )
    assert (values["pair"], values["tags"]) == ([1, "2013-07-01"], ["a", "b"])
    assert read.parameters["day"] == "2013-07-01"


def test_objects_reach_the_notebook_and_a_run_can_be_repeated_with_them(rich, monkeypatch):
    monkeypatch.setenv("THIRD_TOKEN", "a value that nobody sees")
    made = verbs.run("rich", param=GIVEN)
    record = open_store().get(RunRecord, "rich@1").body
    assert record.parameters == STORED
    archive = Path(made.steps["one"]["archive"])
    shown = printed(archive)
    assert shown.startswith("[datetime.date(2014, 1, 2), datetime.datetime(2014, 1, 2, 3, 4), PosixPath('b/c'), ")
    assert shown.endswith('None, 9, Secret("THIRD_TOKEN")]\n24\n')
    assert "(7, datetime.date(2014, 1, 2))" in shown
    assert "a value that nobody sees" not in archive.read_text()
    again = verbs.run("rich@1")
    assert (again.steps["one"]["state"], again.steps["one"]["values"]) == ("skipped", made.steps["one"]["values"])
    changed = verbs.run("rich@1", param={"count": 10}, dry=True)
    assert changed.steps["one"]["because"] == ("count 9 → 10",)
    typed = run(
        changed.card().next[0].removeprefix("Next: `").removesuffix("`").replace("recipe run", "recipe run --dry")
    )
    assert typed.parameters == {**STORED, "count": 10}


def test_an_old_runs_values_are_a_default_that_can_be_changed(rich):
    command = "recipe run --dry rich -p day=2014-01-02 -p tags=y,z -p limit=none -p 'pair=[7, \"2014-01-02\"]'"
    assert run(command).parameters == {name: STORED[name] for name in ("day", "tags", "limit", "pair")}


def test_bytes_that_are_no_text_are_refused(rich):
    with pytest.raises(UsageProblem, match=r"parameter where must be of Unicode.*'a\\udcff' was given"):
        verbs.run("rich", param={"where": "a\udcff"})


MIXED = """
[parameters]
u = "007"
v = "1e3"
y = "true"
[steps.one]
notebook = "mixed.ipynb"
parameters = { u = "${params.u}", v = "${params.v}", y = "${params.y}", z = "8" }
"""


def test_a_text_of_a_file_or_of_python_is_no_number_and_what_is_typed_may_be_one(notebook, recipe):
    cell = "u: int | str = 1\nv: float | str = 1.5\ny: bool | str = False\nz: int | str = 1\nw: str = ''"
    notebook("mixed", cell, "print([u, v, y, z])")
    recipe("mixed", MIXED)
    shown = [printed(Path(verbs.run("mixed", param=param).steps["one"]["archive"])) for param in ({}, {"u": "08"})]
    assert shown == ["['007', '1e3', 'true', '8']\n", "['08', '1e3', 'true', '8']\n"]
    typed = run("recipe run mixed -p u=007 -p v=1e3 -p y=true")
    parameters = {"u": 7, "v": 1000.0, "y": True}
    assert open_store().get(RunRecord, "mixed@3").body.parameters == parameters
    assert printed(Path(typed.steps["one"]["archive"])) == "[7, 1000.0, True, '8']\n"
    assert run("recipe run mixed@3 --dry").parameters == parameters


BAD = [
    ({"day": "2013-02-30"}, "parameter day must be of type date", "-p day=2026-01-01"),
    ({"day": "tomorrow"}, "parameter day must be of type date", "-p day=2026-01-01"),
    ({"at": "noon"}, "parameter at must be of type datetime", "-p at=2026-01-01T00:00:00"),
    ({"where": ""}, "parameter where must be of type Path", "-p where=a"),
    ({"price": "cheap"}, "parameter price must be of type Decimal", "-p price=1.10"),
    ({"size": "smal"}, "parameter size must be one of 'small', 'base'", "did you mean small?"),
    ({"lr": "2"}, "parameter lr must be from 1e-05 to 1", "-p lr=0.0003"),
    ({"lr": "nan"}, "parameter lr must be a finite number", "-p lr=0.0003"),
    ({"pair": "1"}, "parameter pair must be of type tuple[int, date], with 2 items", "-p pair='[1"),
    ({"pair": ["a", "2013-07-01"]}, "must be of type int in item 1", "a value of type int"),
    ({"limit": "few"}, "parameter limit must be of type int", "-p limit=3"),
    ({"count": "2.5"}, "parameter count must be of type int", "-p count=1"),
    ({"count": True}, "parameter count must be of type int", "-p count=1"),
    ({"token": "ghp_Secret1"}, "parameter token must be the name of a secret", "e.g. HF_TOKEN, or STORE:PLACE"),
    ({"cuont": 1}, "has no parameter 'cuont' (rich.toml)", "did you mean count?"),
    ({"x = 1; import os; y": 1}, "has no parameter 'x = 1; import os; y' (rich.toml)", "known: "),
]


@pytest.mark.parametrize(("given", "what", "fix"), BAD)
def test_what_is_given_wrongly_is_refused_with_its_place_and_fix(rich, given, what, fix):
    with pytest.raises(UsageProblem) as problem:
        verbs.run("rich", param=given)
    assert what in problem.value.what
    assert fix in problem.value.fix
    assert "rich.ipynb cell 1 line " in problem.value.what or "rich.toml" in problem.value.what
    assert "ghp_" not in str(problem.value)
    assert open_store().list(RunRecord) == []


def test_all_that_is_wrong_is_named_at_once(rich):
    with pytest.raises(UsageProblem) as problem:
        verbs.run("rich", param={"day": "x", "cuont": 1, "lr": 7})
    assert all(name in problem.value.what for name in ("day", "cuont", "lr"))
    assert all(fix in problem.value.fix for fix in ("-p day=", "did you mean count?", "-p lr="))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            ("day = 2013-07-01", "day = 3"),
            "day must be of type date, and 3 was given (rich.toml line 3;",
        ),
        (('size = "base"', 'size = "bass"'), "(rich.toml line 7; rich.ipynb cell 1 line 12)"),
        (('day = "${params.day}"', 'day = "someday"'), "(rich.toml line 17; rich.ipynb cell 1 line 8)"),
        (('day = "${params.day}"', 'dya = "${params.day}"'), "rich.ipynb has no parameter 'dya' (rich.toml line 17)"),
        (("[parameters]", "[small]\ncount = 'a'\n[parameters]"), "and 'a' was given (rich.toml line 3; "),
        (("count = 2", 'count = 2\n"x = 1; import os" = 3'), "cannot be the name of a parameter (rich.toml line"),
        (('token = "OTHER_TOKEN"', 'token = "hf_aBcD"'), "something else, which is not shown here, was given"),
    ],
)
def test_a_recipes_file_is_checked_with_its_lines(rich, workspace, change, what):
    path = workspace / "recipes" / "rich.toml"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(Failed) as problem:
        run("recipe check rich")
    assert what in problem.value.what


def test_several_mistakes_of_a_file_are_named_at_once(rich, workspace):
    path = workspace / "recipes" / "rich.toml"
    path.write_text(path.read_text().replace("count = 2", "count = 2.5").replace("lr = 1", "lr = 2"))
    with pytest.raises(Failed, match=r"count must be of type int.*|lr must be from") as problem:
        run("recipe check rich")
    assert "lr must be from 1e-05 to 1" in problem.value.what
    assert "write in the recipe a value of type int, e.g. count = 1" in problem.value.fix


def test_where_no_notebook_has_a_type_the_default_in_the_recipe_does(notebook, recipe):
    notebook("a", "x = None", "pass")
    recipe("r", '[parameters]\nm = 1.5\nn = 3\n[steps.a]\nnotebook = "a.ipynb"\nparameters = { x = "${params.n}" }')
    read = declaration.read("r")
    assert filling.given_values(read, {"m": "2", "n": "7"}) == {"m": 2.0, "n": 7}
    with pytest.raises(UsageProblem, match=r"parameter m must be of type float, .* \(r.toml line 2\)"):
        filling.given_values(read, {"m": "x"})


def test_the_values_of_a_parameter_are_completed(rich):
    assert complete("recipe", "run rich -p size=") == ["size=base", "size=small"]
    assert complete("recipe", "run rich -p da") == ["day=2013-07-01"]
    assert complete("recipe", "run rich@1 -p tag") == ["tags=b,a"]


@pytest.mark.parametrize("line", ["path: Path = None", "path: list[Path] = []", "path = ''"])
def test_a_path_of_the_project_reaches_a_parameter_of_paths(workspace, notebook, recipe, line):
    (workspace / "x.csv").write_text("a\n1\n")
    notebook("a", f"from pathlib import Path\n{line}", "assert 'x.csv' in str(path), path\nprint(type(path))")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nin = { path = "x.csv" }')
    assert verbs.run("r").state == "done"


def test_what_a_step_takes_must_fit_too(workspace, notebook, recipe):
    notebook("a", "from datetime import date\nrows: date = date(2026, 1, 1)", "pass")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\nin = { rows = "data:rows" }')
    with pytest.raises(Failed, match=r"rows takes 'data:rows', and a[.]ipynb has it as date") as problem:
        declaration.read("r")
    assert problem.value.fix == "write `rows: str = …` for its URI"


def test_another_languages_notebook_takes_what_it_is_given(notebook, recipe):
    path = notebook("r", "x <- 1")
    path.write_text(path.read_text().replace('"language": "python"', '"language": "R"'))
    recipe("r", '[parameters]\nn = 1\n[steps.a]\nnotebook = "r.ipynb"\nparameters = { x = "${params.n}", "my.y" = 2 }')
    read = declaration.read("r")
    assert filling.resolve(filling.filled_recipe(read, {"n": 3}).steps[0], {}) == {"x": 3, "my.y": 2}
    recipe("r", '[steps.a]\nnotebook = "r.ipynb"\nparameters = { "x <- 1; y" = 2 }')
    with pytest.raises(Failed, match="cannot be the name of a parameter"):
        declaration.read("r")


def test_what_was_recorded_before_there_were_types_is_still_taken(rich):
    read = declaration.read("rich")
    old = json.loads('{"count": 3, "lr": 1, "day": "2013-07-01", "size": "base"}')
    assert filling.given_values(read, old) == {**old, "lr": 1.0}


def test_the_injected_cell_is_plain_python(rich, monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "x")
    made = verbs.run("rich")
    cells = nbformat.read(made.steps["one"]["archive"], as_version=4).cells
    (injected,) = (cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert 'day = date(2013, 7, 1)\nat = datetime(2013, 7, 1, 12, 0)\nwhere = Path("data/x")' in injected
    assert 'token = Secret("OTHER_TOKEN")' in injected
    assert len(ast.parse(injected).body) == len(NAMES)
